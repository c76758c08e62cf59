package builtin_test

import (
	"slices"
	"strings"
	"sync"
	"testing"

	"google.golang.org/protobuf/proto"

	auditv1 "github.com/seawall-security/seawall/proto/audit/v1"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

// requests are the events of a case.
type requests struct {
	name   string
	events []*auditv1.Event
}

// allRequests are made, first-seen and recorded ones that rules tell of; each caller has its own.
func allRequests(t testing.TB) []requests {
	t.Helper()
	decodedOnce.Do(func() {
		cases := slices.Concat(madeCases(t), edgeCases(t), evasions(t), ordinary(t), firstSeenCases(t))
		for _, c := range cases {
			decodedAll = append(decodedAll, requests{c.name, withoutSetUp(decoded(t, c.lines...))})
		}
		for _, s := range scenarios(t) {
			decodedAll = append(decodedAll, requests{s.Name, eventsOf(t, s.File)})
		}
	})
	all := make([]requests, 0, len(decodedAll))
	for _, c := range decodedAll {
		own := requests{name: c.name}
		for _, e := range c.events {
			own.events = append(own.events, proto.CloneOf(e))
		}
		all = append(all, own)
	}
	return all
}

var (
	decodedOnce sync.Once
	decodedAll  []requests
)

// never changes every request of every case, or leaves it out, and fails where a rule still tells of one.
func never(t *testing.T, but []string, change func(e *auditv1.Event) bool) {
	t.Helper()
	rules := auditRules(t)
	told := make(map[string]bool)
	for _, c := range allRequests(t) {
		events := slices.DeleteFunc(c.events, func(e *auditv1.Event) bool { return !change(e) })
		for _, a := range evaluate(rules, events) {
			if told[a.rule] = true; !slices.Contains(but, a.rule) {
				t.Errorf("%s: %s", c.name, a)
			}
		}
	}
	for _, rule := range but {
		if !told[rule] {
			t.Errorf("%s no longer tells", rule)
		}
	}
}

// A dry run changes nothing: only what asks, enters or tries tells.
func TestDryRunsAreQuiet(t *testing.T) {
	never(t, []string{
		"audit-pod-exec", "audit-exec-into-system-namespace", "audit-pod-exec-suspicious-command", "audit-port-forward", "audit-node-proxy",
		"audit-anonymous-request-allowed", "audit-anonymous-scan", "audit-token-brute-force", "audit-denied-burst", "audit-permission-self-review",
		"audit-unknown-user", "audit-api-from-bad-ip", "audit-inside-and-outside", "audit-forwarded-from-inside",
		"audit-sa-token-used-outside", "audit-sa-token-two-places", "audit-sa-used-by-hand", "audit-sa-from-outside", "audit-machine-identity-by-hand",
		"audit-impersonation", "audit-pentest-useragent", "audit-events-deleted",
		"audit-secrets-enumeration", "audit-secrets-first-list", "audit-secrets-sweep", "audit-secrets-burst", "audit-secret-access-unusual",
	}, dryRun)
}

// dryRun says so where the API server looks for it: of what is to be deleted in the body.
func dryRun(e *auditv1.Event) bool {
	switch o := e.GetObject(); {
	case o.GetResource() == "serviceaccounts" && o.GetSubresource() == "token":
		return false // there is none
	case e.Verb == "delete" || e.Verb == "deletecollection":
		e.Level = max(e.Level, auditv1.Level_LEVEL_REQUEST)
		e.Request = []byte(`{"kind":"DeleteOptions","apiVersion":"meta.k8s.io/__internal","dryRun":["All"]}`)
		return true
	}
	if strings.Contains(e.RequestUri, "?") {
		e.RequestUri += "&dryRun=All"
	} else {
		e.RequestUri += "?dryRun=All"
	}
	return true
}

// A change of a label tells nothing of what the object is: that was told when it became so.
func TestLabelsAreQuiet(t *testing.T) {
	never(t, []string{
		"audit-anonymous-request-allowed", "audit-inside-and-outside",
		// Judged by what they are, whatever changes.
		"audit-cronjob-or-job-created", "audit-node-changed", "audit-system-config-changed", "audit-sa-modifies-rbac", "audit-system-role-tampered",
	}, labelled)
}

func labelled(e *auditv1.Event) bool {
	if e.Verb != "create" && e.Verb != "patch" || e.GetObject().GetResource() == "" || e.Object.Subresource != "" {
		return false
	}
	if e.Response == nil {
		e.Response = e.Request
	}
	e.Level = auditv1.Level_LEVEL_REQUEST_RESPONSE
	e.Verb, e.Request = "patch", []byte(`{"metadata": {"labels": {"a": "b"}}}`)
	e.RequestOmittedBytes, e.RequestShortenedBytes, e.ResponseOmittedBytes, e.ResponseShortenedBytes, e.Truncated = 0, 0, 0, 0, false
	if e.Code == 201 {
		e.Code = 200
	}
	return true
}

// Controllers and nodes do the same all day.
func TestControlPlaneIsQuiet(t *testing.T) {
	for i, user := range controlPlane {
		but := []string{
			// Not of what the control plane does to objects.
			"audit-pod-exec", "audit-exec-into-system-namespace", "audit-pod-exec-suspicious-command", "audit-port-forward", "audit-ephemeral-container",
			"audit-impersonation", "audit-pentest-useragent", "audit-untrusted-image-pod", "audit-token-brute-force",
		}
		if i == 0 {
			but = append(but, "audit-node-join-untrusted") // not the controller manager's work
		}
		never(t, but, by(user))
	}
}

var controlPlane = []string{"system:kube-controller-manager", "system:serviceaccount:kube-system:namespace-controller"}

func by(user string) func(*auditv1.Event) bool {
	return func(e *auditv1.Event) bool {
		if e.User.GetName() == "" {
			return true
		}
		e.User = &auditv1.User{Name: user, Groups: []string{"system:authenticated"}}
		if !strings.Contains(e.UserAgent, "hunter") {
			e.UserAgent = "kube-controller-manager/v1.35.4 (linux/amd64) kubernetes/$Format"
		}
		if len(e.SourceIps) == 1 {
			e.SourceIps = []string{"127.0.0.1"}
		}
		return true
	}
}

// Without an address nothing is said of addresses.
func TestNoAddressIsNoPlace(t *testing.T) {
	rules := auditRules(t)
	for _, c := range allRequests(t) {
		for _, e := range c.events {
			e.SourceIps = nil
		}
		for _, a := range evaluate(rules, c.events) {
			switch a.rule {
			case "audit-api-from-bad-ip", "audit-inside-and-outside", "audit-forwarded-from-inside", "audit-sa-token-used-outside", "audit-sa-token-two-places", "audit-sa-from-outside":
				t.Errorf("%s: %s", c.name, a)
			}
		}
	}
}

// What was refused is told apart, and never worse than what was done.
func TestRefusedIsLess(t *testing.T) {
	rules := auditRules(t)
	for _, c := range allRequests(t) {
		done := make(map[string]sensorv1.Severity)
		for _, a := range evaluate(rules, c.events) {
			if !a.attempt {
				done[a.rule] = max(done[a.rule], a.severity)
			}
		}
		for _, e := range c.events {
			if e.Code != 401 {
				e.Code, e.Reason, e.Response = 403, "Forbidden", nil
			}
		}
		for _, a := range evaluate(rules, c.events) {
			if !a.attempt {
				t.Errorf("%s: told as done: %s", c.name, a)
			}
			if was, ok := done[a.rule]; ok && a.severity > was {
				t.Errorf("%s: worse than done: %s", c.name, a)
			}
		}
	}
}
