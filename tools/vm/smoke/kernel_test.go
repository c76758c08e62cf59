package smoke

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/seawall-security/seawall/internal/testpriv"
	"github.com/seawall-security/seawall/tools/vm/lab"
)

// kernelsVariable names the kernel lines to test, separated by blanks.
const kernelsVariable = "SEAWALL_KERNELS"

// The gate's kernels: the oldest supported one, where the ladder has to step down, and
// the one where its top holds.
const gateKernels = "5.10 6.1"

// machineLimit bounds one machine's life: it takes a minute on two idle cores, and several
// where they are shared.
const machineLimit = 20 * time.Minute

// shadowText is a password file for nobody.
const shadowText = "root:*:20000:0:99999:7:::\n"

// boot is one start of a machine.
type boot struct {
	name   string
	kernel string
	append string
	rungs  ladder
	phases []phase
}

// Arguments of the agent in a phase.
var (
	standalone = []string{"--standalone"}
	admitted   = []string{"--standalone", "--events"}
	everything = []string{"--standalone", "--no-filter"}
	lowest     = []string{"--standalone", "--no-filter", "--rung", "syscall"}
	probed     = []string{"probe", "-o", "json"}
)

// bootsOf says what is done on a kernel line.
func bootsOf(line string) []boot {
	first := []phase{{Name: "probe", Agent: probed, Once: true}, {Name: "everything", Agent: everything}}
	modes := append(first, phase{Name: "admitted", Agent: admitted}, phase{Name: "detections", Agent: standalone})
	switch line {
	case "5.10":
		return []boot{
			// Debian builds BPF's LSM in and leaves it out of the list: its programs attach and never run.
			{name: line, kernel: line, rungs: ladderFrom("fentry"), phases: modes},
			{name: line + " with bpf among the LSMs", kernel: line, append: "lsm=lockdown,capability,yama,apparmor,bpf",
				rungs: ladderFrom("lsm"), phases: first},
		}
	case "6.1":
		return []boot{{name: line, kernel: line, rungs: ladderFrom("lsm"), phases: append(modes, phase{Name: "lowest", Agent: lowest})}}
	}
	return []boot{{name: line, kernel: line, rungs: ladderFrom("lsm"), phases: first}}
}

func TestKernel(t *testing.T) {
	for _, program := range []string{"qemu-system-x86_64", "busybox", "apt-get", "dpkg-deb"} {
		testpriv.Program(t, program)
	}
	programs := build(t)
	kernels := os.Getenv(kernelsVariable)
	if kernels == "" {
		kernels = gateKernels
	}
	for _, line := range strings.Fields(kernels) {
		for _, b := range bootsOf(line) {
			t.Run(b.name, func(t *testing.T) {
				t.Parallel()
				b.test(t, programs)
			})
		}
	}
}

// programs are what the guest needs, built for it.
type programs struct {
	agent, attack, guest string
	attackBytes          int64
}

func build(t *testing.T) programs {
	t.Helper()
	dir := t.TempDir()
	p := programs{agent: filepath.Join(dir, "seawall-agent"), attack: filepath.Join(dir, "attack"), guest: filepath.Join(dir, "smoke.test")}
	const module = "github.com/seawall-security/seawall/"
	err := errors.Join(
		lab.Build(t.Context(), p.agent, module+"agent"),
		lab.Build(t.Context(), p.attack, module+"tools/attack"),
		lab.BuildTest(t.Context(), p.guest, "."))
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(p.attack)
	if err != nil {
		t.Fatal(err)
	}
	p.attackBytes = info.Size()
	return p
}

// test boots the machine and looks at each phase. That the agent's file is accepted for an
// initramfs without any library shows that it is static.
func (b *boot) test(t *testing.T, p programs) {
	kernel, err := lab.Fetch(t.Context(), b.kernel, os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	for i := range b.phases {
		if !b.phases[i].Once {
			b.phases[i].Steps = acts()
		}
	}
	dir := t.TempDir()
	var stdout, stderr bytes.Buffer
	m := lab.Machine{
		Kernel: kernel, Append: b.append, Timeout: machineLimit, Stdout: &stdout, Stderr: &stderr,
		Files: []lab.File{
			{Source: p.agent, Target: guestAgent}, {Source: p.guest, Target: "/bin/smoke.test"},
			{Source: p.attack, Target: guestAttack}, {Source: p.attack, Target: guestWget}, {Source: p.attack, Target: guestNginx},
			writeFile(t, dir, guestPlan, 0o644, marshal(t, b.phases)),
			writeFile(t, dir, guestShadow, 0o640, []byte(shadowText)),
			writeFile(t, dir, guestPlain, 0o644, []byte("plain")),
		},
	}
	result, err := m.Run(t.Context(), "/bin/smoke.test", "guest")
	t.Logf("%s: boot %v, then %v\n%s", kernel.Release, result.Boot.Round(time.Millisecond), result.Took.Round(time.Millisecond), &stderr)
	if err != nil {
		if died := (*lab.DiedError)(nil); errors.As(err, &died) {
			t.Log(died.Console)
		}
		t.Fatal(err)
	}
	if result.Status != 0 {
		t.Fatalf("the guest's part ended with status %d", result.Status)
	}
	var outcomes map[string]outcome
	if err := json.NewDecoder(&stdout).Decode(&outcomes); err != nil {
		t.Fatalf("read the guest's report: %v", err)
	}
	for _, phase := range b.phases {
		t.Run(phase.Name, func(t *testing.T) {
			seen := look(t, phase, outcomes[phase.Name])
			rungs := b.rungs
			if phase.Name == "lowest" {
				rungs = ladderFrom("syscall")
			}
			if phase.Once {
				checkProbe(t, seen.Stdout, kernel.Release, rungs)
				return
			}
			c := check{seen: seen, rungs: rungs, attackBytes: p.attackBytes,
				quiet: phase.Name == "everything" || phase.Name == "lowest", events: phase.Name != "detections"}
			c.run(t)
		})
	}
}

func acts() (acts []act) {
	for _, s := range steps() {
		acts = append(acts, s.act)
	}
	return acts
}

func marshal(t *testing.T, v any) []byte {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// writeFile makes a file for the guest, with the mode it shall have there.
func writeFile(t *testing.T, dir, target string, mode os.FileMode, content []byte) lab.File {
	t.Helper()
	source := filepath.Join(dir, filepath.Base(target))
	if err := errors.Join(os.WriteFile(source, content, mode), os.Chmod(source, mode)); err != nil {
		t.Fatal(err)
	}
	return lab.File{Source: source, Target: target}
}
