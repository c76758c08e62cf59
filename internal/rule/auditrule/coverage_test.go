package auditrule_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/seawall-security/seawall/internal/rule/auditrule"
	auditv1 "github.com/seawall-security/seawall/proto/audit/v1"
)

func TestCoverage(t *testing.T) {
	set := load(t, `source: audit
rules:
  - {id: metadata, title: T, severity: low, condition: 'true', summary: verb}
  - {id: pods, title: T, severity: low, verbs: [create, patch], resources: [pods, deployments.apps], needs: request, condition: 'true', summary: verb}
  - {id: roles, title: T, severity: low, resources: [roles.rbac.authorization.k8s.io], needs: response, condition: 'true', summary: verb}
`)
	observe := func(c *auditrule.Coverage, verb, group, resource string, level auditv1.Level, after time.Duration) {
		e := create("1", "")
		e.Verb, e.Level, e.RequestTime = verb, level, at(after)
		e.Object.Resource, e.Object.ApiGroup = resource, group
		c.Observe(e)
	}
	const metadata, request, response = auditv1.Level_LEVEL_METADATA, auditv1.Level_LEVEL_REQUEST, auditv1.Level_LEVEL_REQUEST_RESPONSE
	for name, test := range map[string]struct {
		observe func(c *auditrule.Coverage)
		want    string
	}{
		"nothing seen":     {func(*auditrule.Coverage) {}, "[]"},
		"enough":           {func(c *auditrule.Coverage) { observe(c, "create", "", "pods", request, 0) }, "[]"},
		"too little":       {func(c *auditrule.Coverage) { observe(c, "create", "", "pods", metadata, 0) }, "[pods: the audit policy records create pods at level Metadata; the rule needs Request]"},
		"of another verb":  {func(c *auditrule.Coverage) { observe(c, "get", "", "pods", metadata, 0) }, "[]"},
		"of another group": {func(c *auditrule.Coverage) { observe(c, "create", "x.io", "deployments", metadata, 0) }, "[]"},
		"less for some users": {func(c *auditrule.Coverage) {
			observe(c, "create", "", "pods", request, 0)
			observe(c, "create", "", "pods", metadata, time.Minute)
		}, "[]"},
		"less from some day on": {func(c *auditrule.Coverage) {
			observe(c, "create", "", "pods", request, 0)
			observe(c, "create", "", "pods", metadata, 2*time.Hour)
		}, "[pods: the audit policy records create pods at level Metadata; the rule needs Request]"},
		"more from some day on": {func(c *auditrule.Coverage) {
			observe(c, "create", "", "pods", metadata, 0)
			observe(c, "create", "", "pods", response, time.Minute)
		}, "[]"},
		"of several": {func(c *auditrule.Coverage) {
			observe(c, "create", "rbac.authorization.k8s.io", "roles", request, 0)
			observe(c, "patch", "apps", "deployments", metadata, 0)
			observe(c, "create", "", "pods", metadata, 0)
		}, "[pods: the audit policy records create pods, patch deployments.apps at level Metadata; the rule needs Request " +
			"roles: the audit policy records create roles.rbac.authorization.k8s.io at level Request; the rule needs RequestResponse]"},
	} {
		t.Run(name, func(t *testing.T) {
			c := auditrule.NewCoverage()
			test.observe(c)
			var got []string
			for _, b := range c.Blind(set) {
				got = append(got, b.Rule.ID+": "+b.Reason())
			}
			if fmt.Sprint(got) != test.want {
				t.Errorf("blind %v\nwant  %s", got, test.want)
			}
		})
	}
	c := auditrule.NewCoverage()
	for i := range 10000 {
		observe(c, "create", "x.io", fmt.Sprint("things", i), metadata, 0)
	}
	observe(c, "create", "", "pods", metadata, 0)
	if n := len(c.Blind(set)); n != 0 {
		t.Error("more is remembered than the bound says")
	}
}
