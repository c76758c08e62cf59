package builtin_test

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"github.com/seawall-security/seawall/internal/rule"
	"github.com/seawall-security/seawall/internal/rule/auditrule"
	auditv1 "github.com/seawall-security/seawall/proto/audit/v1"
)

// auditPolicy is as much of an API server's as the shipped one uses.
type auditPolicy struct {
	Rules []struct {
		Level                                                 string
		Users, UserGroups, Verbs, Namespaces, NonResourceURLs []string
		Resources                                             []struct {
			Group                    string
			Resources, ResourceNames []string
		}
	}
}

func shippedPolicy(t *testing.T) *auditPolicy {
	t.Helper()
	data, err := os.ReadFile("../../../deploy/audit-policy.yaml")
	if err != nil {
		t.Fatal(err)
	}
	// The keys of a policy are not those of Go in lower case.
	for _, key := range []string{"userGroups", "nonResourceURLs", "resourceNames"} {
		data = []byte(strings.ReplaceAll(string(data), key+":", strings.ToLower(key)+":"))
	}
	p := new(auditPolicy)
	if err := yaml.Unmarshal(data, p); err != nil {
		t.Fatal(err)
	}
	if len(p.Rules) < 10 {
		t.Fatalf("the policy has %d rules", len(p.Rules))
	}
	return p
}

// level is what the first rule says that is about a request, as an API server decides.
func (p *auditPolicy) level(e *auditv1.Event) auditv1.Level {
	has := func(words []string, word string) bool { return len(words) == 0 || slices.Contains(words, word) }
	o := e.GetObject()
	for _, r := range p.Rules {
		ofGroup := len(r.UserGroups) == 0 || slices.ContainsFunc(r.UserGroups, func(g string) bool { return slices.Contains(e.GetUser().GetGroups(), g) })
		if !has(r.Users, e.GetUser().GetName()) || !ofGroup || !has(r.Verbs, e.Verb) {
			continue
		}
		about := true
		switch {
		case len(r.Namespaces) > 0 || len(r.Resources) > 0:
			about = o.GetResource() != "" && has(r.Namespaces, o.GetNamespace()) && len(r.Resources) == 0
			for _, of := range r.Resources {
				for _, name := range of.Resources {
					resource, sub, _ := strings.Cut(name, "/")
					about = about || of.Group == o.GetApiGroup() && (resource == "*" || resource == o.GetResource()) && (sub == "*" || sub == o.GetSubresource()) &&
						has(of.ResourceNames, o.GetName()) && has(r.Namespaces, o.GetNamespace()) && o.GetResource() != ""
				}
				about = about || len(of.Resources) == 0 && of.Group == o.GetApiGroup() && has(r.Namespaces, o.GetNamespace()) && o.GetResource() != ""
			}
		case len(r.NonResourceURLs) > 0:
			path, _, _ := strings.Cut(e.RequestUri, "?")
			about = o.GetResource() == "" && slices.ContainsFunc(r.NonResourceURLs, func(u string) bool {
				return u == path || strings.HasSuffix(u, "*") && strings.HasPrefix(path, strings.TrimSuffix(u, "*"))
			})
		}
		if about {
			return map[string]auditv1.Level{"Metadata": auditv1.Level_LEVEL_METADATA, "Request": auditv1.Level_LEVEL_REQUEST, "RequestResponse": auditv1.Level_LEVEL_REQUEST_RESPONSE}[r.Level]
		}
	}
	return 0
}

// groups are those of what rules name without one.
var groups = map[string]string{
	"ingresses": "networking.k8s.io", "networkpolicies": "networking.k8s.io", "httproutes": "gateway.networking.k8s.io", "gateways": "gateway.networking.k8s.io",
}

// Under the shipped policy an ordinary cluster leaves blind what docs/audit.md says, and no more:
// with all that the recorded one does, and a person who writes once all that rules look at.
func TestBlindUnderTheShippedPolicy(t *testing.T) {
	set, policy, coverage := auditRules(t), shippedPolicy(t), auditrule.NewCoverage()
	recorded := 0
	observe := func(e *auditv1.Event) {
		if e.Level = policy.level(e); e.Level != 0 {
			recorded++
			coverage.Observe(set, e)
		}
	}
	for _, e := range eventsOf(t, benign) {
		observe(e)
	}
	if recorded < 1000 {
		t.Errorf("%d events are recorded", recorded)
	}
	like := eventsOf(t, benign)[0]
	for _, r := range set.Rules() {
		if r.Needs == rule.AuditMetadata {
			continue
		}
		for _, of := range r.Resources {
			group := of.Group
			if group == "core" || group == "" {
				group = groups[of.Resource]
			}
			for _, verb := range r.Verbs {
				if of.Subresource == "status" && verb == "create" {
					continue // there is no such request
				}
				observe(&auditv1.Event{
					Verb: verb, Code: 200, RequestTime: like.RequestTime, StageTime: like.StageTime, Stage: auditv1.Stage_STAGE_COMPLETE,
					User:   &auditv1.User{Name: developer, Groups: []string{"system:authenticated"}},
					Object: &auditv1.Object{Resource: of.Resource, Subresource: of.Subresource, ApiGroup: group, Namespace: "shop", Name: "x"},
				})
			}
		}
	}
	var blind []string
	for _, b := range coverage.Blind(set) {
		blind = append(blind, b.Rule.ID+": "+strings.Join(b.Of, ", "))
	}
	want := []string{
		"audit-long-lived-token: create secrets, patch secrets, update secrets",
		"audit-configmap-credentials: create configmaps, patch configmaps, update configmaps",
	}
	if diff := cmp.Diff(want, blind); diff != "" {
		t.Errorf("blind (-want +got):\n%s", diff)
	}
}
