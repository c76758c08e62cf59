package builtin_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/seawall-security/seawall/internal/audit"
	"github.com/seawall-security/seawall/internal/redact"
	"github.com/seawall-security/seawall/internal/rule"
	"github.com/seawall-security/seawall/internal/rule/auditrule"
	"github.com/seawall-security/seawall/internal/rule/builtin"
	auditv1 "github.com/seawall-security/seawall/proto/audit/v1"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

// corpus is half of a recording of a real cluster; its README says what is in it.
const corpus = "../../audit/testdata/corpus"

func auditRules(t testing.TB) *auditrule.Set {
	t.Helper()
	sources, err := rule.ReadFS(builtin.FS)
	if err != nil {
		t.Fatal(err)
	}
	set, err := auditrule.Load(sources, time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC))
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// recorded are the lines of a file of the corpus.
func recorded(t testing.TB, name string) [][]byte {
	t.Helper()
	f, err := os.Open(filepath.Join(corpus, name))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	var lines [][]byte
	s := bufio.NewScanner(z)
	s.Buffer(nil, audit.MaxEventBytes)
	for s.Scan() {
		lines = append(lines, slices.Clone(s.Bytes()))
	}
	if err := s.Err(); err != nil {
		t.Fatal(err)
	}
	return lines
}

// decoded are events as rules see them: redacted, in the order they became known.
func decoded(t testing.TB, lines ...[]byte) []*auditv1.Event {
	t.Helper()
	key, err := redact.New(bytes.Repeat([]byte{7}, redact.KeyBytes))
	if err != nil {
		t.Fatal(err)
	}
	redactor := audit.NewRedactor(key)
	events := make([]*auditv1.Event, 0, len(lines))
	for _, line := range lines {
		e, err := audit.Decode(line)
		if err != nil {
			t.Fatalf("%v\n%s", err, line)
		}
		if err := redactor.Event(e); err != nil {
			t.Fatalf("%v\n%s", err, line)
		}
		events = append(events, e)
	}
	slices.SortStableFunc(events, func(a, b *auditv1.Event) int {
		return a.StageTime.AsTime().Compare(b.StageTime.AsTime())
	})
	return events
}

// eventsOf are the decoded events of a file, read once for all tests; each caller has its own.
func eventsOf(t testing.TB, name string) []*auditv1.Event {
	t.Helper()
	readFiles.Lock()
	defer readFiles.Unlock()
	if readFiles.read[name] == nil {
		readFiles.read[name] = withoutSetUp(decoded(t, recorded(t, name)...))
	}
	own := make([]*auditv1.Event, 0, len(readFiles.read[name]))
	for _, e := range readFiles.read[name] {
		own = append(own, proto.CloneOf(e))
	}
	return own
}

var readFiles = struct {
	sync.Mutex
	read map[string][]*auditv1.Event
}{read: make(map[string][]*auditv1.Event)}

// raised is an alert: what the matches of one key fold to.
type raised struct {
	rule     string
	severity sensorv1.Severity
	attempt  bool
	summary  string
	requests []string
}

func (r *raised) String() string {
	return fmt.Sprintf("%s %s: %s", r.rule, strings.ToLower(strings.TrimPrefix(r.severity.String(), "SEVERITY_")), r.summary)
}

// evaluate is what a set of rules says of events, in their order, from a start without memory.
func evaluate(set *auditrule.Set, events []*auditv1.Event) []*raised {
	m := auditrule.NewMatcher(set, auditrule.Limits{}, nil)
	byKey := make(map[string]*raised)
	var alerts []*raised
	for _, e := range events {
		for _, match := range m.Match(e, e.StageTime.AsTime()) {
			r := byKey[match.Key]
			if r == nil {
				r = &raised{rule: match.Rule.ID, attempt: true}
				byKey[match.Key] = r
				alerts = append(alerts, r)
			}
			if match.Severity >= r.severity {
				r.severity, r.summary = match.Severity, match.Summary
			}
			r.attempt = r.attempt && match.Attempt
			r.requests = append(r.requests, match.AuditIDs...)
		}
	}
	return alerts
}

type scenario struct {
	File     string   `json:"file"`
	Name     string   `json:"name"`
	AuditIDs []string `json:"attack_audit_ids"`
}

func scenarios(t testing.TB) []scenario {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(corpus, "labels.json"))
	if err != nil {
		t.Fatal(err)
	}
	var labels struct {
		Scenarios []scenario `json:"scenarios"`
	}
	if err := json.Unmarshal(data, &labels); err != nil {
		t.Fatal(err)
	}
	return labels.Scenarios
}
