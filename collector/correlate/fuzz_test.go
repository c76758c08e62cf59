package correlate

import (
	"strings"
	"testing"
	"time"

	"github.com/seawall-security/seawall/collector/alert"
	auditv1 "github.com/seawall-security/seawall/proto/audit/v1"
)

// FuzzMessage: whatever stands in the log, the machine stays whole and within its
// bounds, and goes on the same from its rows.
func FuzzMessage(f *testing.F) {
	s := &scene{container: "c"}
	l := newLog()
	l.send(f, testAgent, noon, 0, s.accept(0, "192.0.2.1"), s.exec(0, "p", "server", "x"), s.shell(time.Second), s.script(time.Minute), gapRecord(0, time.Hour, 5))
	l.send(f, testAgent, noon, 0, s.other(0, "escape-core-pattern"), s.other(0, "sensitive-file-read"))
	l.send(f, testAgent, noon, 0, records(f, intrusion[1])...)
	l.tick(f, time.Hour)
	l.receiving(f, noon, noon, time.Second)
	l.audit(f, noon, created(noon, probedSpec), ask{id: "r", at: noon, end: noon, args: []string{"x"}}.event(auditv1.Stage_STAGE_COMPLETE))
	l.send(f, testAgent, noon, 0, comeIn{id: "s", at: noon, args: []string{"x"}, tty: "pts/0"}.record(1<<20))
	for _, name := range []string{"exec_into_pod", "ephemeral_container", "portforward_db", "nodes_proxy", "privileged_pod"} {
		l.audit(f, noon, recorded(f, "attacks/dev/"+name+".jsonl.gz")...)
	}
	for _, m := range l.messages {
		f.Add(m.Data)
	}
	f.Add([]byte{})
	nothing := func(alert.Identity) (uint32, error) { return 0, nil }
	set := ruleSet(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		m, rows := NewMachine(Limits{}), make(map[rowName]string)
		if err := m.useRules(set, nil); err != nil {
			t.Fatal(err)
		}
		for i, message := range []Message{l.messages[0], {Shard: 1, Data: data}, {Shard: 2, Data: data}, l.messages[3]} {
			message.Position = uint64(i + 1)
			found, err := m.Apply(message, nothing)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range found {
				if len(r.Alert.Evidence) > alert.MaxEvidence || len(r.Alert.Processes) > alert.MaxProcesses || r.Alert.Title == "" || r.Alert.Summary == "" {
					t.Errorf("got %v", r.Alert)
				}
				if n := len(pack(r.Alert)); n > 256<<10 {
					t.Errorf("an alert of %d bytes", n)
				}
			}
			keepRows(rows, m)
		}
		again := NewMachine(Limits{})
		for name, body := range rows {
			if err := again.restore(Row{name.kind, name.key, []byte(body)}); err != nil {
				t.Fatal(err)
			}
		}
		again.restored()
		if again.sessionBytes != m.sessionBytes || again.requestBytes != m.requestBytes || again.objectBytes != m.objectBytes ||
			len(again.pods) != len(m.pods) || len(again.looks) != len(m.looks) || again.nextLook != m.nextLook {
			t.Errorf("%d sessions, %d requests, %d objects before", m.sessions.len(), m.requests.len(), m.objects.len())
		}
		if again.bytes != m.bytes || again.raised.len() != m.raised.len() || again.waiting.len() != m.waiting.len() {
			t.Errorf("%d bytes before, %d after", m.bytes, again.bytes)
		}
	})
}

// FuzzRow: a row that something else wrote, or that was damaged, is an error that names it
// and never a panic; what is taken can be used, and is written again.
func FuzzRow(f *testing.F) {
	m := NewMachine(Limits{})
	none := func(alert.Identity) (uint32, error) { return 0, nil }
	for _, message := range logOf(f, records(f, "web-server-spawned-shell-positive-php")) {
		if _, err := m.Apply(message, none); err != nil {
			f.Fatal(err)
		}
		for _, row := range m.Changes() {
			f.Add(row.Kind, row.Key, row.Body)
		}
	}
	f.Add("other", "", []byte("{}"))
	messages := logOf(f, records(f, "escape-core-pattern-positive-opened"))
	f.Fuzz(func(t *testing.T, kind, key string, body []byte) {
		m := NewMachine(Limits{})
		if err := m.restore(Row{Kind: kind, Key: key, Body: body}); err != nil {
			if !strings.Contains(err.Error(), kind) {
				t.Errorf("%v does not say %q", err, kind)
			}
			return
		}
		m.restored()
		for _, message := range messages {
			if _, err := m.Apply(message, none); err != nil {
				t.Fatal(err)
			}
		}
		m.Changes()
	})
}
