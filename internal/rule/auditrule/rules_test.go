package auditrule_test

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/seawall-security/seawall/internal/rule"
	"github.com/seawall-security/seawall/internal/rule/auditrule"
	auditv1 "github.com/seawall-security/seawall/proto/audit/v1"
)

var day = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// oneRule is a file with one rule, of which body is the keys that matter.
func oneRule(body string) string {
	var b strings.Builder
	b.WriteString("source: audit\nrules:\n  - id: tested\n    title: Tested\n    severity: medium\n")
	for _, key := range []string{"summary", "condition"} {
		if !strings.HasPrefix(body, key+":") && !strings.Contains(body, "\n"+key+":") {
			b.WriteString("    " + map[string]string{"summary": "summary: '\"found\"'", "condition": "condition: 'true'"}[key] + "\n")
		}
	}
	for line := range strings.Lines(body) {
		b.WriteString("    " + line)
	}
	return b.String() + "\n"
}

func load(t testing.TB, files ...string) *auditrule.Set {
	t.Helper()
	var sources []rule.Source
	for _, f := range files {
		sources = append(sources, rule.Source{Name: "test.yaml", Data: []byte(f)})
	}
	set, err := auditrule.Load(sources, day)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func matcher(t testing.TB, files ...string) *auditrule.Matcher {
	t.Helper()
	return auditrule.NewMatcher(load(t, files...), auditrule.Limits{}, nil)
}

// at is a moment of the test day.
func at(after time.Duration) *timestamppb.Timestamp { return timestamppb.New(day.Add(after)) }

// create is an allowed request that made a pod.
func create(id, body string) *auditv1.Event {
	return &auditv1.Event{
		AuditId: id, Stage: auditv1.Stage_STAGE_COMPLETE, Level: auditv1.Level_LEVEL_REQUEST_RESPONSE, Verb: "create", Code: 201,
		RequestTime: at(0), StageTime: at(0), RequestUri: "/api/v1/namespaces/shop/pods?dryRun=All",
		User: &auditv1.User{Name: "alice", Groups: []string{"developers"}}, SourceIps: []string{"203.0.113.9", "10.0.0.7"},
		UserAgent: "kubectl/v1.35", Object: &auditv1.Object{Resource: "pods", Namespace: "shop", Name: "web", ApiVersion: "v1"},
		Response: []byte(body),
	}
}
