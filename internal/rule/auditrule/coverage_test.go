package auditrule_test

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
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
		c.Observe(set, e)
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
		"sent as a whole": {func(c *auditrule.Coverage) {
			observe(c, "create", "rbac.authorization.k8s.io", "roles", request, 0)
			observe(c, "update", "rbac.authorization.k8s.io", "roles", request, 0)
		}, "[]"},
		"of several": {func(c *auditrule.Coverage) {
			observe(c, "patch", "rbac.authorization.k8s.io", "roles", request, 0)
			observe(c, "patch", "apps", "deployments", metadata, 0)
			observe(c, "create", "", "pods", metadata, 0)
		}, "[pods: the audit policy records create pods, patch deployments.apps at level Metadata; the rule needs Request " +
			"roles: the audit policy records patch roles.rbac.authorization.k8s.io at level Request; the rule needs RequestResponse]"},
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
}

const bodiless = `source: audit
rules:
  - {id: pods, title: T, severity: low, verbs: [create], resources: [pods], needs: request, condition: 'true', summary: verb}
  - {id: ingresses, title: T, severity: low, resources: [ingresses], needs: request, condition: 'true', summary: verb}
`

// What somebody invents, and what he is refused, is not taken for what the policy does, and
// costs no memory.
func TestCoverageOfInventions(t *testing.T) {
	set := load(t, bodiless)
	c := auditrule.NewCoverage()
	metadata := func(change func(*auditv1.Event)) *auditv1.Event {
		e := create("1", "")
		e.Level = auditv1.Level_LEVEL_METADATA
		change(e)
		return e
	}
	endless := strings.Repeat("x", 500_000)
	for name, e := range map[string]*auditv1.Event{
		"invented":        metadata(func(e *auditv1.Event) { e.Object.Resource = endless }),
		"with a part":     metadata(func(e *auditv1.Event) { e.Object.Subresource = endless }),
		"of a long group": metadata(func(e *auditv1.Event) { e.Object.Resource, e.Object.ApiGroup = "ingresses", endless }),
		"invented verb":   metadata(func(e *auditv1.Event) { e.Object.Resource, e.Verb = "ingresses", endless }),
		"without a user":  metadata(func(e *auditv1.Event) { e.Code, e.User = 401, nil }),
		"refused":         metadata(func(e *auditv1.Event) { e.Code = 403 }),
		"not there":       metadata(func(e *auditv1.Event) { e.Code = 404 }),
		"not over yet":    metadata(func(e *auditv1.Event) { e.Code = 0 }),
		"by a node":       metadata(func(e *auditv1.Event) { e.User.Name = "system:node:node-1" }),
		"by a controller": metadata(func(e *auditv1.Event) { e.User.Name = "system:serviceaccount:kube-system:deployment-controller" }),
	} {
		if c.Observe(set, e); len(c.Blind(set)) > 0 {
			t.Errorf("%s: taken for the policy", name)
		}
	}
	observe := func(c *auditrule.Coverage) {
		for i := range 100_000 {
			c.Observe(set, metadata(func(e *auditv1.Event) {
				e.Object.Resource, e.Object.Subresource = fmt.Sprint("things", i), fmt.Sprint(i)
			}))
			c.Observe(set, metadata(func(e *auditv1.Event) { e.Object.ApiGroup, e.Object.Resource = fmt.Sprint(i, ".example.net"), "things" }))
		}
	}
	before := heap()
	observe(c)
	if grown := heap() - before; grown > 64<<10 {
		t.Errorf("%d bytes are kept of what was invented", grown)
	}
	if c.Observe(set, metadata(func(*auditv1.Event) {})); len(c.Blind(set)) != 1 {
		t.Error("a coarse policy is not learnt of any more")
	}
	runtime.KeepAlive(c)
}

// Of what rules leave open so much is remembered, and of new things the newest.
func TestCoverageIsBounded(t *testing.T) {
	set := load(t, bodiless)
	c := auditrule.NewCoverage()
	for i := range 5000 {
		e := create("1", "")
		e.Level, e.Object.Resource, e.Object.ApiGroup = auditv1.Level_LEVEL_METADATA, "ingresses", fmt.Sprintf("%d.example.net", i)
		c.Observe(set, e)
	}
	blind := c.Blind(set)
	if len(blind) != 1 || len(blind[0].Of) != 1024 || !slices.Contains(blind[0].Of, "create ingresses.4999.example.net") {
		t.Errorf("blind %v", blind)
	}
}

func heap() int {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}
