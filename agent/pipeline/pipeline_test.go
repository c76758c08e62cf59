package pipeline

import (
	"bytes"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"

	"github.com/seawall-security/seawall/agent/container"
	"github.com/seawall-security/seawall/agent/origin"
	"github.com/seawall-security/seawall/agent/process"
	"github.com/seawall-security/seawall/bpf"
	"github.com/seawall-security/seawall/internal/event"
	"github.com/seawall-security/seawall/internal/rule"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

// openRecord is a raw record of an open in a cgroup.
func openRecord(cgroup uint64, flags event.Flags, path string) []byte {
	var w bpf.LayoutFileOpen
	fixed := unsafe.Slice((*byte)(unsafe.Pointer(&w)), unsafe.Sizeof(w))
	w.Header.Kind, w.Header.Flags = uint16(event.KindFileOpen), uint16(flags)
	w.Header.Size = uint32(len(fixed) + len(path))
	w.Header.TimeNs, w.Header.StartNs, w.Header.Tgid, w.Header.Tid = 1000, 10, 7, 7
	w.Header.CgroupId = cgroup
	w.Seen = 1
	w.Path.Offset, w.Path.Length = uint32(len(fixed)), uint32(len(path))
	return append(bytes.Clone(fixed), path...)
}

// exitRecord is a raw record of a process's end, on the host.
func exitRecord(tgid uint32) []byte {
	var w bpf.LayoutProcessExit
	fixed := unsafe.Slice((*byte)(unsafe.Pointer(&w)), unsafe.Sizeof(w))
	w.Header.Kind, w.Header.Size = uint16(event.KindProcessExit), uint32(len(fixed))
	w.Header.TimeNs, w.Header.StartNs, w.Header.Tgid, w.Header.Tid, w.Header.CgroupId = 2000, 10, tgid, tgid, 1
	return bytes.Clone(fixed)
}

// cgroups is a container table the test turns.
type cgroups struct {
	states  map[uint64]container.State
	changed []uint64
	// below are unseen cgroups that a process in them shows to be below another one.
	below map[uint64]uint64
}

// home is a cgroup of the test's.
type home struct {
	*cgroups
	id uint64
}

func (h home) ID() string     { return fmt.Sprint("c", h.id) }
func (h home) Cgroup() uint64 { return h.id }
func (h home) Container() (*event.Container, bool) {
	c, state := h.Lookup(h.id)
	return c, state == container.Pending
}

func (c *cgroups) Candidate(id uint64) (event.Home, bool) {
	if s := c.states[id]; s != container.Pending && s != container.Known {
		return nil, false
	}
	return home{c, id}, true
}

func (c *cgroups) Locate(id uint64, _ uint32) (event.Home, bool) {
	above, ok := c.below[id]
	if !ok || c.states[above] == container.Host {
		return nil, ok
	}
	return home{c, above}, true
}

func (c *cgroups) Born(uint64, string, *event.Process) {}
func (c *cgroups) Gone(uint64)                         {}
func (c *cgroups) Lookup(id uint64) (*event.Container, container.State) {
	if c.states[id] == container.Known {
		return &event.Container{ID: fmt.Sprint("c", id), Runtime: "containerd"}, container.Known
	}
	return nil, c.states[id]
}
func (c *cgroups) Settle(id uint64) *event.Container {
	if c.states[id] != container.Pending {
		return nil
	}
	return &event.Container{ID: fmt.Sprint("settled", id), Runtime: container.RuntimeUnknown}
}
func (c *cgroups) Changed(ids []uint64) ([]uint64, bool) {
	ids = append(ids, c.changed...)
	c.changed = nil
	return ids, false
}
func (c *cgroups) resolve(id uint64, s container.State) {
	c.states[id] = s
	c.changed = append(c.changed, id)
}

// sink writes down what comes, as "container path".
type sink struct {
	events     []string
	detections []*sensorv1.Detection
}

func (s *sink) Event(ev *event.Event) {
	open, ok := ev.Payload.(*event.Open)
	if !ok {
		return
	}
	name := "host"
	if ev.Container != nil {
		name = ev.Container.ID
	}
	s.events = append(s.events, name+" "+open.File.Path)
}
func (s *sink) Detection(d *sensorv1.Detection) { s.detections = append(s.detections, d) }

const rules = `
rules:
  - id: test-rule
    title: Test
    description: Test
    severity: low
    attack: {tactics: [TA0001], techniques: [T1190]}
    kinds: [file_open]
    scope: any
    condition: open.write && open.file.name == "wanted"
    summary: '"opened " + open.file.path'
`

type scene struct {
	*Pipeline
	cgroups          *cgroups
	sink             *sink
	now              time.Time
	marked, unmarked []event.Key
	refusal          error // of the next marks
}

const (
	testPenBytes   = 4 << 20
	testTableBytes = 1 << 20
)

// firstSequence is above what the agent gave before it started again.
const firstSequence = 1 << 40

func newScene(t *testing.T, penEvents int) *scene {
	t.Helper()
	set, err := rule.Load([]rule.Source{{Name: "test.yaml", Data: []byte(rules)}}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	s := &scene{cgroups: &cgroups{states: map[uint64]container.State{1: container.Host}}, sink: &sink{}, now: time.Unix(100, 0)}
	wall := func(event.Boot) time.Time { return time.Unix(1, 0) }
	s.Pipeline = New(Options{
		Log: zap.NewNop(), BootID: "boot", Containers: s.cgroups, Sink: s.sink, Rules: set,
		Processes: process.New(process.Options{BootID: "boot", Wall: wall, Proc: t.TempDir(), Candidate: s.cgroups.Candidate,
			HostNamespaces: event.Namespaces{Mount: hostMount}, Limits: process.Limits{Bytes: testTableBytes}}),
		Origins:   origin.New(origin.Limits{}),
		Marks:     s,
		Sequence:  firstSequence,
		PenEvents: penEvents, PenBytes: testPenBytes, PenWait: time.Second, Now: func() time.Time { return s.now },
	})
	return s
}

func (s *scene) Mark(k event.Key, _ event.Tree) error {
	if s.refusal == nil {
		s.marked = append(s.marked, k)
	}
	return s.refusal
}
func (s *scene) Unmark(k event.Key) { s.unmarked = append(s.unmarked, k) }

func (s *scene) expect(t *testing.T, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, s.sink.events); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	s.sink.events = nil
}

// balanced checks the agent's part of the ledger.
func (s *scene) balanced(t *testing.T) Ledger {
	t.Helper()
	l := s.Ledger()
	for _, k := range l.Kinds {
		if k.Read != k.SelfTest+k.Delivered+uint64(k.Penned) {
			t.Errorf("%s: read %d, self-test %d, delivered %d, penned %d", k.Kind, k.Read, k.SelfTest, k.Delivered, k.Penned)
		}
	}
	return l
}

func TestEventsWaitForTheirContainersNameInOrder(t *testing.T) {
	s := newScene(t, 100)
	s.cgroups.states[2] = container.Pending
	s.Record(openRecord(2, 0, "/a"))
	s.Record(openRecord(1, 0, "/host"))
	s.Record(openRecord(2, 0, "/b"))
	s.Idle()
	s.expect(t, "host /host")
	if l := s.balanced(t); l.Kinds[4].Penned != 2 {
		t.Errorf("%d events wait", l.Kinds[4].Penned)
	}

	s.cgroups.resolve(2, container.Known)
	s.Record(openRecord(2, 0, "/c")) // its name is known, but /a and /b go first
	s.Idle()
	s.Record(openRecord(2, 0, "/d"))
	s.expect(t, "c2 /a", "c2 /b", "c2 /c", "c2 /d")
	s.balanced(t)
}

func TestForgedContainerIsTheHosts(t *testing.T) {
	s := newScene(t, 100)
	s.cgroups.states[2] = container.Pending
	s.Record(openRecord(2, 0, "/a"))
	s.cgroups.resolve(2, container.Host)
	s.Idle()
	s.expect(t, "host /a")
}

func TestFullPenLosesNothing(t *testing.T) {
	s := newScene(t, 2)
	s.cgroups.states[2], s.cgroups.states[3] = container.Pending, container.Pending
	s.Record(openRecord(2, 0, "/a"))
	s.Record(openRecord(3, 0, "/b"))
	s.Record(openRecord(3, 0, "/c"))
	s.expect(t, "settled2 /a")
	if l := s.balanced(t); l.PenOverflows["events"] != 1 || l.PenNameless != 1 {
		t.Errorf("overflows %v, nameless %d", l.PenOverflows, l.PenNameless)
	}
	s.Flush()
	s.expect(t, "settled3 /b", "settled3 /c")
	s.balanced(t)
}

func TestEventsDoNotWaitForever(t *testing.T) {
	s := newScene(t, 100)
	s.Record(openRecord(9, 0, "/a")) // never seen
	s.now = s.now.Add(time.Second - 1)
	s.Idle()
	s.expect(t)
	s.now = s.now.Add(1)
	s.Idle()
	s.expect(t, "host /a")
}

func TestSelfTestGoesNowhere(t *testing.T) {
	s := newScene(t, 100)
	s.Record(openRecord(1, event.SelfTest, "/var/wanted"))
	s.expect(t)
	if l := s.balanced(t); l.Kinds[4].SelfTest != 1 || len(s.sink.detections) != 0 {
		t.Errorf("%+v", l)
	}
}

func TestBadRecordCostsOnlyItself(t *testing.T) {
	s := newScene(t, 100)
	s.Record(openRecord(1, 0, "/a"))
	s.Record([]byte("garbage"))
	s.Record(openRecord(1, 0, "/b")[:150])
	s.Record(openRecord(1, 0, "/c"))
	s.expect(t, "host /a", "host /c")
	l := s.balanced(t)
	total := uint64(0)
	for n := range maps.Values(l.Refused) {
		total += n
	}
	if total != 2 {
		t.Errorf("refused %v", l.Refused)
	}
}

func TestDetectionMarksItsProcess(t *testing.T) {
	s := newScene(t, 100)
	s.Record(openRecord(1, 0, "/srv/wanted"))
	if len(s.sink.detections) != 1 {
		t.Fatalf("%d detections", len(s.sink.detections))
	}
	d := s.sink.detections[0]
	if d.GetRule() != "test-rule" || !strings.Contains(d.GetSummary(), "/srv/wanted") || d.GetEvent().GetSequence() != firstSequence+1 {
		t.Errorf("%v", d)
	}
	if diff := cmp.Diff([]event.Key{{TGID: 7, Start: 10}}, s.marked); diff != "" {
		t.Error(diff)
	}
}

// The process of an event may have ended before the event was read.
func TestMarkEndsWithItsProcess(t *testing.T) {
	s := newScene(t, 100)
	s.Record(openRecord(1, 0, "/srv/wanted"))
	s.Record(exitRecord(7))
	s.Record(exitRecord(8)) // never marked
	if diff := cmp.Diff([]event.Key{{TGID: 7, Start: 10}}, s.unmarked); diff != "" {
		t.Error(diff)
	}
}

func TestKnownHostEventsAllocateNothing(t *testing.T) {
	s := newScene(t, 100)
	record := openRecord(1, 0, "/etc/hostname")
	s.options.Sink = discard{}
	s.Record(record)
	if n := testing.AllocsPerRun(200, func() { s.Record(record) }); n > 0 {
		t.Errorf("%v allocations for an event that no rule wants", n)
	}
}

type discard struct{}

func (discard) Event(*event.Event)            {}
func (discard) Detection(*sensorv1.Detection) {}

func BenchmarkRecord(b *testing.B) {
	set, err := rule.Load([]rule.Source{{Name: "test.yaml", Data: []byte(rules)}}, time.Now())
	if err != nil {
		b.Fatal(err)
	}
	p := New(Options{Log: zap.NewNop(), BootID: "boot", Sink: discard{}, Rules: set,
		Containers: &cgroups{states: map[uint64]container.State{1: container.Host}},
		Processes:  process.New(process.Options{BootID: "boot", Wall: func(event.Boot) time.Time { return time.Time{} }, Proc: b.TempDir()}),
		Origins:    origin.New(origin.Limits{}), PenEvents: 1, PenBytes: testPenBytes, PenWait: time.Second})
	record := openRecord(1, 0, "/etc/hostname")
	b.ReportAllocs()
	b.SetBytes(int64(len(record)))
	for b.Loop() {
		p.Record(record)
	}
}

func TestTeePassesEverythingOn(t *testing.T) {
	var a, b told
	both := Tee(&a, &b)
	both.Event(&event.Event{})
	both.Detection(&sensorv1.Detection{})
	both.Detection(&sensorv1.Detection{})
	if want := (told{events: 1, detections: 2}); a != want || b != want {
		t.Errorf("%v and %v", a, b)
	}
}

// told counts what a sink is told.
type told struct{ events, detections int }

func (s *told) Event(*event.Event)            { s.events++ }
func (s *told) Detection(*sensorv1.Detection) { s.detections++ }
