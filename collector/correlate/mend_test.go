package correlate

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/seawall-security/seawall/collector/alert"
	alertv1 "github.com/seawall-security/seawall/proto/alert/v1"
	auditv1 "github.com/seawall-security/seawall/proto/audit/v1"
	collectorv1 "github.com/seawall-security/seawall/proto/collector/v1"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

const otherAgent = "6b0f0c1e-0000-4000-8000-000000000002"

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

// TestLossesStayKnown: floods of other losses do not make forget that sessions were lost.
func TestLossesStayKnown(t *testing.T) {
	s := newStory(t)
	s.lost(11*time.Second, testAgent, "process_exec", seconds(9.5), seconds(10.5)) // the victim's session is in it
	s.session(comeIn{id: "thief", at: after(12 * time.Second), args: []string{"sh"}})
	for i := range 2 * maxLosses {
		class := "file_open"
		if i%2 == 0 {
			class = "entry"
		}
		s.lost(seconds(60+float64(i)), testAgent, class, seconds(59.5+float64(i)), seconds(60+float64(i)))
	}
	s.record(after(300*time.Second), ask{id: "victim", at: after(seconds(9.9)), args: []string{"sh"}})
	m, _ := s.run(310 * time.Second)
	if got := answersOf(m); got != "thief=victim?" {
		t.Errorf("got %s", got)
	}
	if n := len(m.agents.get(testAgent).Losses); n > maxLosses {
		t.Errorf("%d losses are kept", n)
	}
}

// TestContradictionsUndoJoins: three requests cannot have begun two sessions, so that one of
// them began none, and none of the joins made so far is a proof any more.
func TestContradictionsUndoJoins(t *testing.T) {
	s := newStory(t)
	s.record(after(seconds(10.1)), ask{id: "r1", at: after(seconds(10)), args: []string{"sh"}}) // of no session
	s.record(after(seconds(25.1)), ask{id: "r2", at: after(seconds(25)), args: []string{"sh"}})
	s.session(comeIn{id: "s1", at: after(seconds(25.1)), args: []string{"sh"}})
	s.session(comeIn{id: "s2", at: after(seconds(50)), args: []string{"sh"}})
	s.record(after(seconds(200)), ask{id: "r3", at: after(seconds(49.9)), args: []string{"sh"}})
	s.alive(testAgent, time.Second, 4*time.Minute)
	s.chatter(seconds(200), 4*time.Minute)
	m, _ := s.run(4 * time.Minute)
	if got := answersOf(m); got != "s1=r1|r2? s2=r2|r3?" {
		t.Errorf("got %s", got)
	}
}

// TestRefusedMessagesAreLosses: a session in a message that is passed over is one that may be missing.
func TestRefusedMessagesAreLosses(t *testing.T) {
	s := newStory(t)
	s.session(comeIn{id: "victim", at: after(seconds(10)), args: []string{"sh"}})
	s.session(comeIn{id: "thief", at: after(seconds(12)), args: []string{"sh"}})
	s.record(after(seconds(100)), ask{id: "r", at: after(seconds(9.9)), args: []string{"sh"}})
	s.alive(testAgent, time.Second, 2*time.Minute)
	s.chatter(seconds(100), 3*time.Minute)
	m := NewMachine(Limits{})
	var revisions []*alertv1.Alert
	refused := 0
	for _, message := range s.log(noon, after(3*time.Minute)) {
		if bytes.Contains(message.Data, []byte("victim")) {
			refused++
			m.skip(message, true)
		} else if _, err := m.Apply(message, past(&revisions)); err != nil {
			t.Fatal(err)
		}
	}
	if got := answersOf(m); refused != 1 || got != "thief=r?" {
		t.Errorf("%d refused, %s", refused, got)
	}
}

// TestLossesOverlapOrMerge: however many there are, what was lost stays covered.
func TestLossesOverlapOrMerge(t *testing.T) {
	a, hour := &agentState{}, int64(time.Hour)
	var all []loss
	for i := range 500 {
		at := int64(i*7919%5000) * int64(time.Second)
		l := loss{at, at + int64(i%5)*int64(time.Second)}
		all = append(all, l)
		a.book(l, hour)
		for k, kept := range a.Losses {
			if kept.Since > kept.Until || k > 0 && kept.Since <= a.Losses[k-1].Until {
				t.Fatalf("after %d: got %v", i, a.Losses)
			}
		}
	}
	if len(a.Losses) > maxLosses {
		t.Errorf("%d are kept", len(a.Losses))
	}
	for _, l := range all {
		if !a.lost(l.Since, l.Until) {
			t.Errorf("%v is forgotten", l)
		}
	}
	a.book(loss{hour, hour}, hour+2*int64(forgetLoss))
	if len(a.Losses) != 1 {
		t.Errorf("got %v, all but one of which concern nothing any more", a.Losses)
	}
}

// TestAPodOfTheSameName: what was lost where a pod was before counts, and a pod that was not
// there yet was not asked for.
func TestAPodOfTheSameName(t *testing.T) {
	for _, test := range []struct {
		name string
		tell func(s *story)
	}{
		{"its-first-program-is-seen-on-both", func(s *story) {
			s.sessionOf(testAgent, seconds(2.1), comeIn{id: "own1", init: true, at: after(seconds(2)), args: []string{"server"}}, ofPod("u1"))
			s.sessionOf(otherAgent, seconds(20.1), comeIn{id: "own2", init: true, container: "c2", at: after(seconds(20)), args: []string{"server"}}, ofPod("u2"))
		}},
		{"on-the-second", func(s *story) {
			s.sessionOf(otherAgent, seconds(20.1), comeIn{id: "own2", init: true, container: "c2", at: after(seconds(20)), args: []string{"server"}}, ofPod("u2"))
		}},
		{"nobody-knows-where-it-was", func(s *story) {
			s.lost(seconds(11), testAgent, "process_exec", seconds(9.5), seconds(10.5))
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newStory(t)
			s.alive(otherAgent, time.Second, 2*time.Minute)
			test.tell(s)
			s.sessionOf(otherAgent, seconds(25.1), comeIn{id: "thief", container: "c2", at: after(seconds(25)), args: []string{"sh"}}, ofPod("u2"))
			s.record(after(seconds(70)), ask{id: "victim", at: after(seconds(9.9)), args: []string{"sh"}})
			m, _ := s.run(2 * time.Minute)
			if got := answersOf(m); got != "thief=victim?" {
				t.Errorf("got %s", got)
			}
		})
	}
}

// TestNamelessSessions: one whose pod its agent could not tell may be what a request began,
// until it is named.
func TestNamelessSessions(t *testing.T) {
	for named, want := range map[time.Duration]string{0: "thief=alice?", 80 * time.Second: "thief=unattributed alices=alice"} {
		s := newStory(t)
		c := comeIn{id: "alices", at: after(seconds(10.2)), args: []string{"sh"}}
		s.sessionOf(testAgent, seconds(14), c, func(e *sensorv1.Event) { e.Container = nil })
		s.session(comeIn{id: "thief", at: after(seconds(8)), args: []string{"sh"}})
		s.session(comeIn{id: "other", at: after(seconds(12)), args: []string{"id"}})
		s.record(after(seconds(12)), ask{id: "alice", at: after(seconds(8.5)), args: []string{"sh"}})
		s.record(after(seconds(13)), ask{id: "bob", at: after(seconds(11.9)), args: []string{"id"}})
		if named > 0 {
			s.sessionOf(testAgent, named, c, nil)
			want = "thief=alice? alices=alice?"
		}
		s.chatter(10*time.Second, 4*time.Minute)
		m, _ := s.run(4 * time.Minute)
		if got := answersOf(m); strings.ReplaceAll(got, " other=bob", "") != want || !strings.Contains(got, "other=bob") {
			t.Errorf("named at %v: got %s", named, got)
		}
	}
}

// TestASlowNode: that a node was quick says nothing of the next session, nor does it that the
// caller is gone.
func TestASlowNode(t *testing.T) {
	for _, thief := range []bool{true, false} {
		s := newStory(t)
		for i := range 6 {
			at := seconds(1 + float64(i))
			s.session(comeIn{id: fmt.Sprint("w", i), at: after(at), args: []string{"warm", fmt.Sprint(i)}})
			s.record(after(at+seconds(0.2)), ask{id: fmt.Sprint("rw", i), at: after(at - seconds(0.1)), args: []string{"warm", fmt.Sprint(i)}})
		}
		c, want := comeIn{id: "thief", at: after(seconds(61)), args: []string{"sh"}}, "thief=bob? bobs=bob?"
		if !thief { // hers, though she went away before the runtime began it
			c.id, want = "alices", "alices=alice|bob? bobs=alice|bob?"
			s.record(after(seconds(51.2)), ask{id: "alice", at: after(seconds(50)), end: after(seconds(51)), args: []string{"sh"}})
		}
		s.session(c)
		s.record(after(seconds(60.1)), ask{id: "bob", user: "bob", at: after(seconds(60)), args: []string{"sh"}})
		s.session(comeIn{id: "bobs", at: after(seconds(72)), args: []string{"sh"}})
		s.detected(62*time.Second, "escape-core-pattern", c, nil)
		s.chatter(60*time.Second, 4*time.Minute)
		m, revisions := s.run(4 * time.Minute)
		if got := answersOf(m); !strings.HasSuffix(got, want) {
			t.Errorf("got %s, want %s", got, want)
		}
		for _, a := range revisions {
			if strings.HasPrefix(a.Summary, "Came in: ") || strings.Contains(a.Summary, " Came in: bob") {
				t.Errorf("told at %v: %s", a.StoredTime.AsTime().Sub(noon), a.Summary)
			}
		}
	}
}

// TestASilentAgent: while nothing is heard of an agent its sessions may be on their way.
func TestASilentAgent(t *testing.T) {
	s := newStory(t)
	s.sessionOf(otherAgent, seconds(8.6), comeIn{id: "thief", at: after(seconds(8.5)), args: []string{"sh"}}, nil)
	s.record(after(seconds(10)), ask{id: "alice", at: after(seconds(9)), args: []string{"sh"}})
	s.sessionOf(otherAgent, seconds(80), comeIn{id: "alices", at: after(seconds(9.1)), args: []string{"sh"}}, nil) // it was cut off
	s.alive(otherAgent, seconds(81), 3*time.Minute)
	s.detected(seconds(9), "escape-core-pattern", comeIn{id: "unrelated", at: after(seconds(5)), args: []string{"x"}}, nil)
	for _, until := range []time.Duration{79 * time.Second, 2 * time.Minute} {
		m, _ := s.run(until)
		if got := answersOf(m); until < 80*time.Second && !strings.Contains(got, "thief=alice?") || strings.Contains(got, "thief=alice ") {
			t.Errorf("at %v: got %s", until, got)
		}
	}
	quiet := newStory(t)
	quiet.sessionOf(otherAgent, seconds(10), comeIn{id: "s", at: after(seconds(9.9)), args: []string{"sh"}}, nil)
	quiet.record(after(seconds(10)), ask{id: "r", at: after(seconds(9.8)), args: []string{"sh"}})
	if m, _ := quiet.run(4 * time.Minute); answersOf(m) != "s=r" {
		t.Errorf("of one that has nothing to say: got %s", answersOf(m))
	}
}

// debugs is the record of a kubectl debug; without a UID: of a dry run, or cut.
func debugs(id, user string, at time.Duration, uid string) *auditv1.Event {
	e := ask{id: id, user: user, at: after(at), end: after(at)}.event(auditv1.Stage_STAGE_COMPLETE)
	e.Object.Subresource, e.Verb, e.Code, e.Entry = "ephemeralcontainers", "patch", 200, nil
	e.Request = []byte(`{"spec":{"ephemeralContainers":[{"name":"app","image":"x"}]}}`)
	if uid != "" {
		e.Response = []byte(`{"kind":"Pod","metadata":{"name":"` + testPod + `","uid":"` + uid + `"},"spec":{"ephemeralContainers":[{"name":"app"}]}}`)
	}
	return e
}

// TestDebugOfAnotherPod: a container of that name in a pod of that name may be another one.
func TestDebugOfAnotherPod(t *testing.T) {
	dry := debugs("dry", "eve", 100*time.Second, "u2")
	dry.RequestUri = "/api/v1/namespaces/store/pods/web-0/ephemeralcontainers?fieldManager=kubectl&dryRun=All"
	for _, test := range []struct {
		name  string
		first *auditv1.Event
		want  []string // before bob's record, and then
	}{
		{"known", debugs("alice", "alice", 10*time.Second, "u1"), []string{"bobs=waiting", "bobs=bob"}},
		{"not-known", debugs("alice", "alice", 10*time.Second, ""), []string{"bobs=alice?", "bobs=bob"}},
		{"dry-run", dry, []string{"bobs=waiting", "bobs=bob"}},
	} {
		s := newStory(t)
		s.events(after(seconds(110)), test.first)
		c := comeIn{id: "bobs", init: true, container: "c2", at: after(182 * time.Second), args: []string{"sh"}}
		anew := created(after(90*time.Second), `{"containers":[{"name":"server"}],"ephemeralContainers":[{"name":"app"}]}`)
		anew.Response = bytes.Replace(anew.Response, []byte(`"uid":"u1"`), []byte(`"uid":"u2"`), 1)
		s.events(after(90*time.Second), anew)
		s.sessionOf(testAgent, seconds(182.1), c, ofPod("u2"))
		s.events(after(400*time.Second), debugs("bob", "bob", 180*time.Second, "u2"))
		for i, until := range []time.Duration{190 * time.Second, 500 * time.Second} {
			m, _ := s.run(until)
			var got string
			for _, found := range m.sessions.all() {
				got = found.Key.ID + "=" + strings.ToLower(strings.TrimPrefix(found.Attribution.String(), "ATTRIBUTION_"))
				if found.Attribution == joined || found.Attribution == ambiguous {
					got = found.Key.ID + "=" + found.Requests[0].AuditId
					if found.Attribution == ambiguous {
						got += "?"
					}
				}
			}
			if got != test.want[i] {
				t.Errorf("%s at %v: got %s, want %s", test.name, until, got, test.want[i])
			}
		}
	}
}

// TestAuditGapsAreTakenUp: what was decided before a gap of the audit log was told, or
// before it was filled, is decided again.
func TestAuditGapsAreTakenUp(t *testing.T) {
	state := func(s *story, at time.Duration, c collectorv1.AuditCondition, since time.Duration) {
		s.at(after(at), func(l *logWriter) { l.condition(t, after(at), after(since), 0, c) })
	}
	entry := func(s *story, at time.Duration) {
		s.session(comeIn{id: "s", at: after(at), args: []string{"sh"}, tty: "pts/0"})
	}
	const receiving, stale = collectorv1.AuditCondition_AUDIT_CONDITION_RECEIVING, collectorv1.AuditCondition_AUDIT_CONDITION_STALE
	for _, test := range []struct {
		name  string
		tell  func(s *story)
		want  string
		told  int // alerts of entries that ever were high
		stays bool
	}{
		{"a-silence-is-waited-for", func(s *story) {
			s.chatter(time.Second, 5*time.Second)
			entry(s, 10*time.Second)
			s.chatter(80*time.Second, 900*time.Second)
			s.auditGaps(250*time.Second, auditGapOf("1", 4*time.Second, 80*time.Second, false))
		}, "s=unavailable", 0, false},
		{"a-silence-that-was-none", func(s *story) {
			s.chatter(time.Second, 5*time.Second)
			entry(s, 10*time.Second)
			s.chatter(80*time.Second, 900*time.Second)
		}, "s=unattributed", 1, true},
		{"a-silence-that-is-filled", func(s *story) {
			s.chatter(time.Second, 5*time.Second)
			entry(s, 10*time.Second)
			s.chatter(80*time.Second, 900*time.Second)
			for _, at := range []float64{20, 50} { // another server's events, late
				s.record(after(seconds(100)), ask{id: fmt.Sprint("x", at), at: after(seconds(at)), args: []string{"nothing"}})
			}
		}, "s=unattributed", 1, true},
		{"a-gap-told-afterwards", func(s *story) { // refused among others that were taken
			s.chatter(time.Second, 900*time.Second)
			entry(s, 10*time.Second)
			s.auditGaps(190*time.Second, auditGapOf("1", 9*time.Second, 11*time.Second, false))
		}, "s=unavailable", 1, false},
		{"a-gap-that-is-filled", func(s *story) {
			s.chatter(time.Second, 900*time.Second)
			entry(s, 30*time.Second)
			s.auditGaps(31*time.Second, auditGapOf("1", 5*time.Second, 35*time.Second, false))
			s.auditGaps(150*time.Second, auditGapOf("1", 5*time.Second, 35*time.Second, true))
		}, "s=unattributed", 1, true},
		{"an-outage-of-which-all-has-come", func(s *story) {
			s.chatter(time.Second, 5*time.Second)
			state(s, 100*time.Second, stale, 5*time.Second)
			entry(s, 101*time.Second)
			s.chatter(102*time.Second, 900*time.Second)
			state(s, 103*time.Second, receiving, 103*time.Second)
		}, "s=unattributed", 1, true},
		{"an-outage-with-a-gap", func(s *story) {
			s.chatter(time.Second, 5*time.Second)
			state(s, 100*time.Second, stale, 5*time.Second)
			entry(s, 101*time.Second)
			s.chatter(102*time.Second, 900*time.Second)
			state(s, 103*time.Second, receiving, 103*time.Second)
			s.auditGaps(230*time.Second, auditGapOf("1", 4*time.Second, 102*time.Second, false))
		}, "s=unavailable", 0, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newStory(t)
			test.tell(s)
			m, revisions := s.run(15 * time.Minute)
			if got := answersOf(m); got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
			told := make(map[string]bool)
			for _, a := range revisions {
				if a.Kind == alert.KindEntry && a.Severity >= high {
					told[a.Id] = true
				}
			}
			stays := false
			for _, a := range entryAlerts(revisions) {
				stays = stays || a.Severity >= high
			}
			if len(told) != test.told || stays != test.stays {
				t.Errorf("%d alerts, one stays: %v", len(told), stays)
			}
		})
	}
}

// TestMoreEntriesThanRequests: behind one honest request others cannot hide.
func TestMoreEntriesThanRequests(t *testing.T) {
	s := newStory(t)
	s.session(comeIn{id: "victim", at: after(10 * time.Second), args: []string{"sh"}, tty: "pts/0"})
	for i := range 5 {
		s.session(comeIn{id: fmt.Sprint("thief", i), at: after(seconds(12 + 2*float64(i))), args: []string{"sh"}, tty: "pts/1"})
	}
	s.detected(30*time.Second, "escape-core-pattern", comeIn{id: "thief0", at: after(12 * time.Second), args: []string{"sh"}, tty: "pts/1"}, nil)
	s.record(after(11*time.Second), ask{id: "r", at: after(seconds(9.9)), args: []string{"sh"}, tty: "y"})
	s.chatter(11*time.Second, 10*time.Minute)
	_, revisions := s.run(5 * time.Minute)
	alerts := entryAlerts(revisions)
	if len(alerts) != 1 {
		t.Fatalf("got %s", brief(latest(revisions)))
	}
	a := alerts[0]
	if a.Severity != high || len(a.Entries) != 6 || !strings.HasPrefix(a.Title, "Entries past the Kubernetes API in container app") ||
		!strings.HasPrefix(a.Summary, "6 entries, 1 request: at least 5 came past the Kubernetes API.") || a.Revision > 6 {
		t.Errorf("got %v", a)
	}
	for _, other := range latest(revisions) {
		if other.Kind == alert.KindEscape && !strings.Contains(other.Summary, "May have come in: alice@example.test from 10.77.0.10 by kubectl exec, or somebody past the API (sh).") {
			t.Errorf("got %q", other.Summary)
		}
	}
	for i := range 5 { // it was all in order: the records were very late
		s.record(after(6*time.Minute), ask{id: fmt.Sprint("r", i), at: after(seconds(11.9 + 2*float64(i))), args: []string{"sh"}, tty: "y"})
	}
	m, revisions := s.run(8 * time.Minute)
	if a := entryAlerts(revisions)[0]; len(entryAlerts(revisions)) != 1 || a.Severity >= low || !strings.HasPrefix(a.Title, "Entries whose requests were recorded late") {
		t.Errorf("got %v, %s", a, answersOf(m))
	}
	for _, found := range m.sessions.all() {
		if found.Over || found.Set.ID != "" {
			t.Errorf("%s is still one too many", found.Key.ID)
		}
	}
}

// TestACrowdIsTooMany: more entries than are looked at together hide nothing, and are taken
// back as fewer are.
func TestACrowdIsTooMany(t *testing.T) {
	const n = maxComponent + 20
	s := newStory(t)
	var late []*auditv1.Event
	for i := range n {
		at := after(seconds(10 + 20*float64(i)/n))
		s.session(comeIn{id: fmt.Sprint("s", i), at: at, args: []string{"sh"}, tty: "pts/0"})
		a := ask{id: fmt.Sprint("r", i), at: at.Add(-50 * time.Millisecond), args: []string{"sh"}, tty: "y"}
		if i == 0 {
			s.record(after(seconds(11)), a)
		} else {
			late = append(late, a.event(auditv1.Stage_STAGE_STARTED))
		}
	}
	s.events(after(4*time.Minute), late...)
	s.chatter(seconds(11), 5*time.Minute)
	for until, want := range map[time.Duration]bool{3 * time.Minute: true, 5 * time.Minute: false} {
		_, revisions := s.run(until)
		alerts := entryAlerts(revisions)
		if len(alerts) != 1 || !slices.Contains(alerts[0].Tags, tagSurplus) || (alerts[0].Severity >= high) != want {
			t.Errorf("by %v: %s", until, brief(alerts))
		}
	}
}

// TestProbesAreNotTooMany: what the kubelet runs counts for nothing, nor does what may be it.
func TestProbesAreNotTooMany(t *testing.T) {
	s := newStory(t)
	for i := range 6 { // without a terminal, of a pod that nothing is known of
		s.session(comeIn{id: fmt.Sprint("s", i), at: after(seconds(10 + 3*float64(i))), args: []string{"sh"}})
	}
	s.record(after(11*time.Second), ask{id: "r", at: after(seconds(9.9)), args: []string{"sh"}})
	s.chatter(11*time.Second, 5*time.Minute)
	if _, revisions := s.run(5 * time.Minute); len(revisions) > 0 {
		t.Errorf("got %s", brief(revisions))
	}
}

// TestOneClockIsAhead: where an API server's clock is ahead, the others' may be right.
func TestOneClockIsAhead(t *testing.T) {
	for _, ahead := range []float64{0, 0.9, 1.5, 3} {
		s := newStory(t)
		for d := 1; d < 120; d++ {
			s.record(after(seconds(float64(d))), ask{id: fmt.Sprint("A", d), at: after(seconds(float64(d) + ahead)), args: []string{"nothing"}})
		}
		s.session(comeIn{id: "alices", at: after(seconds(30)), args: []string{"true"}, tty: "pts/0"})
		s.record(after(seconds(31)), ask{id: "rB", at: after(seconds(29.9)), end: after(seconds(30.3)), args: []string{"true"}, tty: "y"})
		s.session(comeIn{id: "bobs", at: after(seconds(50)), args: []string{"id"}, tty: "pts/0"})
		s.record(after(seconds(51)), ask{id: "rA", at: after(seconds(49.9 + ahead)), end: after(seconds(50.3 + ahead)), args: []string{"id"}, tty: "y"})
		m, revisions := s.run(2 * time.Minute)
		if got := answersOf(m); got != "alices=rB bobs=rA" || len(revisions) > 0 {
			t.Errorf("%v s ahead: got %s, %d alerts", ahead, got, len(revisions))
		}
	}
}

// binding is the scheduler's record of where a pod goes.
func binding(at time.Duration, uid, node string) *auditv1.Event {
	return &auditv1.Event{
		AuditId: "bind" + uid, Stage: auditv1.Stage_STAGE_COMPLETE, Verb: "create", Code: 201, RequestTime: timestamppb.New(after(at)), StageTime: timestamppb.New(after(at)),
		User:    &auditv1.User{Name: "system:kube-scheduler"},
		Object:  &auditv1.Object{Resource: "pods", Subresource: "binding", Namespace: "store", Name: testPod, Uid: uid},
		Request: []byte(`{"kind":"Binding","metadata":{"name":"` + testPod + `","uid":"` + uid + `"},"target":{"kind":"Node","name":"` + node + `"}}`),
	}
}

// TestAgentsOfOtherNodes: what an agent says of a pod that is not on its node is kept apart.
func TestAgentsOfOtherNodes(t *testing.T) {
	liar := func(s *story, node, uid string) {
		s.sequence++
		r := comeIn{id: "forged", at: after(seconds(10.5)), tty: "pts/0", container: "c9"}.record(s.sequence)
		r.GetEvent().Container.Pod.Uid = uid
		s.at(after(seconds(10.6)), func(l *logWriter) { l.sendFrom(t, node, otherAgent, after(seconds(10.6)), 0, r) })
	}
	own := func(s *story) {
		s.session(comeIn{id: "own", init: true, at: after(seconds(2)), args: []string{"server"}})
	}
	for _, test := range []struct {
		name string
		tell func(s *story)
		want string
	}{
		{"the-first-that-told-of-it-has-it", func(s *story) { own(s); liar(s, "node-2", "u1") }, "alices=alice"},
		{"whatever-its-node-is-called", func(s *story) { own(s); liar(s, "node-1", "u1") }, "alices=alice"},
		{"or-does-not-say-which", func(s *story) { own(s); liar(s, "node-2", "") }, "alices=alice"},
		{"by-the-audit-log", func(s *story) {
			s.events(after(seconds(2)), binding(seconds(1), "u1", "node-1"))
			liar(s, "node-2", "u1")
		}, "alices=alice"},
		{"which-comes-later", func(s *story) {
			liar(s, "node-2", "u1")
			s.events(after(seconds(60)), binding(seconds(1), "u1", "node-1"))
		}, "alices=alice"},
		{"another-pod-that-is-not-there", func(s *story) {
			s.events(after(seconds(2)), binding(seconds(1), "u1", "node-1"))
			own(s)
			liar(s, "node-2", "u666")
		}, "alices=alice"},
		{"nodes-have-other-names-there", func(s *story) { s.events(after(seconds(2)), binding(seconds(1), "u1", "host.example")) }, "alices=alice"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newStory(t)
			s.alive(testAgent, time.Second/2, 2*time.Minute)
			test.tell(s)
			s.session(comeIn{id: "alices", at: after(seconds(10)), args: []string{"sh"}, tty: "pts/0"})
			s.record(after(seconds(11)), ask{id: "alice", at: after(seconds(9.9)), args: []string{"sh"}, tty: "y"})
			s.chatter(seconds(11), 3*time.Minute)
			m, revisions := s.run(3 * time.Minute)
			if got := answersOf(m); got != test.want || len(revisions) > 0 {
				t.Errorf("got %s, alerts %s", got, brief(latest(revisions)))
			}
			if forged := m.sessions.get(sessionKey{otherAgent, "forged"}); forged != nil && (forged.Attribution != unavailable || s.apart == 0) {
				t.Errorf("what was forged is %v, %d are counted as kept apart", forged.Attribution, s.apart)
			}
		})
	}
}

// TestAPodMadeAnewElsewhere: where the audit log does not tell on which nodes pods come to be, or
// lost it, what it said of one pod is not held against the next of that name.
func TestAPodMadeAnewElsewhere(t *testing.T) {
	patched := binding(seconds(3), "u1", "node-1")
	patched.Verb, patched.Object.Subresource, patched.Request = "patch", "", nil
	patched.Response = []byte(`{"kind":"Pod","metadata":{"name":"` + testPod + `","uid":"u1"},"spec":{"nodeName":"node-1"}}`)
	for _, test := range []struct {
		name string
		tell func(s *story)
		want alertv1.Attribution
	}{
		{"nothing-is-known", func(*story) {}, unattributed},
		{"by-a-patch", func(s *story) { s.events(after(seconds(3)), patched) }, unattributed},
		{"by-a-binding", func(s *story) { s.events(after(seconds(3)), binding(seconds(1), "u1", "node-1")) }, unavailable},
		{"by-a-binding-the-next-of-which-was-lost", func(s *story) {
			s.events(after(seconds(3)), binding(seconds(1), "u1", "node-1"))
			s.auditGaps(3*time.Minute, &collectorv1.AuditGap{Id: "1", Gap: &sensorv1.Gap{Since: timestamppb.New(after(seconds(50))), Until: timestamppb.New(after(seconds(55)))}})
		}, unattributed},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newStory(t)
			s.session(comeIn{id: "own", init: true, at: after(seconds(2)), args: []string{"server"}})
			test.tell(s)
			for _, c := range []comeIn{
				{id: "own", at: after(seconds(60)), init: true, args: []string{"server"}, container: "c2"},
				{id: "thief", at: after(seconds(100)), args: []string{"sh"}, tty: "pts/0", container: "c2"},
			} {
				s.sequence++
				r := c.record(s.sequence)
				ofPod("u2")(r.GetEvent())
				s.at(c.at.Add(seconds(0.1)), func(l *logWriter) { l.sendFrom(t, "node-2", otherAgent, c.at.Add(seconds(0.1)), 0, r) })
			}
			s.alive(otherAgent, time.Second, 5*time.Minute)
			s.chatter(seconds(3), 5*time.Minute)
			m, revisions := s.run(5 * time.Minute)
			thief := m.sessions.get(sessionKey{otherAgent, "thief"})
			if thief.Attribution != test.want || (len(entryAlerts(revisions)) == 1) != (test.want == unattributed) {
				t.Errorf("%v, %d alerts", thief.Attribution, len(entryAlerts(revisions)))
			}
		})
	}
}

// TestAnAgentThatEnrolsAnew has its pods, though another id had them; also what it told of
// before that was clear, unless the requests of that time are forgotten.
func TestAnAgentThatEnrolsAnew(t *testing.T) {
	for late, want := range map[time.Duration]string{
		2*time.Minute + hostSilent + time.Second: "before=unattributed s=unattributed",
		recordKept + 6*time.Minute:               "before=unavailable s=unattributed",
	} {
		s := newStory(t)
		s.session(comeIn{id: "own", init: true, at: after(seconds(2)), args: []string{"server"}})
		soon := 5 * time.Minute // when the other one may have it still
		s.sessionOf(otherAgent, soon+seconds(0.1), comeIn{id: "before", at: after(soon), args: []string{"bash"}, tty: "pts/0"}, nil)
		s.sessionOf(otherAgent, late+seconds(0.1), comeIn{id: "s", at: after(late), args: []string{"sh"}, tty: "pts/0"}, nil)
		s.chatter(seconds(2), late+2*time.Minute)
		m, revisions := s.run(late + 2*time.Minute)
		if got := answersOf(m); got != want || len(entryAlerts(revisions)) != strings.Count(want, "unattributed") {
			t.Errorf("by %v: got %s, %d alerts", late, got, len(entryAlerts(revisions)))
		}
	}
}

// TestHostsAreBounded: an agent that names pods without end pushes its own out.
func TestHostsAreBounded(t *testing.T) {
	m := NewMachine(Limits{})
	m.place.Now = noon.UnixNano()
	name := func(agent string, i int) {
		s := &session{Key: sessionKey{agent, fmt.Sprint(i)}, Pod: podKey{testCluster, "store", fmt.Sprint(agent, "pod", i)}, UID: fmt.Sprint(i)}
		m.agent(agent)
		m.claim(s)
	}
	name(testAgent, 0)
	for i := range 3 * maxHosts {
		name(badAgent, i)
	}
	if n := m.hosts.len(); n != maxHosts+1 || len(m.pods) != n || m.hosts.get(hostKey{podKey{testCluster, "store", testAgent + "pod0"}, "0"}) == nil {
		t.Errorf("%d hosts, %d pods", n, len(m.pods))
	}
	m.limits.Hosts = 100
	m.evictEntries()
	if n := m.hosts.len(); n != 100 || m.share(testAgent).hosts.len() != 1 {
		t.Errorf("%d hosts, %d of who has one", n, m.share(testAgent).hosts.len())
	}
}

// flood is equal commands and their requests, all within twenty seconds, or of so many sorts.
func flood(t testing.TB, n, sorts int, late time.Duration) []Message {
	s := &stream{t: t}
	s.at(noon, func(l *logWriter) { l.receiving(t, noon, noon.Add(-time.Hour), 0) })
	var behind []*auditv1.Event
	for i := range n {
		at := after(seconds(10 + 20*float64(i)/float64(n)))
		args := []string{"true", fmt.Sprint(i % sorts)}
		r := comeIn{id: fmt.Sprint("s", i), at: at, args: args}.record(uint64(i + 1))
		s.at(at.Add(100*time.Millisecond), func(l *logWriter) { l.send(t, testAgent, at.Add(100*time.Millisecond), 0, r) })
		e := ask{id: fmt.Sprint("r", i), at: at.Add(-50 * time.Millisecond), args: args}.event(auditv1.Stage_STAGE_STARTED)
		if late == 0 {
			s.at(at.Add(200*time.Millisecond), func(l *logWriter) { l.audit(t, at.Add(200*time.Millisecond), e) })
		}
		behind = append(behind, e)
	}
	if late > 0 {
		s.at(after(late), func(l *logWriter) { l.audit(t, after(late), behind...) })
	}
	return s.log(noon, after(4*time.Minute))
}

func apply(t testing.TB, m *Machine, messages []Message) {
	for _, message := range messages {
		if _, err := m.Apply(message, func(alert.Identity) (uint32, error) { return 0, nil }); err != nil {
			t.Fatal(err)
		}
	}
}

// TestFloodsOfEqualCommands cost no more for each when they are more, however their records
// come; and all are told as ambiguous.
func TestFloodsOfEqualCommands(t *testing.T) {
	for _, late := range []time.Duration{0, 100 * time.Second} {
		var each []int
		for _, n := range []int{200, 400, 800, 1600} {
			m := NewMachine(Limits{})
			apply(t, m, flood(t, n, 1, late))
			each = append(each, m.effort/n)
			for _, s := range m.sessions.all() {
				if s.Attribution != ambiguous || len(s.Requests) == 0 {
					t.Fatalf("%d, late %v: %s is %v of %d", n, late, s.Key.ID, s.Attribution, len(s.Requests))
				}
			}
		}
		t.Logf("late %v: comparisons and steps for each session %v", late, each)
		if last := each[len(each)-1]; last > 2*each[0] || last > 32*maxComponent {
			t.Errorf("late %v: for each session %v", late, each)
		}
	}
}

// TestComponentsBelowTheBound are told apart, and cost what the bound allows.
func TestComponentsBelowTheBound(t *testing.T) {
	m := NewMachine(Limits{})
	apply(t, m, flood(t, 60, 60, 0))
	for _, s := range m.sessions.all() {
		if s.Attribution != joined {
			t.Errorf("%s is %v", s.Key.ID, s.Attribution)
		}
	}
	m = NewMachine(Limits{})
	messages, most := flood(t, 60, 1, 0), 0
	for _, message := range messages {
		before := m.effort
		apply(t, m, []Message{message})
		most = max(most, m.effort-before)
	}
	if t.Logf("at most %d comparisons and steps of a message", most); most > maxComponent*maxComponent*maxComponent {
		t.Errorf("%d comparisons and steps of a message", most)
	}
}

// BenchmarkFlood is per session, of so many with one command and one pod within 20 s.
func BenchmarkFlood(b *testing.B) {
	for _, bench := range []struct{ n, sorts int }{{60, 1}, {200, 1}, {1600, 1}, {1600, 1600}} {
		b.Run(fmt.Sprintf("%d-of-%d-sorts", bench.n, bench.sorts), func(b *testing.B) {
			messages := flood(b, bench.n, bench.sorts, 0)
			for b.Loop() {
				apply(b, NewMachine(Limits{}), messages)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*bench.n), "ns/session")
		})
	}
}
