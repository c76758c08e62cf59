package auditrule_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/seawall-security/seawall/internal/rule"
	"github.com/seawall-security/seawall/internal/rule/auditrule"
	auditv1 "github.com/seawall-security/seawall/proto/audit/v1"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

// TestIndex is which requests a rule is about.
func TestIndex(t *testing.T) {
	request := func(verb, group, resource, subresource, uri string) *auditv1.Event {
		e := create("1", "")
		e.Verb, e.RequestUri = verb, uri
		e.Object = &auditv1.Object{ApiGroup: group, Resource: resource, Subresource: subresource}
		if resource == "" {
			e.Object = nil
		}
		return e
	}
	for _, test := range []struct {
		keys  string
		event *auditv1.Event
		want  bool
	}{
		{"", request("get", "", "pods", "", "/api"), true},
		{"", request("get", "", "", "", "/healthz"), true},
		{"verbs: [list, get]", request("get", "", "pods", "log", ""), true},
		{"verbs: [list]", request("get", "", "pods", "log", ""), false},
		{"resources: [pods]", request("get", "", "pods", "", ""), true},
		{"resources: [pods]", request("get", "metrics.k8s.io", "pods", "", ""), true},
		{"resources: [pods.core]", request("get", "metrics.k8s.io", "pods", "", ""), false},
		{"resources: [pods.core]", request("get", "", "pods", "", ""), true},
		{"resources: [pods]", request("get", "", "pods", "exec", ""), false},
		{"resources: [pods/exec]", request("get", "", "pods", "exec", ""), true},
		{"resources: ['pods/*']", request("get", "", "pods", "exec", ""), true},
		{"resources: ['pods/*']", request("get", "", "pods", "", ""), false},
		{"resources: ['*/scale']", request("update", "apps", "deployments", "scale", ""), true},
		{"resources: ['*/scale']", request("update", "apps", "deployments", "", ""), false},
		{"resources: ['*']", request("update", "apps", "deployments", "", ""), true},
		{"resources: [roles.rbac.authorization.k8s.io]", request("create", "rbac.authorization.k8s.io", "roles", "", ""), true},
		{"resources: [roles.rbac.authorization.k8s.io]", request("create", "example.com", "roles", "", ""), false},
		{"resources: ['*']", request("get", "", "", "", "/healthz"), false},
		{"resources: [/healthz]", request("get", "", "", "", "/healthz?verbose"), true},
		{"resources: [/healthz]", request("get", "", "", "", "/healthz/etcd"), false},
		{"resources: ['/healthz*', pods]", request("get", "", "", "", "/healthz/etcd"), true},
		{"resources: ['/*']", request("get", "", "pods", "", "/api"), false},
	} {
		m := matcher(t, oneRule(test.keys))
		if got := len(m.Match(test.event, day)) == 1; got != test.want {
			t.Errorf("%s: matches %v: %v, want %v", test.keys, test.event, got, test.want)
		}
	}
}

// TestOutcomes is which ends of a request count, and what is said of a refused one.
func TestOutcomes(t *testing.T) {
	const attempt = "attempt: {severity: low, summary: '\"tried\"'}\nseverities: [{if: 'true', severity: high}]"
	for _, test := range []struct {
		keys string
		code uint32
		want string
	}{
		{"", 201, "medium found"}, {"", 101, "medium found"}, {"", 403, ""}, {"", 500, ""}, {"", 0, ""},
		{"severities: [{if: code == 201u, severity: critical}, {if: 'true', severity: low}]", 201, "critical found"},
		{"severities: [{if: code == 201u, severity: critical}, {if: 'true', severity: low}]", 200, "low found"},
		{"outcomes: [denied]", 403, "medium attempt found"}, {"outcomes: [denied]", 401, "medium attempt found"},
		{"outcomes: [denied]", 200, ""}, {"outcomes: [denied]", 404, ""},
		{"outcomes: [failed]", 404, "medium attempt found"},
		{attempt, 403, "low attempt tried"}, {attempt, 200, "high found"}, {attempt, 404, ""},
		{"attempt: {}", 403, "medium attempt Refused: found"},
		{"attempt: {severity: info}\noutcomes: [denied]", 200, ""},
	} {
		e := create("1", "")
		e.Code = test.code
		got := ""
		for _, match := range matcher(t, oneRule(test.keys)).Match(e, day) {
			got = strings.ToLower(strings.TrimPrefix(match.Severity.String(), "SEVERITY_")) + " "
			if match.Attempt {
				got += "attempt "
			}
			got += match.Summary
		}
		if got != test.want {
			t.Errorf("%s, code %d: %q, want %q", test.keys, test.code, got, test.want)
		}
	}
}

// TestStages is that a request counts once, whichever of its stages come in which order.
func TestStages(t *testing.T) {
	stage := func(s auditv1.Stage, code uint32) *auditv1.Event {
		e := create("1", "")
		e.Stage, e.Code = s, code
		return e
	}
	received, started := stage(auditv1.Stage_STAGE_RECEIVED, 0), stage(auditv1.Stage_STAGE_STARTED, 101)
	complete, panicked := stage(auditv1.Stage_STAGE_COMPLETE, 101), stage(auditv1.Stage_STAGE_PANIC, 500)
	complete.StageTime = at(time.Hour)
	other := proto.CloneOf(complete) // whose client took the other's audit id
	other.RequestTime = at(time.Minute)
	for name, test := range map[string]struct {
		events []*auditv1.Event
		want   int
	}{
		"received":              {[]*auditv1.Event{received}, 0},
		"started and complete":  {[]*auditv1.Event{received, started, complete, complete}, 1},
		"complete and started":  {[]*auditv1.Event{complete, started}, 1},
		"started only":          {[]*auditv1.Event{started}, 1},
		"panic is a failure":    {[]*auditv1.Event{panicked}, 0},
		"two with one audit id": {[]*auditv1.Event{started, other}, 2},
	} {
		m, got := matcher(t, oneRule("")), 0
		for _, e := range test.events {
			got += len(m.Match(e, day))
		}
		if got != test.want {
			t.Errorf("%s: %d matches, want %d", name, got, test.want)
		}
	}
}

// TestMatch is what a match says.
func TestMatch(t *testing.T) {
	m := matcher(t, oneRule("evidence: {from: source_ip, image: 'containers.map(c, text(c.image)).join(\" \")', broken: 'string(1/0)'}\nsummary: actor.name + \" made \" + object.name"))
	matches := m.Match(create("1", podBody), day)
	if len(matches) != 1 {
		t.Fatalf("%d matches", len(matches))
	}
	got := matches[0]
	if got.Rule.ID != "tested" || got.Severity != sensorv1.Severity_SEVERITY_MEDIUM || got.Summary != "alice made web" || got.Count != 1 ||
		!slices.Equal(got.AuditIDs, []string{"1"}) || !got.First.Equal(day) || !got.Last.Equal(day) || got.Attempt || len(got.Key) != 32 {
		t.Errorf("match %+v", got)
	}
	if got.Evidence["from"] != "10.0.0.7" || got.Evidence["image"] != "registry.example.com:5000/shop/web:1.2@sha256:abc busybox" ||
		!strings.HasPrefix(got.Evidence["broken"], "not available: ") {
		t.Errorf("evidence %v", got.Evidence)
	}
	requests := 1
	key := func(change func(*auditv1.Event)) string {
		requests++
		e := create(fmt.Sprint(requests), podBody)
		e.RequestTime = at(time.Hour)
		change(e)
		return m.Match(e, day)[0].Key
	}
	first := got.Key
	if key(func(*auditv1.Event) {}) != first {
		t.Error("the same by the same user has another key")
	}
	for name, change := range map[string]func(*auditv1.Event){
		"user": func(e *auditv1.Event) { e.User.Name = "bob" }, "name": func(e *auditv1.Event) { e.Object.Name = "x" },
		"namespace": func(e *auditv1.Event) { e.Object.Namespace = "x" }, "verb": func(e *auditv1.Event) { e.Verb = "get" },
		"impersonated": func(e *auditv1.Event) { e.Impersonated = &auditv1.User{Name: "system:admin"} },
	} {
		if key(change) == first {
			t.Errorf("another %s has the same key", name)
		}
	}
}

// TestExceptions is that they take matches out, are counted once for a request, and that
// one that fails takes nothing out.
func TestExceptions(t *testing.T) {
	file := oneRule("exceptions:\n" +
		"  - {name: broken, condition: '1/0 == 1', author: a, reason: r, expires: 2030-01-01}\n" +
		"  - {name: old, condition: 'true', author: a, reason: r, expires: 2020-01-01}\n" +
		"  - {name: alice, condition: 'actor.name == \"alice\"', author: a, reason: r, expires: 2030-01-01}")
	var excepted rule.Excepted
	m := auditrule.NewMatcher(load(t, file), auditrule.Limits{}, &excepted)
	for range 2 {
		if n := len(m.Match(create("1", ""), day)); n != 0 {
			t.Errorf("%d matches of an excepted user", n)
		}
	}
	bob := create("2", "")
	bob.User.Name = "bob"
	if n := len(m.Match(bob, day)); n != 1 {
		t.Errorf("%d matches of another user", n)
	}
	if got := fmt.Sprint(excepted.Counts()); got != "[{tested alice 1} {tested broken 0} {tested old 0}]" {
		t.Errorf("excepted %s", got)
	}
	if got := m.Stats()[0]; got.Errors != 2 || got.Matches != 1 {
		t.Errorf("stats %+v", got)
	}
}

// TestErrors is that a condition that fails does not match, and costs no other rule; one that
// has more to look at than it may matches, or anything could be hidden behind that much.
func TestErrors(t *testing.T) {
	m := matcher(t, oneRule("condition: 1/size(object.name) > 0 && manifest.kind.exists(x, x == 'y')")+
		"  - {id: fine, title: T, severity: low, condition: 'true', summary: verb}\n"+
		"  - {id: endless, title: T, severity: low, condition: 'request.l.all(a, request.l.all(b, request.l.all(c, true)))', summary: verb}\n")
	e := create("1", podBody)
	e.Request = []byte(`{"l":[` + strings.Repeat("1,", 999) + `1]}`)
	e.Object.Name = ""
	matches := m.Match(e, day)
	if len(matches) != 2 || matches[0].Rule.ID != "fine" || matches[1].Rule.ID != "endless" {
		t.Errorf("matches %v", matches)
	}
	for _, s := range m.Stats() {
		if want := map[string]uint64{"tested": 1, "endless": 1}[s.Rule]; s.Errors != want {
			t.Errorf("rule %s has %d errors, want %d", s.Rule, s.Errors, want)
		}
	}
}

// TestNothing is that a request no rule is about costs no memory.
func TestNothing(t *testing.T) {
	rules, _, _ := strings.Cut(heavyRules, "  - id: new-agent") // which is about every request
	m := matcher(t, rules)
	elsewhere, path, received, read := create("1", podBody), create("2", ""), create("3", podBody), create("4", podBody)
	elsewhere.Object.Resource = "configmaps"
	path.Object = nil
	received.Stage = auditv1.Stage_STAGE_RECEIVED
	read.Verb = "get"
	coverage, set := auditrule.NewCoverage(), load(t, rules)
	known := create("5", podBody)
	coverage.Observe(set, known)
	for name, e := range map[string]*auditv1.Event{"elsewhere": elsewhere, "path": path, "received": received, "read": read} {
		if n := testing.AllocsPerRun(100, func() {
			coverage.Observe(set, e)
			coverage.Observe(set, known)
			if len(m.Match(e, day)) > 0 {
				t.Error("matches")
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}
