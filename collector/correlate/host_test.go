package correlate

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	alertv1 "github.com/seawall-security/seawall/proto/alert/v1"
	auditv1 "github.com/seawall-security/seawall/proto/audit/v1"
	collectorv1 "github.com/seawall-security/seawall/proto/collector/v1"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

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
