package correlate

import (
	"fmt"
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

// created is the record of a pod's creation by a controller.
func created(at time.Time, spec string) *auditv1.Event {
	body := `{"kind":"Pod","metadata":{"name":"` + testPod + `","uid":"u1","ownerReferences":[{"kind":"StatefulSet","name":"web","controller":true}]},"spec":` + spec + `}`
	return &auditv1.Event{
		AuditId: "pod", Stage: auditv1.Stage_STAGE_COMPLETE, Verb: "create", Code: 201, RequestTime: timestamppb.New(at), StageTime: timestamppb.New(at),
		User:   &auditv1.User{Name: "system:serviceaccount:kube-system:statefulset-controller"},
		Object: &auditv1.Object{Resource: "pods", Namespace: "store"}, Response: []byte(body), SourceIps: []string{"127.0.0.1"},
	}
}

const probedSpec = `{"containers":[{"name":"app",
	"livenessProbe":{"exec":{"command":["/bin/alive","--quick"]}},
	"readinessProbe":{"exec":{"command":["sh","-c","test -f /ready"]}},
	"lifecycle":{"postStart":{"exec":{"command":["x","start"]}},"preStop":{"exec":{"command":["/bin/stop"]}}}}]}`

func entryAlerts(revisions []*alertv1.Alert) (found []*alertv1.Alert) {
	for _, a := range latest(revisions) {
		if a.Kind == alert.KindEntry {
			found = append(found, a)
		}
	}
	return found
}

// TestUnattributedEntries: 500 exec probes and lifecycle hooks and 50 kubectl execs whose
// records are late are silent, three entries past the API are three alerts. Also where the
// source is minutes late as a rule, and says so.
func TestUnattributedEntries(t *testing.T) {
	for _, late := range []time.Duration{0, 40 * time.Second, 5 * time.Minute} {
		t.Run(late.String(), func(t *testing.T) {
			s := newStory(t)
			if late > 40*time.Second {
				s.at(after(0), func(l *logWriter) { l.receiving(t, after(0), noon.Add(-time.Hour), late) })
			}
			s.events(after(time.Second), created(after(0), probedSpec))
			probes := [][]string{{"/bin/alive", "--quick"}, {"sh", "-c", "test -f /ready"}, {"/bin/sh", "/bin/x", "start"}, {"/bin/stop"}}
			for i := range 500 {
				s.session(comeIn{id: fmt.Sprint("probe", i), at: after(10*time.Second + time.Duration(i)*300*time.Millisecond), args: probes[i%len(probes)]})
			}
			for i := range 50 {
				at := after(10*time.Second + time.Duration(i)*2900*time.Millisecond)
				a := ask{id: fmt.Sprint("r", i), at: at.Add(-90 * time.Millisecond), args: []string{"sh", "-c", fmt.Sprint("job ", i%7)}}
				c := comeIn{id: fmt.Sprint("s", i), at: at, args: a.args}
				if i%2 == 0 {
					c.tty, a.tty = "pts/0", "yes"
				}
				s.session(c)
				s.record(at.Add(late), a)
			}
			for i := range 3 {
				s.session(comeIn{id: fmt.Sprint("crictl", i), at: after(time.Duration(20+30*i) * time.Second), args: []string{"sh"}, tty: "pts/1"})
			}
			s.chatter(10*time.Second, 15*time.Minute)
			m, revisions := s.run(15 * time.Minute)
			alerts := entryAlerts(revisions)
			if len(alerts) != 3 || len(latest(revisions)) != 3 {
				t.Errorf("%d alerts, %d of entries: %s", len(latest(revisions)), len(alerts), brief(latest(revisions)))
			}
			for _, a := range alerts {
				if !strings.HasPrefix(a.Anchor.Key, "crictl") || a.Entries[0].Attribution != unattributed || a.Severity != high || a.Revision != 1 {
					t.Errorf("got %v", a)
				}
			}
			counts := make(map[alertv1.Attribution]int)
			for _, found := range m.sessions.all() {
				counts[found.Attribution]++
			}
			if counts[joined] != 50 || counts[byKubelet] != 500 || counts[unattributed] != 3 {
				t.Errorf("got %v", counts)
			}
		})
	}
}

// TestEntriesOfAnUnknownPod: what may be a probe is noted and not told; a terminal is.
func TestEntriesOfAnUnknownPod(t *testing.T) {
	s := newStory(t)
	s.session(comeIn{id: "s1", at: after(10 * time.Second), args: []string{"/bin/alive"}})
	s.session(comeIn{id: "s2", at: after(11 * time.Second), args: []string{"sh"}, tty: "pts/0"})
	s.chatter(10*time.Second, 2*time.Minute)
	m, revisions := s.run(2 * time.Minute)
	if got := answersOf(m); got != "s1=unattributed s2=unattributed" {
		t.Errorf("got %s", got)
	}
	if alerts := latest(revisions); len(alerts) != 1 || alerts[0].Anchor.Key != "s2" {
		t.Errorf("got %v", alerts)
	}
}

// TestARecordThatCameTooLate takes an alert back.
func TestARecordThatCameTooLate(t *testing.T) {
	s := newStory(t)
	s.session(comeIn{id: "s", at: after(10 * time.Second), args: []string{"sh"}, tty: "pts/0"})
	s.chatter(10*time.Second, 2*time.Minute)
	s.record(after(9*time.Minute), ask{id: "r", at: after(9900 * time.Millisecond), args: []string{"sh"}, tty: "yes"})
	_, revisions := s.run(10 * time.Minute)
	alerts := latest(revisions)
	if len(alerts) != 1 || len(revisions) != 2 {
		t.Fatalf("got %d alerts, %d revisions", len(alerts), len(revisions))
	}
	if first := revisions[0]; first.Severity != high || first.Title != "Entry past the Kubernetes API in container app of pod store/web-0" ||
		!strings.Contains(first.Summary, "Came in past the Kubernetes API (sh): no request asked for it.") {
		t.Errorf("got %v", first)
	}
	if a := alerts[0]; a.Severity >= low || a.Entries[0].Attribution != joined || a.Entries[0].Requests[0].AuditId != "r" ||
		!strings.HasPrefix(a.Title, "Entry whose request was recorded late") || !strings.Contains(a.Summary, "Came in: alice@example.test from 10.77.0.10 by kubectl exec (sh).") {
		t.Errorf("got %v", a)
	}
}

// TestOutages: while nothing comes there are no alerts of entries, and one of the outage.
func TestOutages(t *testing.T) {
	s := newStory(t)
	entry := func(id string, at time.Duration) {
		s.session(comeIn{id: id, at: after(at), args: []string{"sh"}, tty: "pts/0"})
	}
	condition := func(at time.Duration, c collectorv1.AuditCondition) {
		s.at(after(at), func(l *logWriter) { l.condition(t, after(at), after(at), 0, c) })
	}
	s.chatter(0, time.Minute)
	entry("before", 50*time.Second) // nothing has come past its wait
	condition(3*time.Minute, collectorv1.AuditCondition_AUDIT_CONDITION_STALE)
	for i := range 10 {
		entry(fmt.Sprint("during", i), 4*time.Minute+time.Duration(i)*time.Second)
	}
	condition(10*time.Minute, collectorv1.AuditCondition_AUDIT_CONDITION_RECEIVING)
	s.chatter(10*time.Minute, 20*time.Minute)
	s.auditGaps(12*time.Minute+time.Second, auditGapOf("1", time.Minute, 10*time.Minute, false)) // as it is told
	entry("after", 12*time.Minute)
	condition(21*time.Minute, collectorv1.AuditCondition_AUDIT_CONDITION_STALE)
	entry("again", 22*time.Minute)
	m, revisions := s.run(24 * time.Minute)
	var got []string
	for _, a := range latest(revisions) {
		got = append(got, fmt.Sprint(a.Kind, " ", a.Anchor.Key, " ", a.Anchor.Episode, " r", a.Revision))
	}
	if want := "gap audit-log 1 r2\nentry after 1 r1\ngap audit-log 2 r1"; strings.Join(got, "\n") != want {
		t.Errorf("got %s", strings.Join(got, "\n"))
	}
	for key, found := range m.sessions.all() {
		if key.ID != "after" && found.Attribution != unavailable {
			t.Errorf("%s is %v", key.ID, found.Attribution)
		}
	}
	first := revisions[0]
	if first.Title != "The audit log that says who enters containers has stopped" || first.Severity != medium {
		t.Errorf("got %v", first)
	}
}

// TestALogThatWasLost: records that were in it are not taken for missing.
func TestALogThatWasLost(t *testing.T) {
	s := newStory(t)
	s.session(comeIn{id: "s", at: after(10 * time.Second), args: []string{"sh"}, tty: "pts/0"})
	s.chatter(0, 11*time.Second)
	m, _ := s.run(12 * time.Second)
	none := func(alert.Identity) (uint32, error) { return 0, nil }
	if _, err := m.abandon(Hole{Cluster: testCluster, Position: m.place.Position, Until: after(20 * time.Second)}, none); err != nil {
		t.Fatal(err)
	}
	rest := newStory(t)
	rest.chatter(21*time.Second, 3*time.Minute)
	for _, message := range rest.log(after(20*time.Second), after(3*time.Minute)) {
		message.Position += m.place.Position
		found, err := m.Apply(message, none)
		if err != nil {
			t.Fatal(err)
		}
		if len(found) > 0 {
			t.Errorf("got %v", found[0].Alert)
		}
	}
	if got := answersOf(m); got != "s=unavailable" {
		t.Errorf("got %s", got)
	}
}

// TestAHoleInTheAuditLog: of an entry whose record may be in it nothing is said, until it
// turns out that the record was elsewhere.
func TestAHoleInTheAuditLog(t *testing.T) {
	hole := func(filled bool) func(l *logWriter, t *testing.T, at time.Time) {
		return func(l *logWriter, t *testing.T, at time.Time) {
			l.put(t, at, &collectorv1.LogMessage{Body: &collectorv1.LogMessage_AuditState{AuditState: &collectorv1.AuditState{
				Cluster: testCluster, Condition: collectorv1.AuditCondition_AUDIT_CONDITION_RECEIVING, Since: timestamppb.New(noon.Add(-time.Hour)),
				Gaps: []*collectorv1.AuditGap{{Id: "g", Filled: filled, Gap: gapRecord(5*time.Second, 15*time.Second, 0).GetGap()}},
			}}})
		}
	}
	s := newStory(t)
	s.at(after(20*time.Second), func(l *logWriter) { hole(false)(l, t, after(20*time.Second)) })
	s.session(comeIn{id: "s", at: after(10 * time.Second), args: []string{"sh"}, tty: "pts/0"})
	s.chatter(0, 5*time.Minute)
	m, revisions := s.run(3 * time.Minute)
	if got := answersOf(m); got != "s=unavailable" || len(revisions) != 0 {
		t.Errorf("got %s, %d alerts", got, len(revisions))
	}
}

// TestDoorsAreNamed: the Kubernetes API is named only where its audit log comes from.
func TestDoorsAreNamed(t *testing.T) {
	for _, test := range []struct {
		name    string
		audited bool
		change  func(*sensorv1.Event)
		want    string
	}{
		{"nsenter-without-kubernetes", false, func(e *sensorv1.Event) { e.Container.Pod, e.Session.EnteredBy = nil, "namespace" },
			"Came in past the container runtime (nsenter or the like)."},
		{"nsenter", true, func(e *sensorv1.Event) { e.Session.EnteredBy = "namespace" }, "Came in past the container runtime (nsenter or the like)."},
		{"ctr", false, func(e *sensorv1.Event) { e.Session.ExecId, e.Container.RuntimeNamespace = "mine", "k8s.io" },
			"Came in through the container runtime, past the kubelet (ctr or the like)."},
		{"crictl", true, func(e *sensorv1.Event) {}, "Came in past the Kubernetes API (bash): no request asked for it."},
		{"crictl-without-audit", false, func(e *sensorv1.Event) {}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := &story{stream: &stream{t: t}}
			if test.audited {
				s = newStory(t)
				s.chatter(0, 2*time.Minute)
			}
			c := comeIn{id: "s", at: after(10 * time.Second), args: []string{"bash"}}
			s.sequence++
			r := c.record(s.sequence)
			test.change(r.GetEvent())
			s.at(after(11*time.Second), func(l *logWriter) { l.send(t, testAgent, after(11*time.Second), 0, r) })
			s.detected(20*time.Second, "escape-core-pattern", c, test.change)
			_, revisions := s.run(3 * time.Minute)
			for _, a := range latest(revisions) {
				if a.Kind != alert.KindEscape {
					continue
				}
				_, said, _ := strings.Cut(a.Summary, "escape-core-pattern happened. ")
				if said, _, _ = strings.Cut(said, "At 2026"); strings.TrimSpace(said) != test.want {
					t.Errorf("got %q", said)
				}
				return
			}
			t.Error("there is no alert")
		})
	}
}
