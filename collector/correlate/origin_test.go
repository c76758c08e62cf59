package correlate

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	auditv1 "github.com/seawall-security/seawall/proto/audit/v1"
)

// written is a request that writes a workload, answered or not.
type written struct {
	at           time.Duration
	user, verb   string
	code         uint32 // 0: 200, of create 201
	resource     string // empty: statefulsets
	name, query  string
	sent, answer string
}

func (w written) event() *auditv1.Event {
	e := &auditv1.Event{
		AuditId: fmt.Sprint(w.user, w.at), Stage: auditv1.Stage_STAGE_COMPLETE, Verb: w.verb, Code: w.code,
		RequestTime: timestamppb.New(after(w.at)), StageTime: timestamppb.New(after(w.at)), User: &auditv1.User{Name: w.user}, SourceIps: []string{"10.0.0.9"},
		Object:     &auditv1.Object{Resource: w.resource, Namespace: "store", Name: w.name},
		RequestUri: "/apis/apps/v1/namespaces/store/x?fieldManager=x" + w.query, Request: []byte(w.sent), Response: []byte(w.answer),
	}
	if e.Code == 0 {
		e.Code = map[string]uint32{"create": 201}[w.verb]
		e.Code = max(e.Code, 200)
	}
	if w.resource == "" {
		e.Object.Resource = "statefulsets"
	}
	if w.name == "" {
		e.Object.Name = "web"
	}
	return e
}

// set is a workload's JSON.
func set(kind string, generation int, image string) string {
	return fmt.Sprintf(`{"kind":%q,"metadata":{"name":"web","uid":"w1","generation":%d},"spec":{"replicas":1,"template":{"spec":{"containers":[{"image":%q}]}}}}`, kind, generation, image)
}

const power = `{"hostPID":true,"containers":[{"name":"app"}]}`

// TestWhoMadeAndWhoChanged: who made a workload, and who changed what its pods are made from
// before the pod there is; in whatever order the records come.
func TestWhoMadeAndWhoChanged(t *testing.T) {
	const sec = time.Second
	pod := func(change func(*auditv1.Event)) *auditv1.Event {
		e := created(after(20*sec), power)
		if change != nil {
			change(e)
		}
		return e
	}
	mallory := written{at: 10 * sec, user: "mallory", verb: "create", sent: set("StatefulSet", 0, "a")}.event()
	of := func(resource, by string) string {
		return "What runs it, " + resource + " store/web, (host-pid) was " + by
	}
	byMallory := of("statefulsets", "made by mallory from 10.0.0.9.")
	const template = `{"spec":{"template":{"spec":{"containers":[{"image":"b"}]}}}}`
	for _, test := range []struct {
		name   string
		events []*auditv1.Event
		want   string
	}{
		{"made", []*auditv1.Event{mallory, pod(nil)}, byMallory},
		{"diff", []*auditv1.Event{mallory, written{at: 11 * sec, user: "alice", verb: "patch", query: "&dryRun=All", sent: template, answer: set("StatefulSet", 2, "b")}.event(), pod(nil)}, byMallory},
		{"dry-run-escaped", []*auditv1.Event{mallory, written{at: 11 * sec, user: "alice", verb: "update", query: "&dryRun=%41ll", sent: set("StatefulSet", 1, "b")}.event(), pod(nil)}, byMallory},
		{"dry-run-create", []*auditv1.Event{written{at: 11 * sec, user: "alice", verb: "create", query: "&dryRun=All", sent: set("StatefulSet", 1, "b")}.event(), pod(nil)},
			"The pod (host-pid) was made by system:serviceaccount:kube-system:statefulset-controller from 127.0.0.1."},
		{"refused", []*auditv1.Event{mallory, written{at: 11 * sec, user: "alice", verb: "patch", code: 403, sent: template}.event(), pod(nil)}, byMallory},
		{"label", []*auditv1.Event{mallory, written{at: 11 * sec, user: "alice", verb: "patch", sent: `{"metadata":{"labels":{"a":"b"}}}`, answer: set("StatefulSet", 1, "a")}.event(), pod(nil)}, byMallory},
		{"scaled", []*auditv1.Event{mallory, written{at: 11 * sec, user: "alice", verb: "patch", sent: `{"spec":{"replicas":3}}`, answer: set("StatefulSet", 2, "a")}.event(), pod(nil)}, byMallory},
		{"scaled-by-json-patch", []*auditv1.Event{mallory, written{at: 11 * sec, user: "alice", verb: "patch", sent: `[{"op":"replace","path":"/spec/replicas","value":3}]`}.event(), pod(nil)}, byMallory},
		{"put-unchanged", []*auditv1.Event{mallory, written{at: 11 * sec, user: "operator", verb: "update", sent: set("StatefulSet", 1, "a")}.event(), pod(nil)}, byMallory},
		{"applied-unchanged", []*auditv1.Event{mallory, written{at: 11 * sec, user: "flux", verb: "patch", sent: template, answer: set("StatefulSet", 1, "b")}.event(), pod(nil)}, byMallory},
		{"applied-unchanged-metadata-answered", []*auditv1.Event{mallory, written{at: 11 * sec, user: "flux", verb: "patch", sent: template,
			answer: `{"kind":"PartialObjectMetadata","metadata":{"name":"web","generation":1}}`}.event(), pod(nil)}, byMallory},
		{"changed-metadata-answered", []*auditv1.Event{mallory, written{at: 11 * sec, user: "bob", verb: "patch", sent: template,
			answer: `{"kind":"PartialObjectMetadata","metadata":{"name":"web","generation":2}}`}.event(), pod(nil)},
			of("statefulsets", "made by mallory from 10.0.0.9, and last changed by bob from 10.0.0.9.")},
		{"changed", []*auditv1.Event{mallory, written{at: 11 * sec, user: "bob", verb: "patch", sent: template, answer: set("StatefulSet", 2, "b")}.event(), pod(nil)},
			of("statefulsets", "made by mallory from 10.0.0.9, and last changed by bob from 10.0.0.9.")},
		{"changed-by-json-patch", []*auditv1.Event{mallory, written{at: 11 * sec, user: "bob", verb: "patch", sent: `[{"op":"add","path":"/spec/template/spec/hostPID","value":true}]`}.event(), pod(nil)},
			of("statefulsets", "made by mallory from 10.0.0.9, and last changed by bob from 10.0.0.9.")},
		{"changed-by-put", []*auditv1.Event{mallory, written{at: 11 * sec, user: "bob", verb: "update", sent: set("StatefulSet", 1, "b")}.event(), pod(nil)},
			of("statefulsets", "made by mallory from 10.0.0.9, and last changed by bob from 10.0.0.9.")},
		{"changed-and-put-unchanged", []*auditv1.Event{mallory, written{at: 11 * sec, user: "bob", verb: "patch", sent: template, answer: set("StatefulSet", 2, "b")}.event(),
			written{at: 12 * sec, user: "operator", verb: "update", sent: set("StatefulSet", 2, "b")}.event(), pod(nil)},
			of("statefulsets", "made by mallory from 10.0.0.9, and last changed by bob from 10.0.0.9.")},
		{"changed-by-who-made", []*auditv1.Event{mallory, written{at: 11 * sec, user: "mallory", verb: "update", sent: set("StatefulSet", 1, "b")}.event(), pod(nil)},
			of("statefulsets", "made and last changed by mallory from 10.0.0.9.")},
		{"changed-after", []*auditv1.Event{mallory, pod(nil), written{at: 21 * sec, user: "bob", verb: "patch", sent: template, answer: set("StatefulSet", 2, "b")}.event()}, byMallory},
		{"made-after", []*auditv1.Event{pod(nil), written{at: 25 * sec, user: "bob", verb: "create", sent: set("StatefulSet", 0, "a")}.event()},
			"The pod (host-pid) was made by system:serviceaccount:kube-system:statefulset-controller from 127.0.0.1."},
		{"older-than-the-log", []*auditv1.Event{written{at: 11 * sec, user: "bob", verb: "patch", sent: template, answer: set("StatefulSet", 2, "b")}.event(), pod(nil)},
			of("statefulsets", "last changed by bob from 10.0.0.9; who made it is not known.")},
		{"server-side-apply", []*auditv1.Event{written{at: 10 * sec, user: "mallory", verb: "patch", code: 201, sent: set("StatefulSet", 0, "a"), answer: set("StatefulSet", 1, "a")}.event(), pod(nil)}, byMallory},
		{"pod-by-server-side-apply", []*auditv1.Event{pod(func(e *auditv1.Event) {
			e.Verb, e.User.Name, e.Object.Name = "patch", "mallory", testPod
			e.Response = []byte(strings.Replace(string(e.Response), `"ownerReferences"`, `"x"`, 1))
		})}, "The pod (host-pid) was made by mallory from 127.0.0.1."},
		{"pod-by-server-side-apply-metadata-answered", []*auditv1.Event{pod(func(e *auditv1.Event) {
			e.Verb, e.User.Name, e.Object.Name = "patch", "mallory", testPod
			e.Request = e.Response
			e.Response = []byte(`{"kind":"PartialObjectMetadata","metadata":{"name":"web-0","uid":"u1"}}`)
		})}, "The pod (host-pid) was made by mallory from 127.0.0.1."},
		{"called-like-a-controller", []*auditv1.Event{pod(func(e *auditv1.Event) { e.User.Name = "system:serviceaccount:kube-system:snapshot-controller" }), mallory},
			"The pod (host-pid) was made by system:serviceaccount:kube-system:snapshot-controller from 127.0.0.1."},
		{"deployment", []*auditv1.Event{
			written{at: 10 * sec, user: "mallory", verb: "create", resource: "deployments", sent: set("Deployment", 0, "a")}.event(),
			written{at: 10100 * time.Millisecond, user: "system:serviceaccount:kube-system:deployment-controller", verb: "create", resource: "replicasets", name: "web-5d9c"}.event(),
			written{at: 15 * sec, user: "bob", verb: "patch", resource: "deployments", sent: template, answer: set("Deployment", 2, "b")}.event(), // another replica set
			pod(func(e *auditv1.Event) {
				e.User.Name = "system:serviceaccount:kube-system:replicaset-controller"
				e.Response = []byte(strings.Replace(string(e.Response), `"kind":"StatefulSet","name":"web"`, `"kind":"ReplicaSet","name":"web-5d9c"`, 1))
			})}, of("deployments", "made by mallory from 10.0.0.9.")},
		{"cron-job", []*auditv1.Event{
			written{at: 10 * sec, user: "mallory", verb: "create", resource: "cronjobs", sent: `{"kind":"CronJob","metadata":{"name":"web"}}`}.event(),
			written{at: 15 * sec, user: "system:serviceaccount:kube-system:cronjob-controller", verb: "create", resource: "jobs", name: "web-29301"}.event(),
			pod(func(e *auditv1.Event) {
				e.User.Name = "system:serviceaccount:kube-system:job-controller"
				e.Response = []byte(strings.Replace(string(e.Response), `"kind":"StatefulSet","name":"web"`, `"kind":"Job","name":"web-29301"`, 1))
			})}, of("cronjobs", "made by mallory from 10.0.0.9.")},
		{"deleted", []*auditv1.Event{mallory, pod(nil), written{at: 25 * sec, user: "mallory", verb: "delete"}.event()}, byMallory},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, order := range []string{"as it was", "the other way round"} {
				events := slices.Clone(test.events)
				if order != "as it was" {
					slices.Reverse(events)
				}
				if strings.Contains(test.name, "put-unchanged") && order != "as it was" {
					continue // a write of which nothing before is known may have been a change
				}
				s := newStory(t)
				for i, e := range events {
					s.events(after(30*sec+time.Duration(i)*sec), e)
				}
				s.detected(time.Minute, "escape-core-pattern", comeIn{id: "own", init: true, at: after(21 * sec), args: []string{"server"}}, nil)
				last, _ := s.only(2 * time.Minute)
				_, said, _ := strings.Cut(last.Summary, "escape-core-pattern happened. ")
				if said, _, _ = strings.Cut(said, " At 2026"); said != test.want {
					t.Errorf("%s: got %q", order, said)
				}
			}
		})
	}
}

// TestNamesAreTakenAgain: what is known of an object is not another one's that has its name.
func TestNamesAreTakenAgain(t *testing.T) {
	s := newStory(t)
	at := func(d time.Duration, e *auditv1.Event) { s.events(after(d), e) }
	at(10*time.Second, written{at: 10 * time.Second, user: "mallory", verb: "create", sent: set("StatefulSet", 0, "a")}.event())
	at(11*time.Second, written{at: 11 * time.Second, user: "mallory", verb: "delete"}.event())
	at(12*time.Second, written{at: 12 * time.Second, user: "alice", verb: "create", sent: set("StatefulSet", 0, "a")}.event())
	at(13*time.Second, written{at: 10500 * time.Millisecond, user: "mallory", verb: "patch"}.event()) // late, and of the first
	at(20*time.Second, created(after(20*time.Second), power))
	s.detected(time.Minute, "escape-core-pattern", comeIn{id: "own", init: true, at: after(21 * time.Second), args: []string{"server"}}, nil)
	last, _ := s.only(2 * time.Minute)
	if !strings.Contains(last.Summary, "(host-pid) was made by alice from 10.0.0.9.") {
		t.Errorf("got %q", last.Summary)
	}
}

// TestDryRunsOfDebugContainers put nobody into a pod.
func TestDryRunsOfDebugContainers(t *testing.T) {
	m := NewMachine(Limits{})
	m.place.Now = after(time.Minute).UnixNano()
	for _, query := range []string{"?dryRun=All", "?x=y&dryRun=All"} {
		e := ask{id: "r" + query, at: after(time.Second), end: after(time.Second)}.event(auditv1.Stage_STAGE_COMPLETE)
		e.Object.Subresource, e.Verb, e.Code, e.Entry, e.RequestUri = "ephemeralcontainers", "patch", 200, nil, "/api/v1/namespaces/store/pods/web-0/ephemeralcontainers"+query
		e.Request = []byte(`{"spec":{"ephemeralContainers":[{"name":"app"}]}}`)
		m.enters(entryDebug, testCluster, &skew{}, e)
		if m.requests.len() != 0 {
			t.Errorf("%s is taken for a request that puts somebody into a pod", query)
		}
		e.RequestUri = strings.ReplaceAll(e.RequestUri, "dryRun", "dryrun") // nobody reads that
		m.enters(entryDebug, testCluster, &skew{}, e)
		if m.requests.len() != 1 {
			t.Errorf("%s is not taken for a request", e.RequestUri)
		}
		for _, r := range m.requests.all() {
			m.forgetRequest(r)
		}
	}
}

// TestGeneratedNames: where records lack names, what is known of a controller's pods is
// known of those that are called so, and of no others.
func TestGeneratedNames(t *testing.T) {
	m := NewMachine(Limits{})
	m.place.Now = after(time.Minute).UnixNano()
	make := func(at time.Duration, user, name, generateName, uid, command string) {
		e := created(after(at), fmt.Sprintf(`{"containers":[{"name":"app","livenessProbe":{"exec":{"command":[%q]}}}]}`, command))
		e.User.Name, e.Object.Name, e.Request, e.Response = user, name, e.Response, nil
		e.Request = []byte(strings.Replace(string(e.Request), `"name":"web-0","uid":"u1"`, fmt.Sprintf(`"name":%q,"generateName":%q,"uid":%q`, name, generateName, uid), 1))
		m.learnObject(testCluster, e)
	}
	isProbe := func(pod, uid, command string) bool {
		return m.isProbe(&session{Pod: podKey{testCluster, "store", pod}, UID: uid, Container: "app", Args: []string{command}})
	}
	const controller = "system:serviceaccount:kube-system:replicaset-controller"
	make(1*time.Second, controller, "", "web-", "", "alive")
	make(2*time.Second, "mallory", "", "web-", "", "evil")
	make(3*time.Second, "mallory", "web-nginx", "", "u1", "evil")
	make(4*time.Second, "mallory", "web-xxxxx", "", "u2", "evil")
	for _, test := range []struct {
		pod, uid, command string
		want              bool
	}{
		{"web-bcdfg", "", "alive", true}, {"web-bcdfg", "u7", "alive", true}, {"web-bcdfg", "", "evil", false}, {"web-hello", "", "alive", false},
		{"web-nginx", "u1", "evil", true}, {"web-nginx", "u1", "alive", false}, {"web-nginx", "u0", "evil", false},
		{"web-xxxxx", "u2", "evil", true}, {"web-xxxxx", "u3", "alive", false}, {"web", "", "alive", false}, {"bcdfg", "", "alive", false},
	} {
		if got := isProbe(test.pod, test.uid, test.command); got != test.want {
			t.Errorf("%s in %s (%s): probe %v", test.command, test.pod, test.uid, got)
		}
	}
}
