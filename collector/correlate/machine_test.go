package correlate

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"github.com/seawall-security/seawall/collector/alert"
	collectorv1 "github.com/seawall-security/seawall/proto/collector/v1"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

func TestRepeatsAreOneAlert(t *testing.T) {
	l := newLog()
	for i := range 1000 {
		s := &scene{container: fmt.Sprint("replica", i%10), sequence: uint64(1000 * i)}
		l.send(t, fmt.Sprint("agent", i%10), noon.Add(time.Duration(i)*time.Second), 0, s.other(time.Duration(i)*time.Second, "sensitive-file-read"))
	}
	l.tick(t, recount)
	// One to raise it, one for the other nodes, then one for each ten minutes.
	alerts := latest(play(t, l.messages))
	if got := brief(alerts); got != "detection medium r4 e1 64+936" {
		t.Errorf("got %s", got)
	}
	s := &scene{container: "c"}
	different := func(change func(*sensorv1.Event)) *sensorv1.Record {
		r := s.other(0, "sensitive-file-read")
		change(eventOf(r))
		return r
	}
	one := "detection medium r1 e1 1+0"
	wantBrief(t, one+"\n"+one+"\n"+one+"\n"+one,
		s.other(0, "sensitive-file-read"), s.other(0, "another-rule"),
		different(func(e *sensorv1.Event) { e.Process.Exe.Path = "/bin/other" }),
		different(func(e *sensorv1.Event) { e.Container.Pod.Namespace = "other" }))
}

func TestEscape(t *testing.T) {
	s, other := &scene{container: "c"}, &scene{container: "d"}
	alerts := final(t, s.other(0, "escape-core-pattern"), s.other(time.Minute, "escape-core-pattern"), other.other(time.Minute, "escape-core-pattern"), s.other(time.Hour, "escape-docker-socket"))
	if got := brief(alerts); got != "escape critical r3 e1 3+0\nescape medium r1 e1 1+0" {
		t.Errorf("got %s", got)
	}
	if title := alerts[0].Title; title != "Escape tried in 2 ways in container web of pod store/shop-c" {
		t.Errorf("title: %s", title)
	}
	// On the host there is nothing to get out of.
	r := s.other(0, "escape-core-pattern")
	eventOf(r).Container = nil
	wantBrief(t, "detection medium r1 e1 1+0", r)
}

func TestGaps(t *testing.T) {
	s := &scene{container: "c"}
	for _, test := range []struct {
		name string
		rs   []*sensorv1.Record
		lost uint64
	}{
		{"during", []*sensorv1.Record{s.shell(0), s.script(time.Hour), gapRecord(time.Minute, 2*time.Minute, 5)}, 5},
		{"told before", []*sensorv1.Record{gapRecord(-time.Hour, time.Second, 5), s.shell(0)}, 5},
		{"just after", []*sensorv1.Record{s.shell(0), gapRecord(30*time.Second, time.Minute, 5)}, 5},
		{"elsewhere in time", []*sensorv1.Record{gapRecord(-time.Hour, -time.Minute-1, 5), s.shell(0), gapRecord(time.Minute+1, time.Hour, 5)}, 0},
		{"grown into", []*sensorv1.Record{s.shell(0), gapRecord(5*time.Minute, 6*time.Minute, 5), s.script(10 * time.Minute), s.script(11 * time.Minute)}, 5},
		{"since nobody knows when", []*sensorv1.Record{s.shell(0), endlessGap(time.Hour, 5)}, 5},
		{"which ended before", []*sensorv1.Record{endlessGap(-time.Minute-1, 5), s.shell(0)}, 0},
		{"several", []*sensorv1.Record{s.shell(0), gapRecord(0, 1, 5), gapRecord(2, 3, 7)}, 12},
	} {
		t.Run(test.name, func(t *testing.T) {
			alerts := final(t, test.rs...)
			var lost uint64
			for _, g := range alerts[0].Gaps {
				lost += g.Count
			}
			if lost != test.lost || len(alerts) != 1 || len(alerts[0].Gaps) > 1 {
				t.Errorf("%d events lost, want %d; %s", lost, test.lost, brief(alerts))
			}
		})
	}
	l := newLog()
	l.send(t, testAgent, noon, 0, s.shell(0))
	l.send(t, "another agent", noon, 0, gapRecord(0, 1, 5))
	l.tick(t, recount)
	if got := latest(play(t, l.messages)); len(got[0].Gaps) != 0 {
		t.Error("another agent's gap")
	}
}

// endlessGap is one of which only the end is known.
func endlessGap(until time.Duration, count uint64) *sensorv1.Record {
	r := gapRecord(0, until, count)
	r.GetGap().Since = nil
	return r
}

// TestSkew: an agent's clock may be hours off; its alerts are not, and say how far off they may be.
func TestSkew(t *testing.T) {
	for _, skew := range []time.Duration{-3 * time.Hour, -time.Minute, 0, time.Second, time.Minute, 3 * time.Hour} {
		t.Run(skew.String(), func(t *testing.T) {
			s := &scene{container: "c"}
			l := newLog()
			for i, r := range []*sensorv1.Record{s.exec(-skew, "p", "server", "context"), s.shell(time.Minute - skew), s.script(30*time.Minute - skew)} {
				l.send(t, testAgent, noon.Add([]time.Duration{0, time.Minute, 30 * time.Minute}[i]+time.Second), skew, r)
			}
			l.tick(t, recount)
			alerts := latest(play(t, l.messages))
			if len(alerts) != 1 || len(alerts[0].Evidence) != 3 {
				t.Fatalf("got %s", brief(alerts))
			}
			off := alerts[0].FirstTime.AsTime().Sub(noon).Abs()
			if u := alerts[0].TimeUncertainty.AsDuration(); off > u || u > skewDelay {
				t.Errorf("first fact off by %v, said %v", off, u)
			}
		})
	}
}

func TestSkewForgets(t *testing.T) {
	var s skew
	s.observe(noon, -time.Hour) // the clock was set right since
	for i := range 30 {
		now := noon.Add(time.Duration(i) * time.Minute)
		s.observe(now, time.Second)
	}
	if add, u := s.offset(); add != 0 || u != time.Second {
		t.Errorf("adds %v, give or take %v", add, u)
	}
}

// mixed is a log of many things at once: two shops, repeats, escapes, gaps, quiet days.
func mixed(t testing.TB) []Message {
	l := newLog()
	web := records(t, intrusion...)
	l.follow(t, marked(web, web[0].GetEvent().GetSession().GetRootId()))
	l.follow(t, records(t, honest...))
	l.follow(t, records(t, intrusion...)) // again, of a boot without marks
	random := rand.New(rand.NewPCG(3, 4))
	scenes := []*scene{{container: "a"}, {container: "b"}, {container: "c"}}
	for i := range 400 {
		at := 24*time.Hour + time.Duration(i*i)*time.Second // ever slower: up to 44 h
		s := scenes[random.IntN(3)]
		id := fmt.Sprint("p", random.IntN(20))
		makes := []func() *sensorv1.Record{
			func() *sensorv1.Record { return s.shell(at) }, func() *sensorv1.Record { return s.script(at) },
			func() *sensorv1.Record { return s.accept(at, fmt.Sprint("198.51.100.", random.IntN(9))) },
			func() *sensorv1.Record { return s.exec(at, id, "shell", id) }, func() *sensorv1.Record { return s.exec(at, id, "server", id) },
			func() *sensorv1.Record { return s.connect(at, id, "shell", "192.0.2.1", below) },
			func() *sensorv1.Record { return s.other(at, "sensitive-file-read") }, func() *sensorv1.Record { return s.other(at, "escape-core-pattern") },
			func() *sensorv1.Record { return gapRecord(at-time.Minute, at, 3) },
			func() *sensorv1.Record {
				return s.record(act{at: at, process: "server", program: "nginx", tree: servers, rule: "mem-rwx-mapping"})
			},
		}
		var rs []*sensorv1.Record
		for range 1 + random.IntN(3) {
			rs = append(rs, makes[random.IntN(len(makes))]())
		}
		l.send(t, fmt.Sprint("agent", random.IntN(2)), noon.Add(at+time.Duration(random.IntN(5000))*time.Millisecond), time.Duration(random.IntN(2))*time.Minute, rs...)
		if i%7 == 0 {
			l.tick(t, time.Second)
		}
	}
	l.tick(t, recount)
	l.tick(t, 40*time.Hour)
	return l.messages
}

func TestReplayIsIdentical(t *testing.T) {
	messages := mixed(t)
	first, firstRows := playCut(t, messages, Limits{}, nil)
	second, secondRows := playCut(t, messages, Limits{}, nil)
	same(t, first, second, firstRows, secondRows)
	if len(first) < 100 || len(latest(first)) < 10 {
		t.Errorf("%d revisions of %d alerts prove little", len(first), len(latest(first)))
	}
}

// TestCutsChangeNothing: a machine made anew from its rows, wherever, goes on the same.
func TestCutsChangeNothing(t *testing.T) {
	messages := mixed(t)
	for name, limits := range map[string]Limits{"roomy": {}, "tight": {Anchors: 4, Bytes: 60 << 10, Marks: 2, Agents: 2}} {
		want, wantRows := playCut(t, messages, limits, nil)
		for _, each := range []int{4, 20, 100, 300} {
			random := rand.New(rand.NewPCG(uint64(each), 5))
			got, gotRows := playCut(t, messages, limits, func(int) bool { return random.IntN(each) == 0 })
			t.Run(fmt.Sprint(name, each), func(t *testing.T) { same(t, want, got, wantRows, gotRows) })
		}
	}
}

func same[T proto.Message](t *testing.T, want, got []T, wantRows, gotRows map[rowName]string) {
	t.Helper()
	bytes := func(all []T) (encoded []string) {
		for _, m := range all {
			encoded = append(encoded, string(pack(m)))
		}
		return encoded
	}
	w, g := bytes(want), bytes(got)
	if len(w) != len(g) {
		t.Fatalf("%d revisions, want %d", len(g), len(w))
	}
	for i := range w {
		if w[i] != g[i] {
			t.Fatalf("revision %d differs: want %v, got %v", i, want[i], got[i])
		}
	}
	if !maps.Equal(wantRows, gotRows) {
		t.Errorf("rows differ: %s", cmp.Diff(wantRows, gotRows))
	}
}

// TestDuplicates: what comes twice, at once or later, changes nothing but its place.
func TestDuplicates(t *testing.T) {
	messages := mixed(t)
	want := play(t, messages)
	var twice []Message
	for i, m := range messages {
		for _, again := range []int{i, max(0, i-20), i} {
			twice = append(twice, Message{Position: uint64(len(twice) + 1), Shard: m.Shard, Data: messages[again].Data})
		}
	}
	same(t, want, play(t, twice), nil, nil)
	// A position that was seen is passed over as a whole.
	m := NewMachine(Limits{})
	for _, position := range []uint64{5, 5, 4} {
		if _, err := m.Apply(Message{Position: position}, nil); err != nil {
			t.Fatal(err)
		}
	}
	if m.stats.Messages != 1 {
		t.Errorf("%d messages", m.stats.Messages)
	}
}

func TestOneRevisionOfAMessage(t *testing.T) {
	machine := NewMachine(Limits{})
	for _, message := range mixed(t) {
		found, err := machine.Apply(message, func(alert.Identity) (uint32, error) { return 0, nil })
		if err != nil {
			t.Fatal(err)
		}
		seen := map[string]bool{}
		for _, r := range found {
			if seen[r.Alert.Id] {
				t.Errorf("message %d: alert %s twice", message.Position, r.Alert.Id)
			}
			seen[r.Alert.Id] = true
		}
	}
}

// TestMemoryIsBounded: an agent that invents trees, processes and boots fills its share,
// and nothing more.
func TestMemoryIsBounded(t *testing.T) {
	limits := Limits{Anchors: 50, Bytes: 200 << 10, Marks: 20, Agents: 5}
	m := NewMachine(limits)
	rows := make(map[rowName]string)
	l := newLog()
	for i := range 3000 {
		s := &scene{container: fmt.Sprint("c", i)}
		r := []*sensorv1.Record{s.shell(0), s.exec(0, "p", "server", "x"), s.other(0, fmt.Sprint("rule", i)), s.other(0, "escape-x")}[i%4]
		r.BootId = fmt.Sprint("boot", i)
		l.send(t, fmt.Sprint("agent", i%30), noon.Add(time.Duration(i)*time.Second), 0, r)
	}
	revisions := 0
	for _, message := range l.messages {
		found, err := m.Apply(message, func(alert.Identity) (uint32, error) { return 0, nil })
		if err != nil {
			t.Fatal(err)
		}
		revisions += len(found)
		keepRows(rows, m)
		if n := m.waiting.len() + m.raised.len(); n > limits.Anchors || m.bytes > limits.Bytes || m.marked > limits.Marks || m.agents.len() > limits.Agents {
			t.Fatalf("%d anchors, %d bytes, %d marks, %d agents", n, m.bytes, m.marked, m.agents.len())
		}
		if len(rows) > 1+limits.Anchors+limits.Marks+limits.Agents || len(m.family) > limits.Anchors || len(m.due) > limits.Anchors {
			t.Fatalf("%d rows, %d family, %d due", len(rows), len(m.family), len(m.due))
		}
	}
	if revisions < 2250 || m.stats.Evicted == 0 {
		t.Errorf("%d revisions, %d evicted", revisions, m.stats.Evicted)
	}
	bytes := 0
	for _, a := range m.waiting.all() {
		bytes += a.measure()
	}
	for _, a := range m.raised.all() {
		bytes += a.measure()
	}
	if bytes != m.bytes {
		t.Errorf("booked %d bytes, there are %d", m.bytes, bytes)
	}
}

// An agent that is started again within one boot numbers its events anew: another fact
// under the same number is no duplicate.
func TestNumbersOfEventsComeAgain(t *testing.T) {
	l, s := newLog(), &scene{container: "c"}
	for i := range 3 {
		s.sequence = 0
		r := s.other(time.Duration(i)*time.Minute, "sensitive-file-read")
		r.GetDetection().Id, r.GetDetection().Summary = fmt.Sprint("detection ", i), fmt.Sprint("file ", i)
		r.GetDetection().Severity = medium + sensorv1.Severity(i)
		l.send(t, testAgent, noon.Add(time.Duration(i)*time.Minute), 0, r)
	}
	l.tick(t, recount)
	if got := brief(latest(play(t, l.messages))); got != "detection critical r3 e1 3+0" {
		t.Errorf("got %s", got)
	}
}

// TestOldThingsAreForgotten: after a month without news nothing is left but the place.
func TestOldThingsAreForgotten(t *testing.T) {
	l := newLog()
	l.messages, l.now = mixed(t), noon.Add(100*time.Hour)
	l.tick(t, forget+time.Minute)
	l.tick(t, 2*time.Minute)
	_, rows := playCut(t, l.messages, Limits{}, nil)
	for name := range rows {
		if name.kind != rowPlace {
			t.Errorf("%s %s is left", name.kind, name.key)
		}
	}
}

func TestUnreadableRecordsAreGaps(t *testing.T) {
	s := &scene{container: "c"}
	l := newLog()
	l.send(t, testAgent, noon, 0, s.shell(0))
	script, err := proto.Marshal(s.script(0))
	if err != nil {
		t.Fatal(err)
	}
	l.envelope(t, noon, &collectorv1.Envelope{Cluster: testCluster, AgentId: testAgent, Lane: sensorv1.Lane_LANE_DETECTIONS, Items: []*sensorv1.Item{
		{Sequence: 1, BootId: "boot", Record: []byte("\xff\xff")}, {Sequence: 2, BootId: "boot", Record: script},
		{Sequence: 2, BootId: strings.Repeat("boot", 50), Record: script},
	}})
	l.messages = append(l.messages, Message{Position: 3, Data: []byte("\xff\xff")}, Message{Position: 4}) // of the log itself; of a newer collector
	l.send(t, testAgent, noon, 0, &sensorv1.Record{BootId: "boot"})                                       // of a newer agent
	l.tick(t, recount)
	alerts := latest(play(t, l.messages))
	if got := brief(alerts); got != "web-shell critical r1 e1 2+0" && got != "web-shell critical r2 e1 2+0" {
		t.Errorf("got %s", got)
	}
	if g := alerts[0].Gaps; len(g) != 1 || g[0].Stage != "collector" || g[0].Count != 2 {
		t.Errorf("gaps: %v", g)
	}
}

func TestAStoreThatFailsIsAnError(t *testing.T) {
	s := &scene{container: "c"}
	failed := errors.New("no disk")
	for _, r := range []*sensorv1.Record{s.shell(0), s.other(0, "escape-x"), s.other(0, "x")} {
		l := newLog()
		l.send(t, testAgent, noon, 0, r)
		if _, err := NewMachine(Limits{}).Apply(l.messages[0], func(alert.Identity) (uint32, error) { return 0, failed }); !errors.Is(err, failed) {
			t.Errorf("got %v", err)
		}
	}
}
