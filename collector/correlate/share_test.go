package correlate

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/seawall-security/seawall/collector/alert"
	alertv1 "github.com/seawall-security/seawall/proto/alert/v1"
	auditv1 "github.com/seawall-security/seawall/proto/audit/v1"
	collectorv1 "github.com/seawall-security/seawall/proto/collector/v1"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

const badAgent = "6b0f0c1e-0000-4000-8000-00000000000b"

// TestAFloodCostsOthersNothing: one agent sends trees, alerts, bytes and boots without
// end. Another one's context, open alert and marks are what they would be without it.
func TestAFloodCostsOthersNothing(t *testing.T) {
	flooded, calm := newLog(), newLog()
	send := func(at time.Duration, rs ...*sensorv1.Record) {
		for _, l := range []*logWriter{flooded, calm} {
			l.send(t, testAgent, noon.Add(at), 0, rs...)
		}
	}
	waits, open := &scene{container: "waits"}, &scene{container: "open"}
	send(time.Second, waits.accept(0, "192.0.2.1"), waits.exec(time.Second, "p", "server", "id"), open.shell(0))
	for i := range 25 {
		var rs []*sensorv1.Record
		for k := range 8 {
			s := &scene{container: fmt.Sprint("bad", i, k)}
			large := s.exec(0, "p", "server", "x")
			large.GetEvent().Process.Cwd = strings.Repeat("c", 10<<10)
			other := s.other(0, fmt.Sprint("rule", i, k))
			large.BootId, other.BootId = fmt.Sprint("boot", i, k), fmt.Sprint("boot", i, k)
			rs = append(rs, large, other, s.shell(0))
		}
		flooded.send(t, badAgent, noon.Add(time.Second), 0, rs...)
		send(time.Second, waits.exec(time.Second, fmt.Sprint("p", i), "server", fmt.Sprint("step ", i)))
	}
	send(4*time.Second, waits.shell(2*time.Second), open.script(3*time.Second))
	for _, l := range []*logWriter{flooded, calm} {
		l.tick(t, recount)
	}
	flooded.messages = append(flooded.messages, Message{Position: uint64(len(flooded.messages) + 1), Shard: 7, Data: flooded.messages[0].Data}) // sent again
	honest := func(l *logWriter) (mine []*alertv1.Alert) {
		revisions, _ := playCut(t, l.messages, Limits{Anchors: 30, Bytes: 300 << 10, Marks: 20}, nil)
		for _, a := range revisions {
			if a.Asset.AgentId == testAgent {
				mine = append(mine, a)
			}
		}
		return mine
	}
	same(t, honest(calm), honest(flooded), nil, nil)
}

// TestAFloodOfSessionsCostsOthersNothing: of the agent that has most the oldest go.
func TestAFloodOfSessionsCostsOthersNothing(t *testing.T) {
	l := newLog()
	l.receiving(t, noon, noon.Add(-time.Hour), 0)
	l.send(t, testAgent, noon.Add(time.Second), 0, comeIn{id: "mine", at: noon, args: []string{"sh"}}.record(1))
	for i := range 50 {
		var rs []*sensorv1.Record
		for k := range 20 {
			rs = append(rs, comeIn{id: fmt.Sprint("s", i, "/", k), at: noon, container: "c2", args: []string{"sh", strings.Repeat("x", 4000)}}.record(1))
		}
		l.send(t, badAgent, noon.Add(2*time.Second), 0, rs...)
	}
	l.audit(t, noon.Add(3*time.Second), ask{id: "r", at: noon.Add(-100 * time.Millisecond), end: noon.Add(time.Second), args: []string{"sh"}}.event(auditv1.Stage_STAGE_COMPLETE))
	l.tick(t, time.Minute+quietHold)
	m := NewMachine(Limits{SessionBytes: 1 << 20})
	for _, message := range l.messages {
		if _, err := m.Apply(message, func(alert.Identity) (uint32, error) { return 0, nil }); err != nil {
			t.Fatal(err)
		}
	}
	if s := m.sessions.get(sessionKey{testAgent, "mine"}); s == nil || s.Attribution != joined {
		t.Errorf("got %+v", s)
	}
	if m.sessionBytes > 1<<20 || m.sessions.len() < 200 {
		t.Errorf("%d sessions of %d bytes", m.sessions.len(), m.sessionBytes)
	}
}

// TestRequestsAreBounded: however many there are, and whatever they say of who sent them.
func TestRequestsAreBounded(t *testing.T) {
	l := newLog()
	for i := range 200 {
		e := ask{id: fmt.Sprint("r", i), at: noon, args: []string{"sh", strings.Repeat("x", 1<<20)}}.event(auditv1.Stage_STAGE_STARTED)
		e.User.Extra = make(map[string]*auditv1.Values)
		for k := range 100 {
			e.User.Groups = append(e.User.Groups, strings.Repeat("g", 1000))
			e.User.Extra[fmt.Sprint(k)] = &auditv1.Values{Values: []string{strings.Repeat("v", 10000)}}
		}
		l.audit(t, noon, e)
	}
	m := NewMachine(Limits{RequestBytes: 1 << 20})
	for _, message := range l.messages {
		if _, err := m.Apply(message, func(alert.Identity) (uint32, error) { return 0, nil }); err != nil {
			t.Fatal(err)
		}
	}
	bytes := 0
	for _, r := range m.requests.all() {
		bytes += len(encode(r))
	}
	if m.requestBytes > 1<<20 || bytes > 2<<20 || m.requests.len() < 50 {
		t.Errorf("%d requests of %d bytes, of %d in rows", m.requests.len(), m.requestBytes, bytes)
	}
}

func TestMarksOfOneAgentAreBounded(t *testing.T) {
	m := NewMachine(Limits{})
	for i := range 3 * maxMarks {
		m.fresh(markKey{Agent: badAgent, Boot: fmt.Sprint(i)}, 1)
	}
	if m.marked != maxMarks || m.shares[badAgent].marks.len() != maxMarks {
		t.Errorf("%d marks", m.marked)
	}
	if m.fresh(markKey{Agent: badAgent, Boot: fmt.Sprint(3*maxMarks - 1)}, 1) {
		t.Error("the latest mark is gone")
	}
}

// TestManyGapsOfOneMessage: none is lost, and no sum turns small by being too large.
func TestManyGapsOfOneMessage(t *testing.T) {
	l, s := newLog(), &scene{container: "c"}
	var rs []*sensorv1.Record
	for i := range 5 * maxMessageGaps {
		g := gapRecord(0, time.Duration(i), 1)
		g.GetGap().Reason = fmt.Sprint("reason ", i%2)
		rs = append(rs, g)
	}
	l.send(t, testAgent, noon, 0, s.shell(0))
	l.send(t, testAgent, noon, 0, rs...)
	lost := func() (n uint64) {
		for _, g := range latest(play(t, l.messages))[0].Gaps {
			n = alert.AddUp(n, g.Count)
		}
		return n
	}
	l.tick(t, recount)
	if got := lost(); got != 5*maxMessageGaps {
		t.Errorf("%d lost", got)
	}
	for range 2 {
		l.send(t, testAgent, noon, 0, gapRecord(0, 1, math.MaxUint64))
	}
	l.tick(t, recount)
	if got := lost(); got != math.MaxUint64 {
		t.Errorf("%d lost", got)
	}
}

// TestSeverityHasAnEnd: a number that no scale has is not worse than the worst, and is
// not told each time that it rises.
func TestSeverityHasAnEnd(t *testing.T) {
	l, s := newLog(), &scene{container: "c"}
	for i, severity := range []sensorv1.Severity{-5, 5, 6, 7, math.MaxInt32} {
		r := s.other(time.Duration(i)*time.Second, "rule")
		r.GetDetection().Severity = severity
		l.send(t, badAgent, noon.Add(time.Duration(i)*time.Second), 0, r)
	}
	revisions := play(t, l.messages)
	if len(revisions) != 2 || revisions[0].Severity != 0 || revisions[1].Severity != critical {
		t.Errorf("got %v", revisions)
	}
}

// TestRevisionsBecomeRare: an alert that grows for hours is not told every other second.
func TestRevisionsBecomeRare(t *testing.T) {
	l, s := newLog(), &scene{container: "c"}
	l.send(t, badAgent, noon, 0, s.shell(0))
	for i := range 3600 / 2 {
		at := time.Duration(2*i) * time.Second
		l.send(t, badAgent, noon.Add(at), 0, s.exec(at, fmt.Sprint("p", i), "shell", fmt.Sprint("step ", i)))
	}
	l.tick(t, recount)
	if n := len(play(t, l.messages)); n < manyRevisions || n > manyRevisions+int(time.Hour/recount)+10 {
		t.Errorf("%d revisions", n)
	}
}

// BenchmarkWorstMessage is for one message of some hundred kilobytes: gaps and shells of an
// agent that has thousands of alerts open.
func BenchmarkWorstMessage(b *testing.B) {
	message := func(position int, rs []*sensorv1.Record) Message {
		e := &collectorv1.Envelope{Cluster: testCluster, AgentId: badAgent, Lane: sensorv1.Lane_LANE_DETECTIONS, Received: timestamppb.New(noon)}
		for i, r := range rs {
			body, err := proto.Marshal(r)
			if err != nil {
				b.Fatal(err)
			}
			e.Items = append(e.Items, &sensorv1.Item{BootId: "boot", Sequence: uint64(position<<20 + i + 1), Record: body})
		}
		data, err := proto.Marshal(&collectorv1.LogMessage{Body: &collectorv1.LogMessage_Envelope{Envelope: e}})
		if err != nil {
			b.Fatal(err)
		}
		return Message{Position: uint64(position), Data: data}
	}
	detection := func(rule string, e *sensorv1.Event) *sensorv1.Record {
		return &sensorv1.Record{Body: &sensorv1.Record_Detection{Detection: &sensorv1.Detection{Rule: rule, Event: e}}}
	}
	var open, gaps, shells []*sensorv1.Record
	for i := range 16000 {
		open = append(open, detection(fmt.Sprint("rule", i), &sensorv1.Event{}))
		gaps = append(gaps, &sensorv1.Record{Body: &sensorv1.Record_Gap{Gap: &sensorv1.Gap{Since: timestamppb.New(time.Unix(1, 0)), Count: 1}}})
	}
	for i := range 4000 {
		shells = append(shells, detection("web-server-spawned-shell", &sensorv1.Event{
			Sequence: uint64(i), Process: &sensorv1.Process{Id: fmt.Sprint("p", i)}, TreeRootId: "server", Tree: below}))
	}
	nothing := func(alert.Identity) (uint32, error) { return 0, nil }
	for _, bench := range []struct {
		name string
		rs   []*sensorv1.Record
	}{{"gaps", gaps}, {"shells", shells}} {
		b.Run(bench.name, func(b *testing.B) {
			m, position := NewMachine(Limits{}), 1
			if _, err := m.Apply(message(position, open), nothing); err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				position++
				if _, err := m.Apply(message(position, bench.rs), nothing); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
