package correlate

import (
	"cmp"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/seawall-security/seawall/collector/alert"
	alertv1 "github.com/seawall-security/seawall/proto/alert/v1"
	auditv1 "github.com/seawall-security/seawall/proto/audit/v1"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

// detected is a detection within a session.
func (s *story) detected(at time.Duration, rule string, c comeIn, change func(*sensorv1.Event)) {
	s.sequence++
	r := c.record(s.sequence)
	e := r.GetEvent()
	e.Entry, e.Payload = false, nil
	e.Time = timestamppb.New(after(at))
	e.Process.Id = "below" + c.id
	if change != nil {
		change(e)
	}
	r.Body = &sensorv1.Record_Detection{Detection: &sensorv1.Detection{
		Rule: rule, Title: rule, Event: e, Severity: sensorv1.Severity_SEVERITY_HIGH, Summary: rule + " happened"}}
	s.at(after(at+100*time.Millisecond), func(l *logWriter) { l.send(s.t, testAgent, after(at+100*time.Millisecond), 0, r) })
}

func (s *story) only(until time.Duration) (last *alertv1.Alert, all []*alertv1.Alert) {
	s.t.Helper()
	_, revisions := s.run(until)
	alerts := latest(revisions)
	if len(alerts) != 1 {
		s.t.Fatalf("%d alerts: %s", len(alerts), brief(alerts))
	}
	return alerts[0], revisions
}

// TestAlertsSayWhoCameIn: promptly where the record is there, as a revision where it comes
// minutes later, and after restarts.
func TestAlertsSayWhoCameIn(t *testing.T) {
	for _, late := range []time.Duration{0, 10 * time.Minute} {
		s := newStory(t)
		c := comeIn{id: "s", at: after(10 * time.Second), args: []string{"bash"}, tty: "pts/0"}
		s.session(c)
		s.detected(60*time.Second, "escape-core-pattern", c, nil)
		a := ask{id: "r", at: after(9900 * time.Millisecond), args: []string{"bash"}, tty: "yes"}
		s.record(after(11*time.Second+late), a)
		last, revisions := s.only(12 * time.Minute)
		first := revisions[0].Entries
		want := joined
		if late > 0 {
			want = waiting
		}
		if len(first) != 1 || first[0].Attribution != want || first[0].SessionId != "s" || first[0].Kind != entryExec || first[0].Tty != "pts/0" {
			t.Errorf("late %v: first %v", late, first)
		}
		e := last.Entries
		if len(e) != 1 || e[0].Attribution != joined || e[0].Requests[0].GetUser().GetName() != "alice@example.test" || e[0].Requests[0].SourceIp != "10.77.0.10" ||
			e[0].Requests[0].Role != roleEntry || e[0].Requests[0].UserAgent != "kubectl/v1.35.4" {
			t.Errorf("late %v: last %v", late, e)
		}
		if want := "Came in: alice@example.test from 10.77.0.10 by kubectl exec (bash)."; !strings.Contains(last.Summary, want) {
			t.Errorf("late %v: %q is not in %q", late, want, last.Summary)
		}
		if last.Kind != alert.KindEscape || len(revisions) > 2 {
			t.Errorf("late %v: %s after %d revisions", late, last.Kind, len(revisions))
		}
	}
}

// TestTheJoinIsToldSoon: a revision says who came in within two seconds of the record, if
// the time is over in which the request may have begun another session; before that, who
// may have.
func TestTheJoinIsToldSoon(t *testing.T) {
	s := newStory(t)
	c := comeIn{id: "s", at: after(10 * time.Second), args: []string{"bash"}}
	s.session(c)
	s.detected(11*time.Second, "escape-core-pattern", c, nil)
	arrives := after(50 * time.Second)
	s.record(arrives, ask{id: "r", at: after(9900 * time.Millisecond), end: after(48 * time.Second), args: []string{"bash"}})
	last, _ := s.only(time.Minute)
	if took := last.StoredTime.AsTime().Sub(arrives); last.Entries[0].Attribution != joined || took > 2*time.Second {
		t.Errorf("after %v %v", took, last.Entries)
	}
	for until, want := range map[time.Duration]string{44 * time.Second: "May have come in: alice@example.test from 10.77.0.10 by kubectl exec (bash).", 52 * time.Second: "Came in: alice"} {
		s := newStory(t)
		s.session(c)
		s.detected(11*time.Second, "escape-core-pattern", c, nil)
		s.record(after(11*time.Second), ask{id: "r", at: after(9900 * time.Millisecond), args: []string{"bash"}})
		if last, _ := s.only(until); !strings.Contains(last.Summary, want) {
			t.Errorf("after %v %q", until, last.Summary)
		}
	}
}

// TestWhoMadeThePod: by hand, or through a workload; of a pod without power nobody is named.
func TestWhoMadeThePod(t *testing.T) {
	const power, plain = `{"hostPID":true,"volumes":[{"hostPath":{"path":"/"}}],"containers":[{"name":"app","securityContext":{"privileged":true}}]}`, `{"containers":[{"name":"app"}]}`
	bob := func(e *auditv1.Event) *auditv1.Event {
		e.User, e.AuditId, e.SourceIps = &auditv1.User{Name: "bob@example.test"}, "bob", []string{"10.77.0.11"}
		return e
	}
	workload := func() *auditv1.Event {
		e := bob(created(after(0), plain))
		e.Object = &auditv1.Object{Resource: "statefulsets", Namespace: "store", Name: "web", ApiGroup: "apps"}
		e.Response = []byte(`{"kind":"StatefulSet","metadata":{"name":"web"}}`)
		return e
	}
	other := bob(created(after(0), power))
	other.Response = []byte(strings.Replace(string(other.Response), `"uid":"u1"`, `"uid":"u0"`, 1))
	for _, test := range []struct {
		name   string
		events []*auditv1.Event
		want   string
	}{
		{"another-of-that-name", []*auditv1.Event{other}, ""},
		{"by-hand", []*auditv1.Event{bob(created(after(0), power))}, "The pod (host-path, host-pid, privileged) was made by bob@example.test from 10.77.0.11."},
		{"by-controller", []*auditv1.Event{created(after(0), power)}, "The pod (host-path, host-pid, privileged) was made by system:serviceaccount:kube-system:statefulset-controller from 127.0.0.1."},
		{"workload", []*auditv1.Event{workload(), created(after(0), power)}, "What runs it, statefulsets store/web, (host-path, host-pid, privileged) was made by bob@example.test from 10.77.0.11."},
		{"workload-record-behind", []*auditv1.Event{created(after(0), power), workload()}, "What runs it, statefulsets store/web, (host-path, host-pid, privileged) was made by bob@example.test from 10.77.0.11."},
		{"no-power", []*auditv1.Event{bob(created(after(0), plain))}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, at := range []time.Duration{time.Second, 5 * time.Minute} { // before the alert, and long after
				s := newStory(t)
				s.events(after(at), test.events...)
				s.detected(time.Minute, "escape-core-pattern", comeIn{id: "own", init: true, at: after(time.Second), args: []string{"server"}}, nil)
				last, _ := s.only(6 * time.Minute)
				said := ""
				if i := strings.Index(last.Summary, "The pod ("); i >= 0 {
					said = last.Summary[i:]
				} else if i := strings.Index(last.Summary, "What runs it"); i >= 0 {
					said = last.Summary[i:]
				}
				said, _, _ = strings.Cut(said, " At ")
				if said != test.want || (len(last.Requests) == 1) != (test.want != "") {
					t.Errorf("got %q of %v", said, last.Requests)
				}
				if len(last.Entries) != 0 {
					t.Errorf("got %v", last.Entries)
				}
			}
		})
	}
}

// TestDoorsWithoutASession: whoever is attached, or has a port forwarded, while something
// happens may be who did it.
func TestDoorsWithoutASession(t *testing.T) {
	own := comeIn{id: "own", init: true, at: after(time.Second), args: []string{"server"}}
	door := func(subresource string, from, to time.Duration) *auditv1.Event {
		e := ask{id: subresource + from.String(), at: after(from), end: after(to)}.event(auditv1.Stage_STAGE_COMPLETE)
		e.Object.Subresource = subresource
		if subresource == "portforward" {
			e.Entry = nil
		}
		return e
	}
	s := newStory(t)
	s.events(after(50*time.Second), door("attach", 20*time.Second, 40*time.Second), door("attach", 2*time.Second, 5*time.Second), door("portforward", 3*time.Second, 45*time.Second))
	s.detected(30*time.Second, "escape-core-pattern", own, func(e *sensorv1.Event) {
		e.Kind = sensorv1.Kind_KIND_NETWORK_ACCEPT
		e.Payload = &sensorv1.Event_Accept{Accept: &sensorv1.NetworkFlow{
			Local: &sensorv1.Address{Ip: "127.0.0.1", Port: 80}, Remote: &sensorv1.Address{Ip: "127.0.0.1", Port: 999, Loopback: true}}}
	})
	last, _ := s.only(2 * time.Minute)
	var got []string
	for _, e := range last.Entries {
		got = append(got, cmp.Or(e.Kind, "?")+" "+e.SessionId+" "+e.Attribution.String()[len("ATTRIBUTION_"):]+" "+e.Requests[0].AuditId)
		if len(e.Requests) != 1 {
			t.Errorf("got %v", e.Requests)
		}
	}
	if want := "port-forward  AMBIGUOUS portforward3s\nattach own AMBIGUOUS attach20s"; strings.Join(got, "\n") != want {
		t.Errorf("got %s", strings.Join(got, "\n"))
	}
}

// TestDebugContainers are joined by the name that the patch gives them.
func TestDebugContainers(t *testing.T) {
	patch := func(id, user string, at time.Duration, body string) *auditv1.Event {
		e := ask{id: id, user: user, at: after(at), end: after(at + 10*time.Millisecond)}.event(auditv1.Stage_STAGE_COMPLETE)
		e.Object.Subresource, e.Verb, e.Code, e.Entry, e.Request = "ephemeralcontainers", "patch", 200, nil, []byte(body)
		e.Response = []byte(`{"kind":"Pod","metadata":{"name":"` + testPod + `","uid":"u1"}}`)
		return e
	}
	for _, test := range []struct {
		name   string
		events []*auditv1.Event
		want   alertv1.Attribution
	}{
		{"patch", []*auditv1.Event{patch("r", "bob", 5*time.Second, `{"spec":{"ephemeralContainers":[{"name":"app","image":"x"}]}}`)}, joined},
		{"json-patch", []*auditv1.Event{patch("r", "bob", 5*time.Second, `[{"op":"add","path":"/spec/ephemeralContainers/-","value":{"name":"app"}}]`)}, joined},
		{"two-patches", []*auditv1.Event{
			patch("r", "bob", 5*time.Second, `{"spec":{"ephemeralContainers":[{"name":"app"}]}}`),
			patch("r2", "eve", 6*time.Second, `{"spec":{"ephemeralContainers":[{"name":"other"}]}}`)}, joined},
		{"who-of-two", []*auditv1.Event{
			patch("r", "bob", 5*time.Second, `{"spec":{"ephemeralContainers":[{"name":"app"}]}}`),
			patch("r2", "eve", 6*time.Second, `{"spec":{"ephemeralContainers":[{"name":"app"},{"name":"other"}]}}`)}, joined},
		{"of-several", []*auditv1.Event{patch("r", "eve", 6*time.Second, `{"spec":{"ephemeralContainers":[{"name":"app"},{"name":"other"}]}}`)}, ambiguous},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newStory(t)
			s.events(after(8*time.Second), test.events...)
			c := comeIn{id: "s", init: true, at: after(60 * time.Second), args: []string{"sh"}, tty: "pts/0"}
			s.session(c)
			s.detected(70*time.Second, "escape-core-pattern", c, nil)
			last, _ := s.only(90 * time.Second)
			e := last.Entries
			if len(e) != 1 || e[0].Kind != entryDebug || e[0].Attribution != test.want || e[0].Requests[0].AuditId != "r" {
				t.Errorf("got %v", e)
			}
		})
	}
}

// TestNamespaceEntries: who comes past the runtime is never taken for kubectl exec, and is
// told at once.
func TestNamespaceEntries(t *testing.T) {
	s := newStory(t)
	s.record(after(10*time.Second), ask{id: "r", at: after(9900 * time.Millisecond), args: []string{"nsenter", "-t", "1", "sh"}})
	s.sequence++
	c := comeIn{id: "s", at: after(10 * time.Second), args: []string{"nsenter", "-t", "1", "sh"}}
	r := c.record(s.sequence)
	e := r.GetEvent()
	e.Entry, e.EnteredContainer, e.Container, e.Payload = true, e.Container, nil, nil
	e.Session.EnteredBy = "namespace"
	s.at(after(11*time.Second), func(l *logWriter) { l.send(t, testAgent, after(11*time.Second), 0, r) })
	last, revisions := s.only(40 * time.Second)
	if last.Kind != alert.KindEntry || last.Entries[0].Attribution != unattributed || len(revisions) != 1 ||
		last.Title != "Entry past the container runtime in container app of pod store/web-0" || last.StoredTime.AsTime().After(after(13*time.Second)) {
		t.Errorf("got %v", last)
	}
}

// TestForeignExecs: what containerd was asked by another door than the kubelet's is nobody's
// kubectl exec, and no probe.
func TestForeignExecs(t *testing.T) {
	for id, want := range map[string]string{"mine": "s=unattributed", strings.Repeat("a1", 32): "s=r", "": "s=r"} {
		s := newStory(t)
		s.record(after(12*time.Second), ask{id: "r", at: after(9900 * time.Millisecond), end: after(11 * time.Second), args: []string{"sh"}})
		s.sequence++
		r := comeIn{id: "s", at: after(10 * time.Second), args: []string{"sh"}}.record(s.sequence)
		r.GetEvent().Session.ExecId, r.GetEvent().Container.RuntimeNamespace = id, "k8s.io"
		s.at(after(11*time.Second), func(l *logWriter) { l.send(t, testAgent, after(11*time.Second), 0, r) })
		m, revisions := s.run(60 * time.Second)
		if got := answersOf(m); got != want || (len(revisions) == 1) != (id == "mine") {
			t.Errorf("%q: got %s, %d alerts", id, got, len(revisions))
		}
	}
}

// TestAlertsOfANamespace are found by it, over restarts, for as long as they are open.
func TestAlertsOfANamespace(t *testing.T) {
	s := newStory(t)
	s.detected(10*time.Second, "escape-core-pattern", comeIn{id: "s", at: after(9 * time.Second), args: []string{"bash"}}, nil)
	in := namespaceKey{testCluster, "store"}
	m, _ := s.run(20 * time.Second)
	if len(m.alerted) != 1 || len(m.alerted[in]) != 1 {
		t.Errorf("open: %v", m.alerted)
	}
	for _, a := range m.raised.all() {
		m.close(a)
	}
	if len(m.alerted) != 0 {
		t.Errorf("closed: %v", m.alerted)
	}
}
