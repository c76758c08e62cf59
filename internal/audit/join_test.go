package audit

import (
	"bytes"
	"net/url"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/seawall-security/seawall/internal/redact"
	auditv1 "github.com/seawall-security/seawall/proto/audit/v1"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

// What was asked for in the audit log and what an agent saw of it are compared masked, and
// have to be the same words, with one key and only with one.
func TestCommandHasTheMasksOfItsSession(t *testing.T) {
	key := func(b byte) *redact.Redactor {
		r, err := redact.New(bytes.Repeat([]byte{b}, redact.KeyBytes))
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	for _, command := range [][]string{
		{"sh"},
		{"mysql", "-uroot", "-pS3cr3t-of-the-db", "-e", "select 1"},
		{"sh", "-c", "PGPASSWORD=hunter2hunter2 psql -h db -c 'select 1'"},
		{"env", "API_TOKEN=abcdefghijklmnop0123", "printenv"},
		{"curl", "-H", "Authorization: Bearer eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl", "https://user:pa55word@host/?a=1&b=2"},
		{"redis-cli", "-a", "correcthorsebattery", "get", "k"},
		{"sh", "-c", "echo ghp_0123456789abcdefghijABCDEFGHIJ012345 \\ \"x\" ☃"},
	} {
		query := url.Values{"command": command, "container": {"c"}}
		asked := &auditv1.Event{RequestUri: "/api/v1/namespaces/n/pods/p/exec?" + query.Encode(),
			Object: &auditv1.Object{Resource: "pods", Subresource: "exec", Namespace: "n", Name: "p"}}
		asked.Entry = entryOf(asked)
		if err := NewRedactor(key(7)).Event(asked); err != nil {
			t.Fatal(err)
		}
		seen := func(b byte) []string {
			words := func() []string { return append([]string(nil), command...) }
			e := &sensorv1.Event{Process: &sensorv1.Process{Args: words()}, Session: &sensorv1.Session{Args: words()}}
			masks := key(b).Record(&sensorv1.Record{Body: &sensorv1.Record_Event{Event: e}})
			if diff := cmp.Diff(e.Process.Args, e.Session.Args); diff != "" || (masks == 0) != (len(command) == 1) {
				t.Errorf("%q: %d masks, -process +session:\n%s", command, masks, diff)
			}
			return e.Session.Args
		}
		if diff := cmp.Diff(seen(7), asked.GetEntry().GetCommand()); diff != "" {
			t.Errorf("%q: -session +audit:\n%s", command, diff)
		}
		if len(command) > 1 && cmp.Equal(seen(8), asked.GetEntry().GetCommand()) {
			t.Errorf("%q has the same masks with another key", command)
		}
	}
}
