package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/seawall-security/seawall/internal/testpriv"
	"github.com/seawall-security/seawall/tools/vm/disk"
)

// testKernel returns the kernel the tests of this package boot.
func testKernel(t *testing.T) Kernel {
	t.Helper()
	for _, program := range []string{"qemu-system-x86_64", "busybox", "apt-get", "dpkg-deb"} {
		testpriv.Program(t, program)
	}
	k, err := Fetch(t.Context(), "6.1", os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestRun(t *testing.T) {
	k := testKernel(t)
	dir := t.TempDir()
	given := filepath.Join(dir, "given")
	if err := os.WriteFile(given, []byte("from the host"), 0o644); err != nil {
		t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	m := Machine{
		Kernel: k, Files: []File{{given, "/srv/given"}}, Out: filepath.Join(dir, "out"),
		Append: "seawall.test=1", Stdout: &stdout, Stderr: &stderr,
	}
	result, err := m.Run(t.Context(), "sh", "-c", `uname -r; id -u; cat /srv/given /proc/cmdline >/out/seen
		for d in /proc /sys /dev /tmp /run /sys/kernel/tracing /sys/kernel/debug /sys/fs/bpf /sys/kernel/security /sys/fs/cgroup; do
			grep -q " $d " /proc/mounts || echo "$d is no mount point" >&2
		done
		ip link show lo | grep -q LOWER_UP || echo "lo is down" >&2
		exit 7`)
	if err != nil {
		t.Fatal(err)
	}
	if result.Status != 7 {
		t.Errorf("status %d, want the command's 7", result.Status)
	}
	if got, want := stdout.String(), k.Release+"\n0\n"; got != want {
		t.Errorf("stdout %q, want %q", got, want)
	}
	if stderr.Len() > 0 {
		t.Errorf("stderr: %s", &stderr)
	}
	seen, err := os.ReadFile(filepath.Join(dir, "out", "seen"))
	if err != nil || !strings.HasPrefix(string(seen), "from the host") || !strings.Contains(string(seen), "seawall.test=1") {
		t.Errorf("the guest saw %q, %v", seen, err)
	}
	t.Logf("%s: boot %v, command %v", k.Release, result.Boot, result.Took)
}

// What the guest flushes has come to the disk that it was given, and is there again.
func TestDisks(t *testing.T) {
	k := testKernel(t)
	dir := t.TempDir()
	medium, err := os.Create(filepath.Join(dir, "medium"))
	if err != nil {
		t.Fatal(err)
	}
	const size = 1 << 20
	if err := medium.Truncate(size); err != nil {
		t.Fatal(err)
	}
	d, err := disk.New(medium, size)
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, "a,b") // a comma means something to QEMU
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- d.Serve(l) }()
	var stdout, stderr bytes.Buffer
	m := Machine{Kernel: k, Disks: []string{socket}, Stdout: &stdout, Stderr: &stderr}
	result, err := m.Run(t.Context(), "sh", "-c", "echo flushed | dd of=/dev/vda conv=fsync 2>/dev/null && head -c 8 /dev/vda")
	if err := errors.Join(err, l.Close(), <-served); err != nil {
		t.Fatal(err)
	}
	d.Cut()
	if _, err := d.PowerOn(disk.LoseAll, nil); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 8)
	if _, err := medium.ReadAt(got, 0); err != nil || string(got) != "flushed\n" {
		t.Errorf("the medium has %q, %v", got, err)
	}
	if result.Status != 0 || stdout.String() != "flushed\n" {
		t.Errorf("status %d, stdout %q, stderr %q", result.Status, &stdout, &stderr)
	}
	if err := medium.Close(); err != nil {
		t.Error(err)
	}
}

func TestRunOnDisk(t *testing.T) {
	k := testKernel(t)
	testpriv.Program(t, "mke2fs")
	root := t.TempDir()
	if err := os.WriteFile(filepath.Join(root, "mark"), []byte("on disk"), 0o644); err != nil {
		t.Fatal(err)
	}
	var stdout bytes.Buffer
	m := Machine{Kernel: k, Root: root, Files: []File{{"doc.go", "/srv/doc.go"}}, Stdout: &stdout}
	result, err := m.Run(t.Context(), "sh", "-c", "cat /mark && test -s /srv/doc.go && stat -f -c ' %T' / && touch /new")
	if err != nil || result.Status != 0 || stdout.String() != "on disk ext2/ext3\n" {
		t.Errorf("status %d, %v, stdout %q", result.Status, err, &stdout)
	}
	if _, err := os.Stat(filepath.Join(root, "new")); err == nil {
		t.Error("the guest wrote to the host's folder")
	}
}

// TestDeterministic measures the same work twice by the guest's clock. The host's
// load shows in when devices answer, and through it in a few microseconds of
// interrupts: 0.01 % of this work was the most seen.
func TestDeterministic(t *testing.T) {
	k := testKernel(t)
	var runs [2]float64
	for n := range runs {
		var stdout bytes.Buffer
		m := Machine{Kernel: k, Deterministic: true, Stdout: &stdout}
		_, err := m.Run(t.Context(), "sh", "-c", `now() { set -- $(grep -m1 "now at" /proc/timer_list); echo $3; }
			begin=$(now); i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; end=$(now); echo $((end-begin))`)
		if err != nil {
			t.Fatal(err)
		}
		if runs[n], err = strconv.ParseFloat(strings.TrimSpace(stdout.String()), 64); err != nil {
			t.Fatal(err)
		}
	}
	if difference := math.Abs(runs[0]/runs[1] - 1); !(difference < 0.001) {
		t.Errorf("the same work took %v and %v ns", runs[0], runs[1])
	}
}

func TestGuestDies(t *testing.T) {
	m := Machine{Kernel: testKernel(t)}
	_, err := m.Run(t.Context(), "sh", "-c", "echo c >/proc/sysrq-trigger")
	var died *DiedError
	if !errors.As(err, &died) || !died.Started || !strings.Contains(died.Console, "sysrq triggered crash") {
		t.Errorf("a panic gave %v", err)
	}
}

func TestTimeout(t *testing.T) {
	m := Machine{Kernel: testKernel(t), Timeout: 500 * time.Millisecond} // boot alone takes seconds
	_, err := m.Run(t.Context(), "sleep", "1000")
	var expired *TimeoutError
	if !errors.As(err, &expired) || expired.Started {
		t.Errorf("a guest that takes too long gave %v", err)
	}
}

// ready cancels or tells when the guest's command wrote.
type ready func()

func (r ready) Write(p []byte) (int, error) { r(); return len(p), nil }

func TestCancel(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	m := Machine{Kernel: testKernel(t), Stdout: ready(cancel)}
	if _, err := m.Run(ctx, "sh", "-c", "echo ready; sleep 1000"); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled run gave %v", err)
	}
}

func TestRefusesDynamicProgram(t *testing.T) {
	k := testKernel(t)
	m := Machine{Kernel: k, Files: []File{{testpriv.Program(t, "qemu-system-x86_64"), "/bin/qemu"}}}
	if _, err := m.Run(t.Context(), "qemu"); err == nil || !strings.Contains(err.Error(), "dynamically linked") {
		t.Errorf("a dynamic program gave %v", err)
	}
}

// orphanVariable makes this test binary run a machine until it is killed.
const orphanVariable = "SEAWALL_TEST_ORPHAN"

func TestQEMUDiesWithUs(t *testing.T) {
	if os.Getenv(orphanVariable) != "" {
		m := Machine{Kernel: testKernel(t), Stdout: os.Stdout}
		result, err := m.Run(t.Context(), "sh", "-c", "echo ready; sleep 1000")
		t.Fatalf("the machine ended by itself: %+v, %v", result, err)
	}
	testKernel(t)
	parent := exec.Command(os.Args[0], "-test.run=^TestQEMUDiesWithUs$")
	parent.Env = append(os.Environ(), orphanVariable+"=1")
	stdout, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = parent.Process.Kill() }()
	word := make([]byte, len("ready"))
	if _, err := stdout.Read(word); err != nil || string(word) != "ready" {
		t.Fatalf("guest said %q, %v", word, err)
	}
	qemu, err := unix.PidfdOpen(childOf(t, parent.Process.Pid), 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(qemu)
	if err := parent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	n, err := 0, error(unix.EINTR) // the runtime's own signals interrupt poll
	for errors.Is(err, unix.EINTR) {
		n, err = unix.Poll([]unix.PollFd{{Fd: int32(qemu), Events: unix.POLLIN}}, 20_000)
	}
	if err != nil || n != 1 {
		t.Errorf("QEMU outlived its parent: %d, %v", n, err)
	}
	_ = parent.Wait() // killed: its status says nothing
}

// childOf finds the one child of a process, whichever thread forked it.
func childOf(t *testing.T, pid int) int {
	t.Helper()
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if fields := strings.Fields(string(text)); len(fields) > 0 {
			child, err := strconv.Atoi(fields[0])
			if err != nil {
				t.Fatal(err)
			}
			return child
		}
	}
	t.Fatalf("process %d has no child", pid)
	return 0
}
