package correlate

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/seawall-security/seawall/collector/alert"
	auditv1 "github.com/seawall-security/seawall/proto/audit/v1"
	collectorv1 "github.com/seawall-security/seawall/proto/collector/v1"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

func TestJoin(t *testing.T) {
	sh := []string{"sh"}
	second := func(n float64) time.Duration { return time.Duration(n * float64(time.Second)) }
	come := func(id string, at float64, args ...string) comeIn {
		return comeIn{id: id, at: after(second(at)), args: args}
	}
	request := func(id string, at, end float64, args ...string) ask {
		a := ask{id: id, at: after(second(at)), args: args}
		if end > 0 {
			a.end = after(second(end))
		}
		return a
	}
	for _, test := range []struct {
		name  string
		tell  func(s *story)
		until float64
		want  string
	}{
		{"one", func(s *story) {
			s.session(come("s", 10, "id"))
			s.record(after(second(12)), request("r", 9.9, 10.1, "id"))
		}, 60, "s=r"},
		{"named-at-once-joined-when-no-other-can-come", func(s *story) {
			s.session(come("s", 10, "sh"))
			s.record(after(second(10.3)), request("r", 9.9, 0, sh...))
		}, 15, "s=r?"},
		{"and-then", func(s *story) {
			s.session(come("s", 10, "sh"))
			s.record(after(second(10.3)), request("r", 9.9, 0, sh...))
		}, 60, "s=r"},
		{"record-first", func(s *story) {
			s.record(after(second(10)), request("r", 9.9, 0, "id"))
			s.session(come("s", 20, "id"))
		}, 60, "s=r"},
		{"two-apart", func(s *story) {
			s.session(come("s1", 10, "sh"))
			s.session(come("s2", 13, "sh"))
			s.record(after(second(60)), request("r2", 12.9, 0, sh...))
			s.record(after(second(61)), request("r1", 9.9, 0, sh...))
		}, 70, "s1=r1 s2=r2"},
		{"two-apart-the-first-record-lost", func(s *story) {
			s.session(come("s1", 10, "sh"))
			s.session(come("s2", 13, "sh"))
			s.record(after(second(60)), request("r2", 12.9, 0, sh...))
			s.chatter(second(60), second(70))
		}, 70, "s1=unattributed s2=r2"},
		{"two-apart-the-second-record-lost", func(s *story) {
			s.session(come("s1", 10, "sh"))
			s.session(come("s2", 13, "sh"))
			s.record(after(second(60)), request("r1", 9.9, 0, sh...))
		}, 70, "s1=r1? s2=r1?"},
		{"two-apart-the-second-record-lost-the-first-over", func(s *story) {
			s.session(come("s1", 10, "sh"))
			s.session(come("s2", 15, "sh"))
			s.record(after(second(60)), request("r1", 9.9, 10.5, sh...))
			s.chatter(second(60), second(70))
		}, 70, "s1=r1? s2=r1?"}, // its caller may have been gone when it began
		{"two-at-once", func(s *story) {
			s.session(come("s1", 10, "sh"))
			s.session(come("s2", 10.2, "sh"))
			s.record(after(second(60)), request("r1", 9.9, 0, sh...))
			s.record(after(second(60)), request("r2", 10.1, 0, sh...))
		}, 70, "s1=r1|r2? s2=r1|r2?"},
		{"two-at-once-with-and-without-terminal", func(s *story) {
			s.session(come("s1", 10, "sh"))
			s.session(comeIn{id: "s2", at: after(second(10.2)), args: sh, tty: "pts/0"})
			s.record(after(second(60)), request("r1", 9.9, 0, sh...))
			s.record(after(second(60)), ask{id: "r2", at: after(second(10.1)), args: sh, tty: "yes"})
		}, 70, "s1=r1 s2=r2"},
		{"granted-twice-began-once", func(s *story) {
			s.session(come("s", 10, "sh"))
			s.record(after(second(60)), request("r1", 9.8, 0, sh...))
			s.record(after(second(60)), request("r2", 9.9, 0, sh...))
		}, 70, "s=r1|r2?"},
		{"refused", func(s *story) {
			s.session(come("s", 10, "sh"))
			e := request("r", 9.9, 0, sh...).event(auditv1.Stage_STAGE_COMPLETE)
			e.Code = 403
			s.events(after(second(60)), e)
			s.chatter(second(60), second(70))
		}, 70, "s=unattributed"},
		{"ten-minutes-late", func(s *story) {
			s.session(come("s", 10, "sh"))
			s.record(after(10*time.Minute), request("r", 9.9, 0, sh...))
		}, 602, "s=r"},
		{"begun-when-the-caller-was-gone", func(s *story) {
			s.session(come("s", 11.5, "sh"))
			s.record(after(second(60)), request("r", 9.9, 10.2, sh...))
		}, 70, "s=r"},
		{"begun-long-after-the-caller-was-gone", func(s *story) {
			s.session(come("s", 15, "sh"))
			s.record(after(second(60)), request("r", 9.9, 10.2, sh...))
			s.chatter(second(60), second(70))
		}, 70, "s=r?"},
		{"forgotten-request-keeps-its-session", func(s *story) {
			s.session(come("s1", 10, "sh"))
			s.session(come("s2", 41.5, "sh"))
			s.record(after(second(11)), request("r1", 9.9, 10.2, sh...))
			e := request("r2", 10.9, 20*60, sh...).event(auditv1.Stage_STAGE_COMPLETE)
			s.events(after(35*time.Minute), e)
		}, 36 * 60, "s1=r1 s2=r2"},
		{"its-end-comes-hours-later", func(s *story) {
			s.session(come("s", 10, "sh"))
			s.record(after(second(11)), request("r", 9.9, 0, sh...))
			s.events(after(3*time.Hour), request("r", 9.9, 3*3600, sh...).event(auditv1.Stage_STAGE_COMPLETE))
		}, 3*3600 + 10, "s=r"},
		{"first-heard-of-an-hour-later", func(s *story) {
			c := comeIn{id: "s", at: after(second(10)), args: sh, tty: "pts/0"}
			s.detected(time.Hour, "escape-core-pattern", c, nil)
			s.chatter(time.Hour, time.Hour+2*time.Minute)
		}, 3600 + 120, "s=unavailable"},
		{"other-command", func(s *story) {
			s.session(come("s", 10, "id"))
			s.record(after(second(60)), request("r", 9.9, 0, sh...))
			s.chatter(second(60), second(70))
		}, 70, "s=unattributed"},
		{"other-container", func(s *story) {
			c := come("s", 10, "sh")
			c.container, c.named = "c2", "side"
			s.session(c)
			s.record(after(second(60)), request("r", 9.9, 0, sh...))
			s.chatter(second(60), second(70))
		}, 70, "s=unattributed"},
		{"one-in-each-container", func(s *story) {
			c := come("s2", 10, "sh")
			c.container, c.named = "c2", "side"
			s.session(c)
			s.session(come("s1", 10.1, "sh"))
			a := request("r2", 9.9, 0, sh...)
			a.container = "side"
			s.record(after(second(60)), a)
			s.record(after(second(60)), request("r1", 9.9, 0, sh...))
		}, 70, "s2=r2 s1=r1"},
		{"script", func(s *story) {
			c := come("s", 10, "/bin/sh", "/bin/x", "a")
			s.session(c)
			s.record(after(second(60)), request("r", 9.9, 0, "x", "a"))
		}, 70, "s=r"},
		{"the-same-audit-id-twice", func(s *story) { // clients can choose it
			s.session(come("s1", 10, "sh"))
			s.session(come("s2", 20, "sh"))
			s.record(after(second(60)), request("r", 9.9, 0, sh...))
			s.record(after(second(60)), request("r", 19.9, 0, sh...))
		}, 70, "s1=r s2=r"},
		{"something-was-lost-then", func(s *story) {
			s.session(come("s", 10, "sh"))
			g := &sensorv1.Record{BootId: "boot", Body: &sensorv1.Record_Gap{Gap: &sensorv1.Gap{
				Class: "process_exec", Stage: "kernel", Since: timestamppb.New(after(second(10))), Until: timestamppb.New(after(second(11))), Count: 1}}}
			s.sequence++
			s.at(after(second(30)), func(l *logWriter) { l.send(s.t, testAgent, after(second(30)), 0, g) })
			s.record(after(second(60)), request("r", 9.9, 0, sh...))
		}, 70, "s=r?"},
		{"and-it-became-known-later", func(s *story) {
			s.session(come("s", 10, "sh"))
			g := &sensorv1.Record{BootId: "boot", Body: &sensorv1.Record_Gap{Gap: &sensorv1.Gap{
				Class: "entry", Stage: "spool", Since: timestamppb.New(after(second(10))), Until: timestamppb.New(after(second(11))), Count: 1}}}
			s.sequence++
			s.record(after(second(60)), request("r", 9.9, 0, sh...))
			s.at(after(second(65)), func(l *logWriter) { l.send(s.t, testAgent, after(second(65)), 0, g) })
		}, 70, "s=r?"},
		{"off", func(s *story) {
			s.at(after(time.Second), func(l *logWriter) {
				l.condition(s.t, after(time.Second), noon, 0, collectorv1.AuditCondition_AUDIT_CONDITION_OFF)
			})
			s.session(come("s", 10, "sh"))
		}, 70, "s=unavailable"},
		{"waits", func(s *story) {
			s.session(come("s", 10, "sh"))
			s.chatter(second(10), second(50))
		}, 50, "s=waiting"},
		{"nothing-came-since", func(s *story) {
			s.session(come("s", 10, "sh"))
			s.chatter(second(10), second(50))
		}, 200, "s=waiting"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newStory(t)
			test.tell(s)
			m, revisions := s.run(second(test.until))
			if got := answersOf(m); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
			for _, a := range revisions {
				if a.Kind == alert.KindEntry {
					t.Errorf("got %v", a)
				}
			}
			if n := m.requests.len(); test.until > 2*3600 && n > 0 {
				t.Errorf("%d requests are remembered", n)
			}
		})
	}
}

// TestEqualCommandsApart: where all records come, in whatever order, equal commands are
// joined that are further apart than the clocks and the start-up.
func TestEqualCommandsApart(t *testing.T) {
	for seed := range uint64(5) {
		r := rand.New(rand.NewPCG(seed, 3))
		s, want := newStory(t), []string{}
		for i := range 20 {
			at := after(time.Duration(10+2*i) * time.Second)
			s.session(comeIn{id: fmt.Sprintf("s%02d", i), at: at.Add(time.Duration(50+r.IntN(500)) * time.Millisecond), args: []string{"sh"}})
			s.record(at.Add(time.Duration(r.Int64N(int64(10*time.Minute)))), ask{id: fmt.Sprint("r", i), at: at, args: []string{"sh"}})
			want = append(want, fmt.Sprintf("s%02d=r%d", i, i))
		}
		m, _ := s.run(15 * time.Minute)
		if got := answersOf(m); got != strings.Join(want, " ") {
			t.Errorf("seed %d: got %s", seed, got)
		}
	}
}

// TestForgottenSessionsProveNothing: of a session that had to go another one alike must not
// take the place.
func TestForgottenSessionsProveNothing(t *testing.T) {
	s := newStory(t)
	s.session(comeIn{id: "s1", at: after(10 * time.Second), args: []string{"sh"}})
	for i := range 30 {
		s.session(comeIn{id: fmt.Sprint("x", i), at: after(11 * time.Second), args: []string{"x", fmt.Sprint(i)}})
	}
	s.session(comeIn{id: "s2", at: after(12 * time.Second), args: []string{"sh"}})
	s.record(after(60*time.Second), ask{id: "r1", at: after(9900 * time.Millisecond), args: []string{"sh"}})
	m := NewMachine(Limits{SessionBytes: 8 << 10})
	for _, message := range s.log(noon, after(70*time.Second)) {
		if _, err := m.Apply(message, func(alert.Identity) (uint32, error) { return 0, nil }); err != nil {
			t.Fatal(err)
		}
	}
	if got := m.sessions.get(sessionKey{testAgent, "s2"}); m.sessions.get(sessionKey{testAgent, "s1"}) != nil || got.Attribution != ambiguous {
		t.Errorf("got %+v", got)
	}
	if m.sessionBytes > 8<<10 || m.stats.Forgotten == 0 {
		t.Errorf("%d bytes, %d forgotten", m.sessionBytes, m.stats.Forgotten)
	}
}

// TestRequestsOfOneAuditID are told apart by when they came, also of those that are forgotten.
func TestRequestsOfOneAuditID(t *testing.T) {
	m := NewMachine(Limits{})
	m.place.Now = after(time.Minute).UnixNano()
	clock := &skew{}
	for _, at := range []time.Duration{10 * time.Second, 10500 * time.Millisecond} {
		m.enters(entryExec, testCluster, clock, ask{id: "chosen", at: after(at), args: []string{"sh"}}.event(auditv1.Stage_STAGE_STARTED))
	}
	p := m.pods[podKey{testCluster, "store", testPod}]
	first, second := after(10*time.Second).UnixNano(), after(10500*time.Millisecond).UnixNano()
	m.forgetRequest(p.requests[0])
	if p.remembers("chosen", first) || !p.remembers("chosen", second) {
		t.Error("one of two requests of an id is taken for the other")
	}
}

// auditGapOf is a time of which audit events are missing.
func auditGapOf(id string, from, to time.Duration, filled bool) *collectorv1.AuditGap {
	return &collectorv1.AuditGap{Id: id, Filled: filled, Gap: &sensorv1.Gap{Class: "audit", Since: timestamppb.New(after(from)), Until: timestamppb.New(after(to))}}
}

// auditGaps tells of gaps of an audit log that is received.
func (s *story) auditGaps(at time.Duration, gaps ...*collectorv1.AuditGap) {
	s.at(after(at), func(l *logWriter) {
		l.put(s.t, after(at), &collectorv1.LogMessage{Body: &collectorv1.LogMessage_AuditState{AuditState: &collectorv1.AuditState{
			Cluster: testCluster, Condition: collectorv1.AuditCondition_AUDIT_CONDITION_RECEIVING, Since: timestamppb.New(noon.Add(-time.Hour)), Gaps: gaps,
		}}})
	})
}
