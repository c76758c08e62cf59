package auditrule_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"os"
	"path/filepath"
	"testing"

	"github.com/seawall-security/seawall/internal/audit"
	"github.com/seawall-security/seawall/internal/rule"
	"github.com/seawall-security/seawall/internal/rule/auditrule"
	"github.com/seawall-security/seawall/internal/rule/builtin"
	auditv1 "github.com/seawall-security/seawall/proto/audit/v1"
)

// corpus reads the recorded events of a file of internal/audit.
func corpus(t testing.TB, name string) []*auditv1.Event {
	t.Helper()
	packed, err := os.ReadFile(filepath.Join("..", "..", "audit", "testdata", "corpus", name))
	if err != nil {
		t.Fatal(err)
	}
	unpacked, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	var events []*auditv1.Event
	lines := bufio.NewScanner(unpacked)
	lines.Buffer(nil, audit.MaxEventBytes)
	for lines.Scan() {
		e, err := audit.Decode(bytes.Clone(lines.Bytes()))
		if err != nil {
			t.Fatal(err)
		}
		events = append(events, e)
	}
	if lines.Err() != nil {
		t.Fatal(lines.Err())
	}
	return events
}

// heavyRules ask for what costs most: the bodies of every write.
const heavyRules = `source: audit
rules:
  - id: privileged
    title: Privileged
    severity: medium
    verbs: [create, update, patch]
    resources: [pods, deployments.apps, daemonsets.apps, cronjobs.batch, pods/ephemeralcontainers]
    needs: request
    condition: containers.exists(c, c.securityContext.privileged == true || "SYS_ADMIN" in c.securityContext.capabilities.add)
    summary: actor.name + " made " + object.name
  - id: host-path
    title: Host path
    severity: medium
    verbs: [create, update, patch]
    resources: [pods, deployments.apps, daemonsets.apps, cronjobs.batch]
    needs: request
    condition: pod.volumes.exists(v, ["/", "/etc", "/root", "/var/run"].exists(p, v.hostPath.path.under(p)))
    summary: actor.name + " made " + object.name
  - id: secrets
    title: Secrets
    severity: high
    verbs: [get, list, watch]
    resources: [secrets]
    condition: actor.is_person()
    by: [actor.name]
    window: {over: 1m, distinct: {of: object.name, above: 10}}
    summary: actor.name + " read " + string(count)
  - id: refused
    title: Refused
    severity: low
    outcomes: [denied]
    condition: 'true'
    by: [source_ip]
    window: {over: 5m, count: {above: 20}}
    summary: source_ip + " " + string(count)
  - id: exec
    title: Exec
    severity: low
    resources: [pods/exec, pods/attach]
    attempt: {severity: info}
    condition: '!actor.is_system()'
    summary: actor.name + " ran " + command_line
  - id: new-agent
    title: New client
    severity: info
    condition: '!actor.is_system() && !actor.is_node()'
    by: [actor.name]
    window: {first: {of: user_agent, learn: 1m, remember: 24h}}
    summary: actor.name + " with " + user_agent
`

// BenchmarkMatch is what an event of a quiet cluster costs, with rules of ours and with
// those that Seawall brings.
func BenchmarkMatch(b *testing.B) {
	events := corpus(b, "benign.jsonl.gz")
	brought, err := rule.ReadFS(builtin.FS)
	if err != nil {
		b.Fatal(err)
	}
	set, err := auditrule.Load(brought, day)
	if err != nil {
		b.Fatal(err)
	}
	for name, set := range map[string]*auditrule.Set{"heavy": load(b, heavyRules), "builtin": set} {
		b.Run(name, func(b *testing.B) {
			m := auditrule.NewMatcher(set, auditrule.Limits{}, nil)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				e := events[i%len(events)]
				m.Match(e, e.StageTime.AsTime())
				if i%1000 == 0 {
					m.Changes()
				}
			}
		})
	}
}
