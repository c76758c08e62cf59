package live

import (
	"context"
	"errors"
	"maps"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap/zaptest"

	"github.com/seawall-security/seawall/agent/container"
	"github.com/seawall-security/seawall/agent/decode"
	"github.com/seawall-security/seawall/agent/origin"
	"github.com/seawall-security/seawall/agent/pipeline"
	"github.com/seawall-security/seawall/agent/probe"
	"github.com/seawall-security/seawall/agent/process"
	"github.com/seawall-security/seawall/internal/rule"
	"github.com/seawall-security/seawall/internal/rule/builtin"
	"github.com/seawall-security/seawall/internal/testpriv"
)

// world is an agent without its command line: the stages as run joins them, with a
// sink and a handle on the reader that belong to the test.
type world struct {
	bootID     string
	tree       *container.Hierarchy
	containers *container.Table
	runtime    *container.Containerd
	processes  *process.Table
	sensor     *probe.Sensor
	stages     *pipeline.Pipeline
	reader     gate

	mu     sync.Mutex
	checks []*check // waited for, run by the reader between records

	close func()
}

// setup says how a world differs from an agent that is told nothing.
type setup struct {
	sink pipeline.Sink
	// rules are those in force at first; nil: the built-in ones.
	rules *rule.Set
	// unmarked says that a rule's hit puts nobody into the tree of interest: then only
	// rules admit.
	unmarked bool
	// sensor changes the probe's options; its interest is that of the rules.
	sensor func(*probe.Options)
	// containerd is a socket; empty: names are not asked for.
	containerd string
	wait       time.Duration // for a container's name
	// born runs after the seed and before the first record, on the reader's goroutine.
	born func(*world)
}

func newWorld(t testing.TB, s setup) *world {
	t.Helper()
	testpriv.Root(t)
	rules := s.rules
	if rules == nil {
		rules = builtinRules(t)
	}
	w := &world{bootID: bootID(t)}
	log := zaptest.NewLogger(t)
	var err error
	if w.tree, err = container.FindHierarchy("/"); err != nil {
		t.Fatal(err)
	}
	w.containers = container.NewTable(container.Options{Hierarchy: w.tree, Wait: s.wait})
	o := probe.Options{
		Log: log, DecisiveBytes: 8 << 20, BulkBytes: 8 << 20, Interest: rules.Interest(),
		Hierarchy: probe.Hierarchy{ID: uint32(w.tree.ID), Controller: w.tree.Controller, Mount: w.tree.Mount},
	}
	o.Interest.Prefixes = maps.Clone(o.Interest.Prefixes)
	s.sensor(&o)
	began := time.Now()
	if w.sensor, err = probe.Open(o); err != nil {
		t.Fatalf("%+v", err)
	}
	t.Logf("hooks attached in %v", time.Since(began))
	if err := w.containers.Seed(); err != nil {
		t.Fatal(err)
	}
	clock, err := decode.MeasureClock()
	if err != nil {
		t.Fatal(err)
	}
	w.processes = process.New(process.Options{BootID: w.bootID, HostNamespaces: w.sensor.Host().Namespaces,
		Wall: clock.Wall, Candidate: w.containers.Candidate})
	options := pipeline.Options{
		Log: log, BootID: w.bootID, Processes: w.processes, Origins: origin.New(origin.Limits{}), Containers: w.containers,
		Rules: rules, Sink: s.sink, Marks: w.sensor, PenEvents: 4096, PenBytes: 8 << 20, PenWait: 2 * s.wait,
	}
	if s.unmarked {
		options.Marks = nil
	}
	w.stages = pipeline.New(options)
	w.stages.SetClock(clock)
	if err := w.sensor.Seed(w.stages.Seed); err != nil {
		t.Fatal(err)
	}
	w.processes.Seeded()
	if s.born != nil {
		s.born(w)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	start := func(run func(context.Context) error) {
		running.Go(func() {
			if err := run(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	start(w.read)
	start(w.containers.Run)
	if s.containerd != "" {
		w.runtime = container.NewContainerd(s.containerd, w.containers, log)
		start(w.runtime.Run)
	}
	w.close = sync.OnceFunc(func() {
		cancel()
		w.reader.release()
		running.Wait()
		if err := w.sensor.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(w.close)
	return w
}

func (w *world) read(ctx context.Context) error {
	defer w.stages.Flush()
	return w.sensor.Read(ctx,
		func(_ probe.Ring, record []byte) {
			w.reader.pass()
			w.stages.Record(record)
		},
		func() {
			w.stages.Idle()
			w.runChecks()
		})
}

func builtinRules(t testing.TB) *rule.Set {
	t.Helper()
	sources, err := rule.ReadFS(builtin.FS)
	if err != nil {
		t.Fatal(err)
	}
	set, err := rule.Load(sources, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func bootID(t testing.TB) string {
	t.Helper()
	text, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(text))
}

// check is a condition that only the reader can judge.
type check struct {
	holds func() bool
	done  chan struct{}
}

func (w *world) runChecks() {
	w.mu.Lock()
	checks := w.checks
	w.checks = nil
	w.mu.Unlock()
	for _, c := range checks {
		if c.holds() {
			close(c.done)
			continue
		}
		w.mu.Lock()
		w.checks = append(w.checks, c)
		w.mu.Unlock()
	}
}

var errInVain = errors.New("waited in vain")

// idle waits until a condition holds between two records, mostly when both rings are
// empty. The condition runs on the reader's goroutine and may read what that writes.
func (w *world) idle(holds func() bool) error {
	c := &check{holds: holds, done: make(chan struct{})}
	w.mu.Lock()
	w.checks = append(w.checks, c)
	w.mu.Unlock()
	select {
	case <-c.done:
		return nil
	case <-time.After(patience):
		return errInVain
	}
}

// until is idle for conditions that have to come.
func (w *world) until(t testing.TB, what string, holds func() bool) {
	t.Helper()
	if err := w.idle(holds); err != nil {
		t.Fatalf("%v: %s; %+v", err, what, w.containers.Counts())
	}
}

// settled waits until every cgroup that was there at the start is either a container's
// or the host's: before, events of the test's own cgroup may wait in the pen.
func (w *world) settled(t testing.TB) {
	t.Helper()
	w.until(t, "cgroups are told apart", func() bool { return w.containers.Counts().Unresolved == 0 })
}

// lowest tells whether a hook is at the lowest rung.
func (w *world) lowest(hook string) bool {
	for _, h := range w.sensor.Hooks() {
		if h.Hook == hook {
			return h.Rung == "syscall"
		}
	}
	return false
}

// gate holds the reader before its next record.
type gate struct {
	mu     sync.Mutex
	closed chan struct{} // nil: open
}

func (g *gate) hold() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = make(chan struct{})
}

func (g *gate) release() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed != nil {
		close(g.closed)
		g.closed = nil
	}
}

func (g *gate) pass() {
	g.mu.Lock()
	closed := g.closed
	g.mu.Unlock()
	if closed != nil {
		<-closed
	}
}
