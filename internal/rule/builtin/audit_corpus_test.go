package builtin_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	auditv1 "github.com/seawall-security/seawall/proto/audit/v1"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

// setUp is who prepared the recording and cleaned up: neither benign nor an attack.
const setUp = "kubernetes-super-admin"

// attacks are the recorded ones, and the rules that have to tell of the attacker's own requests.
var attacks = map[string][]string{
	"anonymous_denied":           {"audit-anonymous-scan medium", "audit-secrets-enumeration low"},
	"aws_auth_update":            {"audit-cloud-auth-mapping-changed critical"},
	"bind_anonymous_and_use":     {"audit-anonymous-binding critical", "audit-anonymous-request-allowed critical", "audit-anonymous-request-allowed critical", "audit-anonymous-request-allowed high", "audit-anonymous-request-allowed high", "audit-cluster-admin-binding high", "audit-inside-and-outside medium", "audit-secrets-enumeration high"},
	"bind_cluster_admin_sa":      {"audit-cluster-admin-binding high"},
	"can_i_scan":                 {"audit-permission-self-review medium"},
	"coredns_rewrite":            {"audit-coredns-modified high"},
	"cronjob_persistence":        {"audit-cronjob-or-job-created low", "audit-suspicious-pod-command high"},
	"csr_create_approve":         {"audit-csr-approved high", "audit-csr-client-cert high", "audit-inside-and-outside medium"},
	"daemonset_image_patch":      {"audit-workload-image-replaced high"},
	"dashboard_nodeport":         {"audit-dashboard-exposed high", "audit-service-exposed low"},
	"delete_events":              {"audit-events-deleted medium"},
	"ephemeral_container":        {"audit-ephemeral-container high"},
	"ephemeral_container_denied": {"audit-ephemeral-container low"},
	"exec_into_pod":              {"audit-pod-exec low", "audit-pod-exec low", "audit-pod-exec-suspicious-command high"},
	"hostpath_root":              {"audit-sensitive-hostpath high"},
	"hostpid_hostnetwork":        {"audit-host-namespace-pod medium"},
	"impersonate_masters":        {"audit-impersonation high"},
	"kill_chain":                 {"audit-debug-node-pod high", "audit-host-namespace-pod high", "audit-pod-exec low", "audit-pod-exec low", "audit-pod-exec-suspicious-command high", "audit-pod-exec-suspicious-command high", "audit-privileged-pod high", "audit-sensitive-hostpath high", "audit-suspicious-api-instruction high"},
	"list_all_secrets":           {"audit-secrets-enumeration high"},
	"mass_delete":                {"audit-mass-deletion medium", "audit-mass-deletion-of-a-kind high"},
	"miner_image":                {"audit-miner-image-pod high"},
	"mutating_webhook_external":  {"audit-admission-webhook-change high"},
	"nodes_proxy":                {"audit-node-proxy medium", "audit-node-proxy medium"},
	"pod_in_kube_system":         {"audit-pod-in-system-namespace high"},
	"portforward_db":             {"audit-port-forward medium"},
	"privileged_pod":             {"audit-pod-exec low", "audit-privileged-pod high"},
	"sa_token_outside":           {"audit-sa-token-used-outside critical", "audit-secret-access-unusual medium"},
	"token_request_other_sa":     {"audit-sa-token-request high", "audit-sa-token-request high"},
	"wildcard_clusterrole":       {"audit-dangerous-role high", "audit-inside-and-outside medium"},
}

func TestRecordedAttacks(t *testing.T) {
	set := auditRules(t)
	tally := make(map[string]*precision)
	for _, s := range scenarios(t) {
		alerts := evaluate(set, eventsOf(t, s.File))
		var own []string
		for _, a := range alerts {
			hit := slices.ContainsFunc(a.requests, func(id string) bool { return slices.Contains(s.AuditIDs, id) })
			if hit {
				own = append(own, a.rule+" "+severity(a))
			} else if a.severity >= sensorv1.Severity_SEVERITY_MEDIUM {
				t.Errorf("%s: not of the attacker: %s", s.Name, a)
			}
			count(tally, a, hit)
		}
		slices.Sort(own)
		if diff := cmp.Diff(attacks[s.Name], own); diff != "" {
			t.Errorf("%s: alerts on the attacker's requests (-want +got):\n%s", s.Name, diff)
			for _, a := range alerts {
				t.Log(a)
			}
		}
	}
	if len(attacks) != len(scenarios(t)) {
		t.Errorf("%d scenarios are recorded and %d are expected", len(scenarios(t)), len(attacks))
	}
	for _, a := range evaluate(set, eventsOf(t, benign)) {
		count(tally, a, false)
	}
	report(t, tally)
}

// notable is what the benign part may raise at medium or above, and why that is right: nothing.
var notable = map[string]string{}

func TestBenignRecording(t *testing.T) {
	var low int
	got := make(map[string]int)
	for _, a := range evaluate(auditRules(t), eventsOf(t, benign)) {
		if a.severity < sensorv1.Severity_SEVERITY_MEDIUM {
			low++
			t.Log(a)
			continue
		}
		got[a.rule]++
		if notable[a.rule] == "" {
			t.Error(a)
		}
	}
	for rule := range notable {
		if got[rule] == 0 {
			t.Errorf("%s no longer tells", rule)
		}
	}
	t.Logf("%d alerts below medium", low)
}

func withoutSetUp(events []*auditv1.Event) []*auditv1.Event {
	return slices.DeleteFunc(events, func(e *auditv1.Event) bool { return e.User.GetName() == setUp })
}

func severity(a *raised) string {
	return strings.ToLower(strings.TrimPrefix(a.severity.String(), "SEVERITY_"))
}

type precision struct{ right, wrong, wrongLow int }

func count(tally map[string]*precision, a *raised, hit bool) {
	p := tally[a.rule]
	if p == nil {
		p = new(precision)
		tally[a.rule] = p
	}
	switch {
	case hit:
		p.right++
	case a.severity < sensorv1.Severity_SEVERITY_MEDIUM:
		p.wrongLow++
	default:
		p.wrong++
	}
}

func report(t *testing.T, tally map[string]*precision) {
	t.Helper()
	var rules []string
	for rule := range tally {
		rules = append(rules, rule)
	}
	slices.Sort(rules)
	for _, rule := range rules {
		p := tally[rule]
		t.Logf("%-40s of attackers %2d, of others %2d at medium or above, %2d below", rule, p.right, p.wrong, p.wrongLow)
	}
}
