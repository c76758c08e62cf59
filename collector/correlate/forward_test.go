package correlate

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/seawall-security/seawall/collector/alert"
	"github.com/seawall-security/seawall/internal/rule"
	"github.com/seawall-security/seawall/internal/rule/auditrule"
	alertv1 "github.com/seawall-security/seawall/proto/alert/v1"
	auditv1 "github.com/seawall-security/seawall/proto/audit/v1"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

const forwardRules = `source: audit
rules:
  - id: forward
    title: Port forwarded
    severity: low
    resources: [pods/portforward]
    condition: 'true'
    by: [actor.name]
    summary: actor.name + " reached " + object.name
`

// forward is a port-forward as the API server records it.
type forward struct {
	id, user, pod, query string
	at, end              float64 // seconds; no end: it stands
}

func (f forward) events() []*auditv1.Event {
	a := ask{id: f.id, user: f.user, at: atSecond(f.at), end: atSecond(f.end)}
	event := func(stage auditv1.Stage) *auditv1.Event {
		e := a.event(stage)
		e.Entry, e.Object.Subresource, e.Object.Name = nil, "portforward", cmp.Or(f.pod, testPod)
		e.RequestUri = "/api/v1/namespaces/store/pods/" + e.Object.Name + "/portforward" + f.query
		return e
	}
	if f.end == 0 {
		return []*auditv1.Event{event(auditv1.Stage_STAGE_STARTED)}
	}
	return []*auditv1.Event{event(auditv1.Stage_STAGE_STARTED), event(auditv1.Stage_STAGE_COMPLETE)}
}

func atSecond(n float64) time.Time { return after(time.Duration(n * float64(time.Second))) }

// reach has the node connect to a port of a pod, and say so 100 ms later.
func (s *story) reach(pod string, port uint32, at ...float64) {
	for _, n := range at {
		s.sequence++
		r := &sensorv1.Record{BootId: "boot", Body: &sensorv1.Record_Event{Event: &sensorv1.Event{
			Sequence: s.sequence, Kind: sensorv1.Kind_KIND_NETWORK_CONNECT, Time: timestamppb.New(atSecond(n)), Entry: true,
			Process:          &sensorv1.Process{Id: "containerd"},
			EnteredContainer: &sensorv1.Container{Id: "c1", Name: "app", Pod: &sensorv1.Pod{Name: pod, Namespace: "store", Uid: "u1"}},
			Payload: &sensorv1.Event_Connect{Connect: &sensorv1.NetworkFlow{
				Local: &sensorv1.Address{Ip: "127.0.0.1", NetNamespace: 7}, Remote: &sensorv1.Address{Ip: "127.0.0.1", Port: port, NetNamespace: 7}}},
		}}}
		at := atSecond(n).Add(100 * time.Millisecond)
		s.at(at, func(l *logWriter) { l.send(s.t, testAgent, at, 0, r) })
	}
}

// forwarded is what alerts say of requests' connections: "r1 8080×2 [10 12]", with how many
// of them may be another's.
func forwarded(alerts []*alertv1.Alert) string {
	var out []string
	for _, a := range alerts {
		if a.Kind != alert.KindAudit {
			continue
		}
		for _, r := range a.Requests {
			text := r.AuditId
			for _, c := range r.Connections {
				text += fmt.Sprintf(" %d×%d", c.Port, c.Count)
				if c.Ambiguous > 0 {
					text += fmt.Sprintf("?%d", c.Ambiguous)
				}
				text += fmt.Sprintf(" [%v %v]", c.First.AsTime().Sub(noon).Round(time.Second).Seconds(), c.Last.AsTime().Sub(noon).Round(time.Second).Seconds())
			}
			if r.ConnectionsOmitted > 0 {
				text += fmt.Sprint(" and ", r.ConnectionsOmitted)
			}
			out = append(out, text)
		}
	}
	slices.Sort(out)
	return strings.Join(out, "; ")
}

func forwardSet(t *testing.T) *auditrule.Set {
	t.Helper()
	set, err := auditrule.Load([]rule.Source{{Name: "test.yaml", Data: []byte(forwardRules)}}, noon)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// TestForwardedConnections: requests to forward ports tell what was connected to while they
// stood, in whatever order things come; two at a time share it.
func TestForwardedConnections(t *testing.T) {
	set := forwardSet(t)
	for _, test := range []struct {
		name  string
		tell  func(s *story)
		until float64
		want  string
	}{
		{"in-order", func(s *story) {
			s.events(atSecond(5.1), forward{id: "r", at: 5}.events()...)
			s.reach(testPod, 8080, 10, 12)
		}, 900, "r 8080×2 [10 12]"},
		{"soon", func(s *story) {
			s.events(atSecond(5.1), forward{id: "r", at: 5}.events()...)
			s.reach(testPod, 8080, 10, 12)
		}, 20, "r 8080×1 [10 10]"},
		{"none", func(s *story) {
			s.events(atSecond(5.1), forward{id: "r", at: 5}.events()...)
		}, 60, "r"},
		{"ten-minutes-late", func(s *story) {
			s.reach(testPod, 8080, 10, 11.5, 40)
			s.events(atSecond(610), forward{id: "r", at: 5, end: 50}.events()...)
		}, 660, "r 8080×3 [10 40]"},
		{"before-and-after-it-stood", func(s *story) {
			s.reach(testPod, 8080, 2, 10, 70)
			s.events(atSecond(20), forward{id: "r", at: 5, end: 15}.events()...)
		}, 120, "r 8080×1 [10 10]"},
		{"its-end-comes-later", func(s *story) {
			all := forward{id: "r", at: 5, end: 15}.events()
			s.events(atSecond(5.1), all[0])
			s.reach(testPod, 8080, 10, 20)
			s.events(atSecond(60), all[1])
		}, 120, "r 8080×1 [10 10]"},
		{"several-ports", func(s *story) {
			s.events(atSecond(5.1), forward{id: "r", at: 5}.events()...)
			s.reach(testPod, 8080, 10)
			s.reach(testPod, 5432, 11)
		}, 60, "r 5432×1 [11 11] 8080×1 [10 10]"},
		{"another-pod", func(s *story) {
			s.events(atSecond(5.1), forward{id: "r", at: 5}.events()...)
			s.reach("db-0", 8080, 10)
		}, 60, "r"},
		{"two-users-at-once", func(s *story) {
			s.events(atSecond(5.1), forward{id: "r", at: 5}.events()...)
			s.events(atSecond(6.1), forward{id: "b", user: "bob", at: 6}.events()...)
			s.reach(testPod, 8080, 10, 12)
		}, 900, "b 8080×2?2 [10 12]; r 8080×2?2 [10 12]"},
		{"two-users-and-one-is-late", func(s *story) {
			s.events(atSecond(5.1), forward{id: "r", at: 5}.events()...)
			s.reach(testPod, 8080, 10, 12)
			s.events(atSecond(300), forward{id: "b", user: "bob", at: 6, end: 30}.events()...)
		}, 360, "b 8080×2?2 [10 12]; r 8080×2?2 [10 12]"},
		{"one-after-the-other", func(s *story) {
			s.events(atSecond(20), forward{id: "r", at: 5, end: 15}.events()...)
			s.events(atSecond(60), forward{id: "b", user: "bob", at: 40, end: 50}.events()...)
			s.reach(testPod, 8080, 10, 45)
		}, 120, "b 8080×1 [45 45]; r 8080×1 [10 10]"},
		{"they-overlap-for-a-while", func(s *story) {
			s.events(atSecond(50), forward{id: "r", at: 5, end: 30}.events()...)
			s.events(atSecond(50), forward{id: "b", user: "bob", at: 20, end: 45}.events()...)
			s.reach(testPod, 8080, 10, 25, 40)
		}, 120, "b 8080×2?1 [25 40]; r 8080×2?1 [10 25]"},
		{"ports-that-are-named", func(s *story) {
			s.events(atSecond(5.1), forward{id: "r", at: 5, query: "?ports=8080"}.events()...)
			s.events(atSecond(5.1), forward{id: "b", user: "bob", at: 5, query: "?ports=5432&ports=90"}.events()...)
			s.reach(testPod, 8080, 10)
			s.reach(testPod, 5432, 10)
		}, 60, "b 5432×1 [10 10]; r 8080×1 [10 10]"},
		{"one-alert-of-two-pods", func(s *story) {
			s.events(atSecond(5.1), forward{id: "r", at: 5}.events()...)
			s.events(atSecond(6.1), forward{id: "r2", pod: "db-0", at: 6}.events()...)
			s.reach("db-0", 5432, 10)
		}, 60, "r; r2 5432×1 [10 10]"},
		{"refused", func(s *story) {
			e := forward{id: "r", at: 5}.events()
			e[0].Code = 403
			s.events(atSecond(5.1), e...)
			s.reach(testPod, 8080, 10)
		}, 60, ""},
		{"bursts", func(s *story) {
			s.events(atSecond(1), forward{id: "r", at: 0.5}.events()...)
			for n := range 40 {
				s.reach(testPod, 8080, float64(5+3*n), float64(5+3*n)+0.3)
			}
		}, 900, "r 8080×80 [5 122]"},
		{"many-places", func(s *story) {
			s.events(atSecond(1), forward{id: "r", at: 0.5}.events()...)
			for port := range uint32(maxConnections + 3) {
				s.reach(testPod, 1000+port, 10)
			}
		}, 60, "many"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newStory(t)
			test.tell(s)
			log := s.log(noon, atSecond(test.until))
			never := func(int) bool { return false }
			m, revisions := playSet(t, set, log, never)
			if got := forwarded(latest(revisions)); test.want != "many" && got != test.want {
				t.Errorf("got %s\nwant %s", got, test.want)
			} else if test.want == "many" && (strings.Count(got, "×1") != maxConnections || !strings.HasSuffix(got, " and 3")) {
				t.Errorf("got %s", got)
			}
			_, again := playSet(t, set, log, func(i int) bool { return i%3 == 0 })
			same(t, revisions, again, nil, nil)
			if len(revisions) > 12 {
				t.Errorf("%d revisions", len(revisions))
			}
			if m.stats.Unasked != 0 {
				t.Errorf("%d were asked for by nobody, although their time is not over", m.stats.Unasked)
			}
		})
	}
}

// TestUnaskedConnections are counted when no request can come any more, and no alert is
// raised of them; nothing of what was asked for is.
func TestUnaskedConnections(t *testing.T) {
	s := newStory(t)
	s.events(atSecond(20), forward{id: "r", at: 5, end: 15}.events()...)
	s.reach(testPod, 8080, 10, 60, 61.5)
	s.reach("db-0", 5432, 10)
	never := func(int) bool { return false }
	m, revisions := playSet(t, forwardSet(t), s.log(noon, after(3*time.Hour)), never)
	for _, a := range revisions {
		if a.Kind != alert.KindAudit {
			t.Errorf("%v", a)
		}
	}
	if m.stats.Unasked != 3 || len(m.reaches) != 0 || m.share(testAgent).reaches.len() != 0 {
		t.Errorf("%d were asked for by nobody, %d pods are remembered", m.stats.Unasked, len(m.reaches))
	}
}

// TestConnectionsArePaidFor: what is told of a request's connections is of the share of who sent it.
func TestConnectionsArePaidFor(t *testing.T) {
	s := newStory(t)
	s.events(atSecond(5.1), forward{id: "r", at: 5}.events()...)
	for port := range uint32(8) {
		s.reach(testPod, 8080+port, 10)
	}
	m, _ := playSet(t, forwardSet(t), s.log(noon, after(time.Minute)), func(int) bool { return false })
	paid := 0
	for _, of := range m.requestPool.portions {
		paid += of.bytes
	}
	if m.requests.len() != 1 || paid != m.requestBytes {
		t.Errorf("%d bytes of %d are paid for", paid, m.requestBytes)
	}
}

// TestConnectionsOfOtherNodes: what an agent says of the network of another one's pod is nobody's.
func TestConnectionsOfOtherNodes(t *testing.T) {
	for _, liar := range []bool{false, true} {
		s := newStory(t)
		agent := testAgent
		if liar {
			agent = otherAgent
		}
		s.sessionOf(agent, 2*time.Second, comeIn{id: "own", init: true, at: after(time.Second), args: []string{"server"}}, nil)
		s.events(atSecond(5.1), forward{id: "r", at: 5}.events()...)
		s.reach(testPod, 22, 10)
		m, _ := s.run(time.Minute)
		if got := len(m.reaches) == 0; got != liar {
			t.Errorf("another one has the pod: %v, connections are left out: %v", liar, got)
		}
	}
}

// TestReachesAreBounded: an agent that says it connects everywhere costs its own share.
func TestReachesAreBounded(t *testing.T) {
	s := newStory(t)
	for port := range uint32(2 * maxReaches) {
		s.reach(testPod, port+1, 1+float64(port)/1000)
	}
	m, _ := s.run(10 * time.Second)
	if n := m.share(testAgent).reaches.len(); n != maxReaches || len(m.reaches[podKey{testCluster, "store", testPod}]) != maxReaches {
		t.Errorf("%d places are remembered", n)
	}
	r := &reach{}
	for n := range int64(10 * maxBursts) {
		at := (n * 7919 % 1000) * int64(time.Minute)
		r.add(burst{at - 5, at + 5, at, at, 1, n%2 == 0})
	}
	total := uint64(0)
	for i, b := range r.Bursts {
		if total += b.Count; i > 0 && b.From < r.Bursts[i-1].From {
			t.Errorf("burst %d is not in order", i)
		}
	}
	if len(r.Bursts) != maxBursts || total != 10*maxBursts {
		t.Errorf("%d bursts of %d connections", len(r.Bursts), total)
	}
}

// TestDoorsHaveConnections: where a port-forward is told as a way in, so is what it reached.
func TestDoorsHaveConnections(t *testing.T) {
	s := newStory(t)
	s.events(atSecond(5.1), forward{id: "r", at: 5}.events()...)
	s.reach(testPod, 8080, 9.9)
	own := comeIn{id: "own", init: true, at: after(time.Second), args: []string{"server"}}
	s.detected(10*time.Second, "escape-core-pattern", own, func(e *sensorv1.Event) {
		e.Kind = sensorv1.Kind_KIND_NETWORK_ACCEPT
		e.Payload = &sensorv1.Event_Accept{Accept: &sensorv1.NetworkFlow{
			Local: &sensorv1.Address{Ip: "127.0.0.1", Port: 8080}, Remote: &sensorv1.Address{Ip: "127.0.0.1", Port: 999, Loopback: true}}}
	})
	s.reach(testPod, 8080, 30)
	last, _ := s.only(20 * time.Minute)
	if len(last.Entries) != 1 || len(last.Entries[0].Requests) != 1 {
		t.Fatalf("%v", last.Entries)
	}
	if c := last.Entries[0].Requests[0].Connections; len(c) != 1 || c[0].Port != 8080 || c[0].Count != 2 {
		t.Errorf("%v", c)
	}
}
