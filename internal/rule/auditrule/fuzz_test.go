package auditrule_test

import (
	"bytes"
	"compress/gzip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seawall-security/seawall/internal/audit"
	"github.com/seawall-security/seawall/internal/rule/auditrule"
	auditv1 "github.com/seawall-security/seawall/proto/audit/v1"
)

// everything asks for all variables and functions of a request.
const everything = `source: audit
rules:
  - id: reads-everything
    title: T
    severity: low
    outcomes: [allowed, denied, failed]
    condition: |
      text(manifest).contains("x") || text(request).lower().startsWith("y") || text(response) == "z" ||
      containers.exists(c, image(c.image).registry == "r" || c.command == ["sh"] || "x" in c.args || c.image.matches("^x")) ||
      pod.volumes.exists(v, v.hostPath.path.under("/etc")) || pod.volumes.map(v, text(v)).join(" ") == "q" || has(manifest.a.b[3]) ||
      number(manifest.spec.replicas) > 3.0 || query.dryRun == "All" || path.base() == "x" || path.ext() == "y" || path.clean() == "z" ||
      source_ip.is_private() && source_ip.in_network(["10.0.0.0/8", source_ip]) || command_line.contains("sh") ||
      actor.is_person() || actor.account_name() == "x" || actor.account_namespace() == "y" || user.extra.get("x") == "y" ||
      annotations.get("x") == "y" || source_ips.at(0) == "x" || size(user_agent) > 7 || has(entry) || certificate_request(manifest.spec.request).common_name == "x" ||
      event.object.namespace == "x" || audit_id == "x" || level == 1 || stage == 2 || request_omitted_bytes == 3u || code == 403u
    summary: actor.name + verb + reason + message + user_agent + text(object.name)
    evidence: {all: 'text(manifest) + text(query) + source_ips.join(" ")'}
  - {id: json-of-any-kind, title: T, severity: low, condition: 'manifest.exists(k, manifest[k].exists(l, true))', summary: verb}
  - {id: counts, title: T, severity: low, outcomes: [allowed, denied, failed], condition: 'true', by: [actor.name], summary: text(count),
     window: {over: 1m, count: {above: 2}}}
  - {id: distincts, title: T, severity: low, condition: 'true', by: [], summary: 'text(values)', window: {over: 1m, distinct: {of: object.name, above: 2}}}
  - {id: firsts, title: T, severity: low, condition: 'true', by: [verb], summary: text(values), window: {first: {of: user_agent, learn: 1m, remember: 1h}}}
`

// FuzzMatch matches any events, a file of them: nothing panics, what is said is bounded,
// and a second matcher says the same.
func FuzzMatch(f *testing.F) {
	files, err := filepath.Glob("../../audit/testdata/corpus/attacks/dev/*.gz")
	if err != nil || len(files) == 0 {
		f.Fatal("no corpus", err)
	}
	for _, name := range files[:8] {
		packed, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		unpacked, err := gzip.NewReader(bytes.NewReader(packed))
		if err != nil {
			f.Fatal(err)
		}
		var lines bytes.Buffer
		if _, err := lines.ReadFrom(unpacked); err != nil {
			f.Fatal(err)
		}
		f.Add(lines.Bytes()[:min(lines.Len(), 16<<10)])
	}
	f.Add([]byte(`{"auditID":"1","stage":"ResponseComplete","verb":"patch","objectRef":{"resource":"pods"},"responseStatus":{"code":200},` +
		`"requestObject":[{"op":"add","path":"/spec/containers/-","value":{"image":7}},{"op":"add","path":"/spec/containers/0/x/-/y"},{"op":"replace","path":""}],` +
		`"requestReceivedTimestamp":"2026-11-21T18:00:00Z","stageTimestamp":"9999-11-21T18:00:00Z"}`))
	set := load(f, everything)
	f.Fuzz(func(t *testing.T, file []byte) {
		one, other := auditrule.NewMatcher(set, auditrule.Limits{}, nil), auditrule.NewMatcher(set, auditrule.Limits{}, nil)
		one.Match(&auditv1.Event{}, time.Time{})
		coverage := auditrule.NewCoverage()
		var now time.Time
		for line := range bytes.Lines(file) {
			e, err := audit.Decode(line)
			if err != nil {
				continue
			}
			coverage.Observe(set, e)
			if at := e.StageTime.AsTime(); at.After(now) {
				now = at
			}
			matches := slices.Clone(one.Match(e, now))
			if a, b := said(matches), said(other.Match(e, now)); a != b {
				t.Fatalf("two matchers say %q and %q", a, b)
			}
			for _, m := range matches {
				if len(m.Summary) > 4100 || len(m.Evidence["all"]) > 4100 || len(m.AuditIDs) == 0 || len(m.AuditIDs) > 64 || m.Count == 0 {
					t.Fatalf("match %+v", m)
				}
			}
		}
		for _, row := range one.Changes() {
			if err := other.Restore(row); err != nil && row.Body != nil {
				t.Fatalf("row %s: %v", row.Key, err)
			}
		}
		for _, s := range one.Stats() {
			// Of JSON of another type than a rule takes it for there are errors; elsewhere none.
			if s.Errors > 0 && !strings.Contains("reads-everything json-of-any-kind", s.Rule) {
				t.Fatalf("rule %s has %d errors", s.Rule, s.Errors)
			}
		}
	})
}

// TestIndexChangesNothing is that rules with verbs and resources match what the same rules
// match that ask for them in their conditions.
func TestIndexChangesNothing(t *testing.T) {
	indexed := load(t, `source: audit
rules:
  - {id: a, title: T, severity: low, outcomes: [allowed, denied, failed], verbs: [create, patch], resources: [pods, '*/status', deployments.apps], condition: 'true', summary: audit_id}
  - {id: b, title: T, severity: low, outcomes: [allowed, denied, failed], resources: [events.core, leases.coordination.k8s.io, /healthz, '/api*'], condition: 'true', summary: audit_id}
  - {id: c, title: T, severity: low, verbs: [watch, get], resources: ['secrets', 'pods/*', 'nodes/proxy'], condition: 'true', summary: audit_id}
`)
	spelled := load(t, `source: audit
rules:
  - {id: a, title: T, severity: low, outcomes: [allowed, denied, failed], summary: audit_id, condition: 'verb in ["create", "patch"] && has(object) && (object.resource == "pods" && object.subresource == "" ||
     object.subresource == "status" || object.resource == "deployments" && object.api_group == "apps" && object.subresource == "")'}
  - {id: b, title: T, severity: low, outcomes: [allowed, denied, failed], summary: audit_id, condition: 'object.subresource == "" && (object.resource == "events" && object.api_group == "" ||
     object.resource == "leases" && object.api_group == "coordination.k8s.io") || !has(object) && (path == "/healthz" || path.startsWith("/api"))'}
  - {id: c, title: T, severity: low, summary: audit_id, condition: 'verb in ["watch", "get"] && (object.resource == "secrets" && object.subresource == "" || object.resource == "pods" && object.subresource != "" ||
     object.resource == "nodes" && object.subresource == "proxy")'}
`)
	one, other := auditrule.NewMatcher(indexed, auditrule.Limits{}, nil), auditrule.NewMatcher(spelled, auditrule.Limits{}, nil)
	found := make(map[string]int)
	for _, name := range []string{"benign.jsonl.gz", "attacks/dev/kill_chain.jsonl.gz", "attacks/dev/anonymous_denied.jsonl.gz", "all-stages-sample.jsonl.gz"} {
		for _, e := range corpus(t, name) {
			now := e.StageTime.AsTime()
			var a, b []string
			for _, m := range one.Match(e, now) {
				a = append(a, m.Rule.ID+m.Summary+m.Key)
				found[m.Rule.ID]++
			}
			for _, m := range other.Match(e, now) {
				b = append(b, m.Rule.ID+m.Summary+m.Key)
			}
			if !slices.Equal(a, b) {
				t.Fatalf("event %v: with an index %v, without %v", e, a, b)
			}
		}
	}
	for _, rule := range []string{"a", "b", "c"} {
		if found[rule] < 50 {
			t.Errorf("rule %s matches %d times: the test tells little", rule, found[rule])
		}
	}
}
