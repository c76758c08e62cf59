package powercut

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/seawall-security/seawall/internal/testpriv"
	"github.com/seawall-security/seawall/tools/vm/disk"
	"github.com/seawall-security/seawall/tools/vm/lab"
)

// What make power-cut sets, and what holds without it.
const (
	roundsVariable = "SEAWALL_POWER_ROUNDS"
	seedVariable   = "SEAWALL_POWER_SEED"
	kernelVariable = "SEAWALL_POWER_KERNEL"

	defaultRounds = 2
	defaultSeed   = 1
	defaultKernel = "6.1"
)

const (
	diskBytes = 1 << 30 // sparse
	// bootLimit bounds one boot: it takes seconds, and many where the host is busy.
	bootLimit = 5 * time.Minute
	// earlyRequests is above what the first start writes and flushes until the agent runs.
	earlyRequests = 300
)

var errCut = errors.New("the power was cut")

func setting(t *testing.T, name string, otherwise int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("%s is %q: want a number above 0", name, text)
	}
	return n
}

// world is the machine and its disk.
type world struct {
	*testing.T
	dir     string
	kernel  lab.Kernel
	files   []lab.File
	disk    *disk.Disk
	socket  string
	ledger  *ledger
	stderr  bytes.Buffer // of the guest in this boot
	booted  int          // writes and flushes of the disk when the machine started
	ready   int          // and from then until the agent ran, in the latest boot that came so far
	partial []byte       // a line of the guest, so far
	// onPromise is called after each report of the spool.
	onPromise func(promise)
	times     []string // of stages
	started   time.Time
	onStage   func(stage)
}

func newWorld(t *testing.T) *world {
	t.Helper()
	for _, program := range []string{"qemu-system-x86_64", "busybox", "apt-get", "dpkg-deb"} {
		testpriv.Program(t, program)
	}
	line := os.Getenv(kernelVariable)
	if line == "" {
		line = defaultKernel
	}
	kernel, err := lab.Fetch(t.Context(), line, os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{T: t, dir: t.TempDir(), kernel: kernel, ledger: newLedger(), ready: earlyRequests}
	w.build()
	w.makeDisk("disk")
	return w
}

// build compiles what the guest needs.
func (w *world) build() {
	w.Helper()
	const module = "github.com/seawall-security/seawall/"
	path := func(name string) string { return filepath.Join(w.dir, name) }
	err := errors.Join(
		lab.Build(w.Context(), path("agent"), module+"agent"),
		lab.Build(w.Context(), path("collector"), module+"collector"),
		lab.BuildTest(w.Context(), path("guest"), "."),
		os.WriteFile(path("rules.yaml"), []byte(rules), 0o600))
	if err != nil {
		w.Fatal(err)
	}
	w.files = []lab.File{
		{Source: path("agent"), Target: guestAgent}, {Source: path("collector"), Target: guestCollector},
		{Source: path("guest"), Target: "/bin/powercut"}, {Source: path("rules.yaml"), Target: guestRules},
		{Source: path("plan.json"), Target: guestPlan},
	}
}

// makeDisk makes an empty file system and serves it until the test ends.
func (w *world) makeDisk(name string) {
	w.Helper()
	mke2fs := testpriv.Program(w.T, "mke2fs")
	image, err := os.Create(filepath.Join(w.dir, name+".image"))
	if err == nil {
		err = image.Truncate(diskBytes)
	}
	if err != nil {
		w.Fatal(err)
	}
	if out, err := exec.CommandContext(w.Context(), mke2fs, "-q", "-F", "-t", "ext4", image.Name()).CombinedOutput(); err != nil {
		w.Fatalf("make file system: %v: %s", err, out)
	}
	if w.disk, err = disk.New(image, diskBytes); err != nil {
		w.Fatal(err)
	}
	w.socket = filepath.Join(w.dir, name)
	listener, err := net.Listen("unix", w.socket)
	if err != nil {
		w.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- w.disk.Serve(listener) }()
	w.Cleanup(func() {
		if err := errors.Join(listener.Close(), <-served, image.Close()); err != nil {
			w.Error(err)
		}
	})
}

// boot runs the machine until the disk's power goes, or until it ends by itself.
func (w *world) boot(p plan) (cut bool) {
	w.Helper()
	text, err := json.Marshal(p)
	if err == nil {
		err = os.WriteFile(filepath.Join(w.dir, "plan.json"), text, 0o600)
	}
	if err != nil {
		w.Fatal(err)
	}
	w.ledger.begin(p.Name)
	w.booted, _ = w.disk.Requests()
	w.started, w.times = time.Now(), nil
	w.stderr.Reset()
	w.partial = nil
	ctx, kill := context.WithCancelCause(w.Context())
	defer kill(nil)
	ended, watched := make(chan struct{}), make(chan struct{})
	go func(off <-chan struct{}) {
		defer close(watched)
		select {
		case <-off:
			kill(errCut)
		case <-ended:
		}
	}(w.disk.Off())
	m := lab.Machine{Kernel: w.kernel, Files: w.files, Disks: []string{w.socket}, Timeout: bootLimit, Stdout: w, Stderr: &w.stderr}
	result, err := m.Run(ctx, "/bin/powercut", "guest")
	close(ended)
	<-watched
	w.onPromise, w.onStage = nil, nil
	cut = errors.Is(err, errCut)
	switch {
	case cut:
	case err != nil:
		if died := (*lab.DiedError)(nil); errors.As(err, &died) {
			w.Log(died.Console)
		}
		w.Fatalf("%s: %v\n%s", p.Name, err, &w.stderr)
	case result.Status != 0:
		w.Fatalf("%s: the guest's part ended with status %d\n%s", p.Name, result.Status, &w.stderr)
	}
	w.ledger.end()
	if len(w.ledger.problems) > 0 {
		w.Fatalf("%s\n%s", strings.Join(w.ledger.problems, "\n"), &w.stderr)
	}
	return cut
}

// Write takes the guest's output. What the cut left of a line is no line.
func (w *world) Write(p []byte) (int, error) {
	for rest := p; ; {
		text, more, whole := bytes.Cut(rest, []byte{'\n'})
		w.partial = append(w.partial, text...)
		if !whole {
			return len(p), nil
		}
		line := w.partial
		rest, w.partial = more, nil
		if len(line) == 0 {
			continue
		}
		var r report
		if err := json.Unmarshal(line, &r); err != nil {
			return 0, fmt.Errorf("parse %.200q: %w", line, err)
		}
		w.ledger.take(r)
		switch {
		case r.Stage == agentRuns:
			all, _ := w.disk.Requests()
			w.ready = all - w.booted
		case r.Spool != nil && w.onPromise != nil:
			w.onPromise(*r.Spool)
		}
		if r.Stage == "" {
			continue
		}
		all, _ := w.disk.Requests()
		w.times = append(w.times, fmt.Sprintf("%s %.1f s, %d requests", r.Stage, time.Since(w.started).Seconds(), all-w.booted))
		if w.onStage != nil {
			w.onStage(r.Stage)
		}
	}
}

// TestDisk: what the machine has flushed outlives a cut, what it has only written does not.
func TestDisk(t *testing.T) {
	w := newWorld(t)
	w.onStage = func(stage) { w.disk.Cut() }
	if !w.boot(plan{Name: "write", Probe: probeWrite}) {
		t.Fatal("the machine ended by itself")
	}
	o, err := w.disk.PowerOn(disk.LoseAll, nil)
	if err != nil {
		t.Fatal(err)
	}
	if o.Cached == 0 || o.Lost < blockBytes {
		t.Errorf("%+v was lost: the write without a flush never came to the disk", o)
	}
	w.boot(plan{Name: "read", Probe: probeRead})
	if want := flushed + " new " + unflushed + " old "; w.ledger.found != want {
		t.Errorf("found %q, want %q", w.ledger.found, want)
	}
}

// TestPowerCut is the proof: see the package's documentation.
func TestPowerCut(t *testing.T) {
	rounds, seed := setting(t, roundsVariable, defaultRounds), uint64(setting(t, seedVariable, defaultSeed))
	w := newWorld(t)
	t.Logf("kernel %s, %d rounds, seed %d", w.kernel.Release, rounds, seed)
	begun := time.Now()
	for n := range rounds {
		random := rand.New(rand.NewPCG(seed, uint64(n)))
		// At first, and in some rounds, the power goes while the machine starts.
		if n == 0 || random.IntN(3) == 0 {
			w.stumble(fmt.Sprintf("early%d", n+1), random)
		}
		w.round(fmt.Sprintf("round%d", n+1), random)
		if t.Failed() {
			return
		}
	}
	w.boot(plan{Name: "final", Final: true})
	l := w.ledger
	t.Logf("%d rounds in %v: %d detections were promised, lost are %d; %d that nobody had promised are missing, under %d gaps; %d revisions are as they were told",
		rounds, time.Since(begun).Round(time.Second), len(l.promised), l.lost, l.missing, l.gaps, len(l.positions))
	if len(l.promised) < rounds*10 {
		t.Errorf("%d promises in %d rounds prove little", len(l.promised), rounds)
	}
}

// TestFirstStart cuts the power while everything is made for the first time: what is half
// made must not keep the next start from getting it done.
func TestFirstStart(t *testing.T) {
	starts, seed := max(1, setting(t, roundsVariable, defaultRounds)/5), uint64(setting(t, seedVariable, defaultSeed))
	w := newWorld(t)
	for n := range starts {
		if n > 0 {
			w.makeDisk(fmt.Sprint("disk", n))
			w.ledger = newLedger()
		}
		random := rand.New(rand.NewPCG(seed, 1<<32+uint64(n)))
		w.stumble(fmt.Sprintf("first%d", n+1), random)
		w.boot(plan{Name: fmt.Sprintf("second%d", n+1), Final: true})
	}
}

// stumble cuts the power before the agent runs, or not long after.
func (w *world) stumble(name string, random *rand.Rand) {
	w.Helper()
	after := random.IntN(w.ready)
	w.disk.CutAfter(after)
	w.boot(plan{Name: name})
	w.powerOn(fmt.Sprintf("%-8s %-14s after %d requests", name, w.reachedLast(), after), random)
}

func (w *world) reachedLast() stage {
	if s := w.ledger.stages; len(s) > 0 {
		return s[len(s)-1]
	}
	return "starting"
}

// round cuts the power under load: some requests after some promises.
func (w *world) round(name string, random *rand.Rand) {
	w.Helper()
	promises, requests := 15+random.IntN(60), random.IntN(120)
	p := plan{Name: name}
	if random.IntN(4) == 0 {
		p.StopAfter = promises / 2
	}
	armed := false
	w.onPromise = func(now promise) {
		if now.Durable >= promises && !armed {
			armed = true
			w.disk.CutAfter(requests)
		}
	}
	if !w.boot(p) {
		w.Fatal("the machine ended by itself")
	}
	l := w.ledger
	promised := l.promises()
	w.powerOn(fmt.Sprintf("%-8s %3d executed, promised by %d spool, %d collector, %d subscriber; missing so far %d",
		name, len(l.ran), promised[bySpool], promised[byCollector], promised[bySIEM], l.missing), random)
}

// powerOn settles a cut, and says how the boot went.
func (w *world) powerOn(how string, random *rand.Rand) {
	w.Helper()
	loss := disk.Loss(random.IntN(int(disk.LoseNothing) + 1))
	o, err := w.disk.PowerOn(loss, random)
	if err != nil {
		w.Fatal(err)
	}
	w.Logf("%s; the disk lost %v, %d of %d bytes in %d writes; %.1f s (%s)",
		how, loss, o.Lost, o.Bytes, o.Cached, time.Since(w.started).Seconds(), strings.Join(w.times, "; "))
}
