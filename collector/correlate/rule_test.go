package correlate

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/seawall-security/seawall/collector/alert"
	"github.com/seawall-security/seawall/internal/audit"
	"github.com/seawall-security/seawall/internal/rule"
	"github.com/seawall-security/seawall/internal/rule/auditrule"
	alertv1 "github.com/seawall-security/seawall/proto/alert/v1"
	auditv1 "github.com/seawall-security/seawall/proto/audit/v1"
)

const testRules = `source: audit
rules:
  - id: exec
    title: Command run in a pod
    severity: medium
    resources: [pods/exec, pods/attach]
    attempt: {severity: low}
    condition: 'actor.is_person()'
    by: [actor.name, object.namespace, object.name]
    summary: actor.name + " ran " + command_line + " in " + object.name
    attack: {tactics: [TA0002], techniques: [T1609]}
  - id: privileged
    title: Privileged pod
    severity: high
    verbs: [create, update, patch]
    resources: [pods, deployments.apps, daemonsets.apps]
    needs: request
    condition: containers.exists(c, c.securityContext.privileged == true)
    summary: actor.name + " made " + object.name
  - id: refused
    title: Many requests refused
    severity: medium
    outcomes: [denied]
    condition: 'true'
    by: [source_ip]
    window: {over: 5m, count: {above: 5}}
    summary: source_ip + " was refused " + string(count) + " times"
`

func ruleSet(t testing.TB) *auditrule.Set {
	t.Helper()
	set, err := auditrule.Load([]rule.Source{{Name: "test.yaml", Data: []byte(testRules)}}, noon)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// recorded reads the events of files of the corpus, in their order.
func recorded(t testing.TB, names ...string) (events []*auditv1.Event) {
	t.Helper()
	for _, name := range names {
		file, err := os.Open(filepath.Join("..", "..", "internal", "audit", "testdata", "corpus", name))
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		reader, err := audit.NewReader(file)
		if err != nil {
			t.Fatal(err)
		}
		for {
			e, err := reader.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(name, err)
			}
			events = append(events, e)
		}
	}
	slices.SortStableFunc(events, func(x, y *auditv1.Event) int { return x.StageTime.AsTime().Compare(y.StageTime.AsTime()) })
	return events
}

// batched is the log of events that come some at a time, soon after they happened.
func batched(t testing.TB, events []*auditv1.Event, size int) []Message {
	t.Helper()
	l := newLog()
	l.receiving(t, events[0].StageTime.AsTime(), events[0].StageTime.AsTime(), 0)
	for batch := range slices.Chunk(events, size) {
		l.audit(t, batch[len(batch)-1].StageTime.AsTime().Add(time.Second), batch...)
	}
	l.tick(t, settle)
	l.tick(t, recount)
	return l.messages
}

// playRules plays a log to a machine that has rules; it is made anew at each cut.
func playRules(t testing.TB, messages []Message, cut func(int) bool) (revisions []*alertv1.Alert) {
	t.Helper()
	_, revisions = playSet(t, ruleSet(t), messages, cut)
	return revisions
}

func playSet(t testing.TB, set *auditrule.Set, messages []Message, cut func(int) bool) (m *Machine, revisions []*alertv1.Alert) {
	t.Helper()
	rows := make(map[rowName]string)
	begin := func() *Machine {
		m := NewMachine(Limits{})
		for name, body := range rows {
			if err := m.restore(Row{name.kind, name.key, []byte(body)}); err != nil {
				t.Fatal(err)
			}
		}
		m.restored()
		if err := m.useRules(set, nil); err != nil {
			t.Fatal(err)
		}
		return m
	}
	m = begin()
	for i, message := range messages {
		found, err := m.Apply(message, past(&revisions))
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range found {
			revisions = append(revisions, proto.CloneOf(r.Alert))
		}
		if keepRows(rows, m); cut(i) {
			m = begin()
		}
	}
	return m, revisions
}

// TestAuditAlertsOfRecordings: what real requests lead to, whoever restarts meanwhile.
func TestAuditAlertsOfRecordings(t *testing.T) {
	never := func(int) bool { return false }
	for _, test := range []struct {
		scenario, rule string
	}{{"exec_into_pod", "exec"}, {"privileged_pod", "privileged"}, {"can_i_scan", ""}, {"ephemeral_container", ""}, {"kill_chain", "exec"}} {
		t.Run(test.scenario, func(t *testing.T) {
			events := recorded(t, "attacks/dev/"+test.scenario+".jsonl.gz")
			log := batched(t, events, 3)
			revisions := playRules(t, log, never)
			same(t, revisions, playRules(t, log, func(i int) bool { return i%2 == 0 }), nil, nil)
			theirs := attackIDs(t, test.scenario)
			found := test.rule == ""
			for _, a := range latest(revisions) {
				if a.Kind != alert.KindAudit || a.Title == "" || a.Summary == "" || len(a.Requests) == 0 || a.Anchor.Kind != alert.AnchorUser {
					t.Errorf("got %v", a)
				}
				for _, e := range a.Evidence {
					found = found || e.Rule == test.rule && slices.Contains(theirs, e.AuditId)
				}
			}
			if !found {
				t.Errorf("none of %d alerts is %s on a request of the attacker's", len(latest(revisions)), test.rule)
			}
		})
	}
}

func attackIDs(t *testing.T, scenario string) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "internal", "audit", "testdata", "corpus", "labels.json"))
	if err != nil {
		t.Fatal(err)
	}
	var labels struct {
		Scenarios []struct {
			Name string   `json:"name"`
			IDs  []string `json:"attack_audit_ids"`
		} `json:"scenarios"`
	}
	if err := json.Unmarshal(text, &labels); err != nil {
		t.Fatal(err)
	}
	for _, s := range labels.Scenarios {
		if s.Name == scenario {
			return s.IDs
		}
	}
	t.Fatalf("%s is not in the corpus", scenario)
	return nil
}

// TestTheCorpusPassesThrough: all that was recorded, with what the machine keeps of it.
func TestTheCorpusPassesThrough(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("..", "..", "internal", "audit", "testdata", "corpus", "attacks", "dev", "*.gz"))
	if err != nil || len(files) == 0 {
		t.Fatal(err, "no files")
	}
	names := []string{"benign.jsonl.gz"}
	for _, file := range files {
		names = append(names, "attacks/dev/"+filepath.Base(file))
	}
	m := NewMachine(Limits{})
	none := func(alert.Identity) (uint32, error) { return 0, nil }
	for _, message := range batched(t, recorded(t, names...), 100) {
		if _, err := m.Apply(message, none); err != nil {
			t.Fatal(err)
		}
	}
	kinds := make(map[string]int)
	for _, r := range m.requests.all() {
		kinds[r.Kind]++
	}
	powers := make(map[string]int)
	for _, o := range m.objects.all() {
		if o.Pod != nil {
			for _, power := range o.Pod.Powers {
				powers[power]++
			}
		}
	}
	if kinds[entryExec] == 0 || kinds[entryForward] == 0 || kinds[entryDebug] == 0 || powers["privileged"] == 0 || powers["host-path"] == 0 || powers["host-pid"] == 0 {
		t.Errorf("got requests %v, pods %v of %d objects", kinds, powers, m.objects.len())
	}
}

// TestAttempts are told as such until one is let through.
func TestAttempts(t *testing.T) {
	l := newLog()
	for i, code := range []uint32{403, 403, 101} {
		e := ask{id: string(rune('a' + i)), at: after(time.Duration(i) * time.Minute), args: []string{"sh"}}.event(auditv1.Stage_STAGE_COMPLETE)
		e.StageTime, e.Code = e.RequestTime, code
		l.audit(t, after(time.Duration(i)*time.Minute+time.Second), e)
	}
	revisions := playRules(t, l.messages, func(int) bool { return true })
	if len(revisions) != 2 {
		t.Fatalf("got %d revisions", len(revisions))
	}
	first, last := revisions[0], revisions[1]
	if first.Title != "Tried: Command run in a pod" || first.Severity != low || !slices.Contains(first.Tags, tagAttempt) {
		t.Errorf("got %v", first)
	}
	if last.Title != "Command run in a pod" || last.Severity != medium || slices.Contains(last.Tags, tagAttempt) || last.Id != first.Id ||
		!strings.Contains(last.Summary, "Asked for by alice@example.test from 10.77.0.10.") || len(last.Requests) != 3 {
		t.Errorf("got %v", last)
	}
}

// TestAuditAlertsFold: repeats are one alert for as long as they go on, and another one after.
func TestAuditAlertsFold(t *testing.T) {
	l := newLog()
	for i, at := range []time.Duration{0, 50 * time.Minute, 100 * time.Minute, 5 * time.Hour} {
		e := ask{id: string(rune('a' + i)), at: after(at), args: []string{"sh"}}.event(auditv1.Stage_STAGE_STARTED)
		l.audit(t, after(at+time.Second), e)
	}
	l.tick(t, recount)
	alerts := latest(playRules(t, l.messages, func(i int) bool { return i == 1 }))
	if got := brief(alerts); got != "audit medium r3 e1 1+2\naudit medium r1 e2 1+0" {
		t.Errorf("got %s", got)
	}
}

// TestRulesOfACorrelator: what rules remember is in the store.
func TestRulesOfACorrelator(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	var messages []Message
	l := newLog()
	for i := range 6 {
		e := ask{id: string(rune('a' + i)), at: after(time.Duration(i) * time.Second), args: []string{"sh"}}.event(auditv1.Stage_STAGE_COMPLETE)
		e.StageTime, e.Code = e.RequestTime, 401
		l.audit(t, after(time.Duration(i+1)*time.Second), e)
	}
	messages = l.messages
	for i, message := range messages {
		s, book, c := openStore(t, path)
		if err := c.UseRules(t.Context(), ruleSet(t), nil); err != nil {
			t.Fatal(err)
		}
		if err := c.Apply(t.Context(), message); err != nil {
			t.Fatal(err)
		}
		alerts, _, err := book.List(t.Context(), &alertv1.Filter{Kinds: []string{alert.KindAudit}}, 0, "")
		if err != nil {
			t.Fatal(err)
		}
		titles := []string{}
		for _, a := range alerts {
			titles = append(titles, a.Title)
		}
		if want := i == 5; slices.ContainsFunc(titles, func(title string) bool { return strings.Contains(title, "Many requests refused") }) != want {
			t.Errorf("after %d: got %q", i+1, titles)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestOneAuditIDForMany: clients choose the id of their requests. One that was let through
// is told though tries of the same id came before it, and all are counted.
func TestOneAuditIDForMany(t *testing.T) {
	try := func(i int, code uint32, command ...string) *auditv1.Event {
		e := ask{id: "chosen", user: "mallory", at: after(time.Duration(i) * time.Second), args: command}.event(auditv1.Stage_STAGE_COMPLETE)
		e.StageTime, e.Code = e.RequestTime, code
		e.RequestUri = "/api/v1/namespaces/store/pods/web-0/exec?command=" + strings.Join(command, "&command=")
		return e
	}
	for _, test := range []struct {
		name  string
		tries int // before one that is let through
		other func(int) string
	}{
		{"one", 1, func(int) string { return "id" }},
		{"as-many-as-there-is-room-for", 200, func(i int) string { return fmt.Sprint("id", i) }},
		{"the-same-again-and-again", 200, func(int) string { return "id" }},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := newLog()
			for i := range test.tries {
				l.audit(t, after(time.Duration(i+1)*time.Second), try(i, 403, test.other(i)))
			}
			l.audit(t, after(time.Duration(test.tries+1)*time.Second), try(test.tries, 101, "cat", "/secret"))
			l.audit(t, after(time.Duration(test.tries+2)*time.Second), try(test.tries+1, 403, "whoami"))
			l.tick(t, settle)
			l.tick(t, recount)
			var found *alertv1.Alert
			for _, a := range latest(playRules(t, l.messages, func(i int) bool { return i%7 == 0 })) {
				if a.Evidence[0].Rule == "exec" {
					found = a
				}
			}
			if n := facts(found); n != uint64(test.tries)+2 {
				t.Errorf("%d of %d requests are counted", n, test.tries+2)
			}
			if !strings.HasPrefix(found.Summary, "mallory ran cat /secret in web-0.") || found.Severity != medium || slices.Contains(found.Tags, tagAttempt) {
				t.Errorf("got %q, %v", found.Summary, found.Severity)
			}
			if !slices.ContainsFunc(found.Requests, func(r *alertv1.Request) bool { return r.Code == 101 }) || len(found.Requests) > maxRuleRequests {
				t.Errorf("%d requests, none that was let through", len(found.Requests))
			}
		})
	}
}

// TestOneAuditIDInAWindow: requests of one id are as many as those of several.
func TestOneAuditIDInAWindow(t *testing.T) {
	counts := make(map[bool]uint64)
	for _, chosen := range []bool{false, true} {
		l := newLog()
		for i := range 20 {
			e := ask{id: fmt.Sprint("r", i), at: after(time.Duration(i) * time.Second), args: []string{"sh"}}.event(auditv1.Stage_STAGE_COMPLETE)
			e.StageTime, e.Code, e.User = e.RequestTime, 401, nil
			if chosen {
				e.AuditId = "chosen"
			}
			l.audit(t, after(time.Duration(i+1)*time.Second), e)
		}
		l.tick(t, recount)
		for _, a := range latest(playRules(t, l.messages, func(int) bool { return false })) {
			counts[chosen] += facts(a)
		}
	}
	if counts[true] != counts[false] || counts[true] < 12 {
		t.Errorf("got %v", counts)
	}
}
