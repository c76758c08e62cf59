package correlate

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	alertv1 "github.com/seawall-security/seawall/proto/alert/v1"
	auditv1 "github.com/seawall-security/seawall/proto/audit/v1"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

const otherAgent = "6b0f0c1e-0000-4000-8000-000000000002"

// story is sessions and records of one pod, in the order and at the times they come.
type story struct {
	*stream
	apart uint64 // sessions that were counted as kept apart
}

func newStory(t testing.TB) *story {
	s := &story{stream: &stream{t: t}}
	s.at(noon, func(l *logWriter) { l.receiving(t, noon, noon.Add(-time.Hour), 0) })
	return s
}

func after(d time.Duration) time.Time { return noon.Add(d) }

// session is reported 100 ms after it began.
func (s *story) session(c comeIn) {
	s.sequence++
	r := c.record(s.sequence)
	s.at(c.at.Add(100*time.Millisecond), func(l *logWriter) { l.send(s.t, testAgent, c.at.Add(100*time.Millisecond), 0, r) })
}

// record comes at a time: the beginning of a request, and its end if it has one.
func (s *story) record(at time.Time, a ask) {
	events := []*auditv1.Event{a.event(auditv1.Stage_STAGE_STARTED)}
	if !a.end.IsZero() {
		events = append(events, a.event(auditv1.Stage_STAGE_COMPLETE))
	}
	s.events(at, events...)
}

func (s *story) events(at time.Time, events ...*auditv1.Event) {
	s.at(at, func(l *logWriter) { l.audit(s.t, at, events...) })
}

// chatter keeps the audit log going, once a second.
func (s *story) chatter(from, until time.Duration) {
	for d := from; d < until; d += time.Second {
		s.record(after(d), ask{id: "chatter", at: after(d), args: []string{"nothing"}})
	}
}

// answersOf is what is known of each session at the end: "s1=r1", "s2=r1|r2?", "s3=unattributed".
func answersOf(m *Machine) string {
	var out []string
	for _, s := range m.pods[podKey{testCluster, "store", testPod}].sessions {
		if s.Init {
			continue
		}
		var names []string
		for _, r := range s.Requests {
			names = append(names, r.AuditId)
		}
		text := s.Key.ID + "=" + strings.Join(names, "|")
		switch s.Attribution {
		case joined:
		case ambiguous:
			text += "?"
		default:
			text += strings.ToLower(strings.TrimPrefix(s.Attribution.String(), "ATTRIBUTION_"))
		}
		out = append(out, text)
	}
	return strings.Join(out, " ")
}

// aliveRecord is an event of a node on which nothing happens that matters.
func aliveRecord(sequence uint64, at time.Time) *sensorv1.Record {
	return &sensorv1.Record{BootId: "boot", Body: &sensorv1.Record_Event{Event: &sensorv1.Event{
		Sequence: sequence, Kind: sensorv1.Kind_KIND_PROCESS_EXEC, Time: timestamppb.New(at), Process: &sensorv1.Process{Id: "cron"},
		Payload: &sensorv1.Event_Exec{Exec: &sensorv1.ProcessExec{}},
	}}}
}

// alive has an agent tell of something every two seconds.
func (s *story) alive(agent string, from, until time.Duration) {
	for at := from; at < until; at += 2 * time.Second {
		r := aliveRecord(1<<40, after(at)) // the numbers of the others stay what they are
		s.at(after(at), func(l *logWriter) { l.send(s.t, agent, after(at), 0, r) })
	}
}

// run plays the story until a time, making the machine anew from its rows at random places.
func (s *story) run(until time.Duration) (*Machine, []*alertv1.Alert) {
	s.t.Helper()
	return s.runIn(Limits{}, until)
}

func (s *story) runIn(limits Limits, until time.Duration) (*Machine, []*alertv1.Alert) {
	s.t.Helper()
	s.alive(testAgent, time.Second, min(until, 2*time.Minute))
	m, rows := NewMachine(limits), make(map[rowName]string)
	r := rand.New(rand.NewPCG(1, 2))
	var revisions []*alertv1.Alert
	messages := (&stream{t: s.t, messages: slices.DeleteFunc(slices.Clone(s.messages), func(a arrival) bool { return a.at.After(after(until)) })}).log(noon, after(until))
	for _, message := range messages {
		found, err := m.Apply(message, past(&revisions))
		if err != nil {
			s.t.Fatal(err)
		}
		for _, revision := range found {
			revisions = append(revisions, proto.CloneOf(revision.Alert))
		}
		if keepRows(rows, m); r.IntN(10+len(messages)/10) == 0 {
			s.apart += m.stats.Apart
			m = NewMachine(limits)
			for name, body := range rows {
				if err := m.restore(Row{name.kind, name.key, []byte(body)}); err != nil {
					s.t.Fatal(err)
				}
			}
			m.restored()
			if again := m.Changes(); len(again) > 0 {
				s.t.Fatalf("%d rows are written again, the first a %s", len(again), again[0].Kind)
			}
		}
	}
	s.apart += m.stats.Apart
	return m, revisions
}

func seconds(n float64) time.Duration { return time.Duration(n * float64(time.Second)) }

// lost has an agent tell of a loss.
func (s *story) lost(at time.Duration, agent, class string, from, to time.Duration) {
	g := &sensorv1.Record{BootId: "boot", Body: &sensorv1.Record_Gap{Gap: &sensorv1.Gap{
		Class: class, Stage: "kernel", Since: timestamppb.New(after(from)), Until: timestamppb.New(after(to)), Count: 1}}}
	s.at(after(at), func(l *logWriter) { l.send(s.t, agent, after(at), 0, g) })
}

// sessionOf is a session as some agent tells of it, on a node of its own.
func (s *story) sessionOf(agent string, told time.Duration, c comeIn, change func(*sensorv1.Event)) {
	s.sequence++
	r := c.record(s.sequence)
	if change != nil {
		change(r.GetEvent())
	}
	s.at(after(told), func(l *logWriter) { l.send(s.t, agent, after(told), 0, r) })
}

func ofPod(uid string) func(*sensorv1.Event) {
	return func(e *sensorv1.Event) { e.Container.Pod.Uid = uid }
}
