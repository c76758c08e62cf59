package builtin_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/seawall-security/seawall/internal/rule/auditrule"
	auditv1 "github.com/seawall-security/seawall/proto/audit/v1"
)

// cut is what a coarser policy would have left of events.
func cut(events []*auditv1.Event, to auditv1.Level) []*auditv1.Event {
	for _, e := range events {
		if e.Level > to {
			e.Level, e.Response = to, nil
			if to == auditv1.Level_LEVEL_METADATA {
				e.Request = nil
			}
		}
	}
	return events
}

// A rule that says it needs no bodies tells without them what it tells with them, if not
// always as severely; one that needs them does not.
func TestNeeds(t *testing.T) {
	set := auditRules(t)
	needs := make(map[string]auditv1.Level)
	for _, r := range set.Rules() {
		needs[r.ID] = auditv1.Level(r.Needs) + auditv1.Level_LEVEL_METADATA
	}
	// In part by what the audit policy leaves out, and told without it.
	partly := map[string]bool{
		"audit-suspicious-api-instruction":        true,
		"audit-namespace-security-label-weakened": true,
		"audit-external-ips-mitm":                 true, // of a status
		"audit-debug-node-pod":                    true, // by its name
		"audit-coredns-modified":                  true, // but for one that is made
	}
	partly["audit-body-left-out"] = true         // but for who hides the answer
	partly["audit-host-namespace-pod"] = true    // but for a patch of which a part is left out
	partly["audit-cluster-admin-binding"] = true // but for a patch, whose answer alone names the role
	tried := make(map[string]bool)
	for _, level := range []auditv1.Level{auditv1.Level_LEVEL_METADATA, auditv1.Level_LEVEL_REQUEST} {
		all, coarse := allRequests(t), allRequests(t)
		for i, c := range all {
			left := evaluate(set, cut(coarse[i].events, level))
			for _, a := range evaluate(set, c.events) {
				tells := slices.ContainsFunc(left, func(b *raised) bool { return a.rule == b.rule })
				if enough := needs[a.rule] <= level; enough != tells && !partly[a.rule] && (enough || level == auditv1.Level_LEVEL_METADATA) {
					t.Errorf("%s at level %v: %s needs %v and tells: %t", c.name, level, a.rule, needs[a.rule], tells)
				}
				tried[a.rule] = true
			}
		}
	}
	for rule := range needs {
		if !tried[rule] {
			t.Errorf("%s is not tried", rule)
		}
	}
}

// metadataBlinds are blind where no body is recorded. A rule on persistent volumes would be, too; the corpus has none.
var metadataBlinds = []string{
	"audit-anonymous-binding",
	"audit-body-left-out",
	"audit-cluster-admin-binding",
	"audit-configmap-credentials",
	"audit-controller-sa-assigned",
	"audit-csr-client-cert",
	"audit-dangerous-capabilities",
	"audit-dangerous-role",
	"audit-dashboard-exposed",
	"audit-datastore-exposed",
	"audit-debug-node-pod",
	"audit-external-ips-mitm",
	"audit-host-namespace-pod",
	"audit-host-port",
	"audit-ingress-without-tls",
	"audit-long-lived-token",
	"audit-miner-image-pod",
	"audit-ml-platform-exposed",
	"audit-namespace-security-label-weakened",
	"audit-permission-self-review",
	"audit-pod-chosen-account",
	"audit-pod-environment-credentials",
	"audit-powerful-role-bound",
	"audit-privileged-pod",
	"audit-sensitive-hostpath",
	"audit-service-exposed",
	"audit-sidecar-injection",
	"audit-suspicious-pod-command",
	"audit-untrusted-image-pod",
	"audit-workload-image-replaced",
}

// Under a policy of metadata alone the rules that need more are named; under that of the corpus those
// that are about what it records so.
func TestBlindRules(t *testing.T) {
	set := auditRules(t)
	full, coarse := auditrule.NewCoverage(), auditrule.NewCoverage()
	files := []string{benign}
	for _, s := range scenarios(t) {
		files = append(files, s.File)
	}
	for _, name := range files {
		events := eventsOf(t, name)
		for _, e := range events {
			full.Observe(set, e)
		}
		for _, e := range cut(events, auditv1.Level_LEVEL_METADATA) {
			coarse.Observe(set, e)
		}
	}
	names := func(c *auditrule.Coverage) (ids []string) {
		for _, b := range c.Blind(set) {
			ids = append(ids, b.Rule.ID)
		}
		slices.Sort(ids)
		return ids
	}
	if diff := cmp.Diff([]string{"audit-configmap-credentials", "audit-namespace-security-label-weakened"}, names(full)); diff != "" {
		t.Errorf("under the policy of the corpus (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(metadataBlinds, names(coarse)); diff != "" {
		t.Errorf("under a policy of metadata (-want +got):\n%s", diff)
	}
}
