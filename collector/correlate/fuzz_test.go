package correlate

import (
	"testing"
	"time"

	"github.com/seawall-security/seawall/collector/alert"
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
	for _, m := range l.messages {
		f.Add(m.Data)
	}
	f.Add([]byte{})
	nothing := func(alert.Identity) (uint32, error) { return 0, nil }
	f.Fuzz(func(t *testing.T, data []byte) {
		m, rows := NewMachine(Limits{}), make(map[rowName]string)
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
		if again.bytes != m.bytes || again.raised.len() != m.raised.len() || again.waiting.len() != m.waiting.len() {
			t.Errorf("%d bytes before, %d after", m.bytes, again.bytes)
		}
	})
}
