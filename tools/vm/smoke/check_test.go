package smoke

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	diff "github.com/google/go-cmp/cmp"

	"github.com/seawall-security/seawall/internal/event"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

// clockError is how far the agent's wall time may be from the guest's, which it measures
// once a second.
const clockError = 2 * time.Second

// check compares a phase with the steps.
type check struct {
	*seen
	rungs       ladder
	attackBytes int64
	quiet       bool // events that nobody asked for are printed, too
	events      bool // events are printed at all
}

func (c *check) run(t *testing.T) {
	checkReady(t, c.Ready, c.rungs)
	t.Run("stream", c.checkStream)
	t.Run("identity", c.checkIdentity)
	all := steps()
	if len(c.Done) != len(all) {
		t.Fatalf("%d of %d steps were done", len(c.Done), len(all))
	}
	expected := 0
	for i := range all {
		t.Run(all[i].Name, func(t *testing.T) { c.checkStep(t, &all[i], &c.Done[i]) })
		expected += len(all[i].hits(c.rungs))
	}
	if len(c.detections) != expected {
		for _, d := range c.detections {
			t.Logf("%s: %s", d.GetRule(), d.GetSummary())
		}
		t.Errorf("%d detections, want %d", len(c.detections), expected)
	}
}

// checkStream is about the whole of what was printed: nothing missing, nothing of the
// agent's own, all of it from the time it ran.
func (c *check) checkStream(t *testing.T) {
	if !c.events {
		if len(c.seen.events) > 0 {
			t.Errorf("%d events were printed without --events", len(c.seen.events))
		}
		return
	}
	number := map[string][]uint64{} // of the kernel's, by ring and CPU
	for i, e := range c.seen.events {
		if first := c.seen.events[0].GetSequence(); first == 0 || e.GetSequence() != first+uint64(i) {
			t.Fatalf("event %d has sequence %d, the first has %d", i+1, e.GetSequence(), first)
		}
		if at := e.GetTime().AsTime(); at.Before(c.Began.Add(-clockError)) || at.After(c.Ended.Add(clockError)) {
			t.Errorf("event %d happened at %v, not between %v and %v", i+1, at, c.Began, c.Ended)
		}
		if e.GetSelfTest() {
			t.Errorf("event %d is the self-test's", i+1)
		}
		ring := "bulk"
		if k := nameOf(e.GetKind()); strings.HasPrefix(k, "process_") || strings.HasPrefix(k, "cgroup_") {
			ring = "decisive"
		}
		// The self-test's events have numbers too and are not printed: begin with the actors.
		if e.GetBootTimeNs() > c.firstAct() {
			key := fmt.Sprint(ring, e.GetCpu())
			number[key] = append(number[key], e.GetCpuSequence())
		}
	}
	for key, numbers := range number {
		slices.Sort(numbers)
		for i, n := range numbers {
			if n != numbers[0]+uint64(i) {
				t.Errorf("ring %s misses a record before its %d", key, n)
				break
			}
		}
	}
}

// firstAct is the kernel time at which the first actor was born.
func (c *check) firstAct() uint64 {
	for _, e := range c.seen.events {
		if child := e.GetFork().GetChild(); len(c.Done) > 0 && int(child.GetPid()) == c.Done[0].PID {
			return e.GetBootTimeNs()
		}
	}
	return 0
}

// checkIdentity is about processes: known, exact, and named by their key. The kernel's own
// threads are not processes to the agent, but their end is seen.
func (c *check) checkIdentity(t *testing.T) {
	for _, e := range c.seen.events {
		p := e.GetProcess()
		if e.GetExit() != nil && strings.HasPrefix(p.GetComm(), "kworker/") {
			continue
		}
		if p.GetUnknown() || p.GetCoarse() || p.GetId() != event.ProcessID(c.boot, keyOf(p)) {
			t.Errorf("%q: process %v", describe(e), p)
		}
	}
	for _, d := range c.detections {
		p := d.GetEvent().GetProcess()
		at := event.Boot(d.GetEvent().GetBootTimeNs())
		if d.GetId() != event.DetectionID(d.GetRule(), c.boot, keyOf(p), at) {
			t.Errorf("detection %s has id %s", d.GetRule(), d.GetId())
		}
		chain := append([]*sensorv1.Process{p}, d.GetEvent().GetAncestors()...)
		driver := slices.IndexFunc(chain, func(p *sensorv1.Process) bool { return int(p.GetPid()) == c.Driver })
		if driver < 1 || chain[driver].GetName() != "smoke.test" || chain[len(chain)-1].GetPid() != 1 {
			t.Errorf("%s: chain %v", d.GetRule(), names(chain))
		}
		for i, child := range chain[:len(chain)-1] {
			if child.GetParentId() != chain[i+1].GetId() {
				t.Errorf("%s: %s is not the parent of %s in %v", d.GetRule(), chain[i+1].GetName(), child.GetName(), names(chain))
			}
		}
	}
}

func names(chain []*sensorv1.Process) (names []string) {
	for _, p := range chain {
		names = append(names, fmt.Sprintf("%s(%d)", p.GetName(), p.GetPid()))
	}
	return names
}

func (c *check) checkStep(t *testing.T, s *step, done *performed) {
	if done.Status != s.status {
		t.Fatalf("the actor ended with status %d, want %d: %s%s", done.Status, s.status, done.Stdout, done.Stderr)
	}
	own := done.report(t)
	pids := append([]uint32{uint32(done.PID)}, own.Children...)
	if c.events {
		events := c.of(pids)
		var got []string
		for _, e := range events {
			line := describe(e)
			if int(e.GetProcess().GetPid()) != done.PID {
				line = "child " + line
			}
			got = append(got, line)
		}
		if diff := diff.Diff(s.lines(c, done, own), got); diff != "" {
			t.Errorf("events, - wanted + seen:\n%s", diff)
		}
		for _, e := range events {
			c.checkTrust(t, s, e)
			c.checkReport(t, own, e)
		}
		c.checkBirth(t, s, done)
	}
	c.checkDetections(t, s, pids)
}

// lines are the events of a step in this phase.
func (s *step) lines(c *check, done *performed, own report) []string {
	tree := func(of string) string { return set(of != "", "; tree "+of) }
	exe := cmp.Or(s.exe, s.Argv[0])
	ending := fmt.Sprintf("code %d", s.status)
	if s.status > 128 {
		ending = fmt.Sprintf("signal %d", s.status-128)
	}
	want := []string{"process_exec " + exe + " [" + strings.Join(s.Argv, " ") + "] stdio device,pipe,pipe" + tree(s.tree)}
	for _, w := range s.want {
		kind, _, _ := strings.Cut(strings.TrimPrefix(w.line, "child "), " ")
		if (w.quiet && !c.quiet) || (w.where != "" && w.where != c.rungs.view(kind)) {
			continue
		}
		want = append(want, w.line)
	}
	want = append(want, "process_exit "+ending+tree(s.lastTree))

	values := []string{"{pid}", fmt.Sprint(done.PID), "{stdout}", strings.TrimSpace(done.Stdout), "{attack}", fmt.Sprint(c.attackBytes)}
	for i, f := range own.Flows {
		values = append(values, fmt.Sprintf("{local%d}", i), f.Local, fmt.Sprintf("{remote%d}", i), f.Remote)
	}
	fill := strings.NewReplacer(values...)
	for i := range want {
		want[i] = fill.Replace(want[i])
	}
	return want
}

// hits are the rules that have to hit.
func (s *step) hits(l ladder) []string {
	if s.on != "" && s.on != l.view("file_open") {
		return nil
	}
	return s.detects
}

func (c *check) checkDetections(t *testing.T, s *step, pids []uint32) {
	t.Helper()
	var got []string
	for _, d := range c.detections {
		e := d.GetEvent()
		if !slices.Contains(pids, e.GetProcess().GetPid()) {
			continue
		}
		got = append(got, d.GetRule())
		printed := slices.IndexFunc(c.seen.events, func(p *sensorv1.Event) bool { return p.GetSequence() == e.GetSequence() })
		if c.events && (printed < 0 || describe(c.seen.events[printed]) != describe(e)) {
			t.Errorf("%s hit event %d, %q, which was not printed", d.GetRule(), e.GetSequence(), describe(e))
		}
	}
	slices.Sort(got)
	if diff := diff.Diff(s.hits(c.rungs), got); diff != "" {
		t.Errorf("detections, - wanted + seen:\n%s", diff)
	}
}
