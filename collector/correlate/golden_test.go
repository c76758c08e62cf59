package correlate

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	alertv1 "github.com/seawall-security/seawall/proto/alert/v1"
	auditv1 "github.com/seawall-security/seawall/proto/audit/v1"
)

var update = flag.Bool("update", false, "write testdata/alerts instead of comparing with it")

// What a visitor of the shop does on an honest day, and what an intruder does in it.
var (
	honest = []string{
		"web-server-spawned-shell-negative-pages", "web-server-spawned-shell-negative-cgi-script",
		"web-server-spawned-shell-negative-housekeeping", "web-server-spawned-shell-negative-php-mail",
		"webshell-file-created-by-server-negative-deployment", "webshell-file-created-by-server-negative-picture",
		"webshell-file-created-by-server-negative-template-cache",
	}
	intrusion = []string{
		"web-server-spawned-shell-negative-pages", "webshell-file-created-by-server-positive-upload",
		"web-server-spawned-shell-positive-php", "serviceaccount-token-read-positive-web-shell",
		"reverse-shell-stdio-socket-positive-php-web-shell",
	}
)

// TestAlertsOfRecordings compares the alerts that real events lead to.
func TestAlertsOfRecordings(t *testing.T) {
	for _, story := range []struct {
		name    string
		records []string
		marked  bool // as by an agent that knows the server for one
		brief   string
	}{
		{"honest", honest, false, ""},
		{"script-alone", []string{"webshell-file-created-by-server-positive-upload"}, false, "web-shell medium r1 e1 1+0"},
		{"web-shell", intrusion, false, "web-shell critical r6 e1 8+1\ndetection critical r2 e1 1+0"},
		{"web-shell-marked", intrusion, true, "web-shell critical r6 e1 9+1"},
		{"script-server", []string{"web-server-spawned-shell-positive-script-server"}, false, "web-shell high r2 e1 2+0"},
		{"escape", []string{"escape-container-process-in-host-ns-positive-setns-mount"}, false, "escape critical r2 e1 2+0"},
		{"knob", []string{"escape-core-pattern-positive-opened"}, false, "escape critical r1 e1 1+0"},
		{"token-by-hand", []string{"serviceaccount-token-read-positive-by-hand"}, false, "detection high r1 e1 1+0"},
		{"repeats", []string{"sensitive-file-read-positive-cat", "sensitive-file-read-positive-refused"}, false, "detection medium r2 e1 2+0"},
	} {
		t.Run(story.name, func(t *testing.T) {
			rs := records(t, story.records...)
			if story.marked {
				rs = marked(rs, rs[0].GetEvent().GetSession().GetRootId())
			}
			alerts := final(t, rs...)
			if got := brief(alerts); got != story.brief {
				t.Errorf("got %q, want %q", got, story.brief)
			}
			golden(t, story.name, alerts)
		})
	}
}

// golden compares alerts with those of testdata.
func golden(t *testing.T, name string, alerts []*alertv1.Alert) {
	t.Helper()
	path := filepath.Join("testdata", "alerts", name+".json")
	got := text(t, alerts)
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v; -update makes it", err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); diff != "" {
		t.Errorf("-want +got (-update accepts it):\n%s", diff)
	}
}

// TestAlertsOfEntries compares alerts of somebody who comes in through the API, one who may
// be one of two, one who comes past it, and the rule for who asked.
func TestAlertsOfEntries(t *testing.T) {
	s := newStory(t)
	sh := []string{"sh"}
	known := comeIn{id: "known", at: after(10 * time.Second), args: []string{"bash", "-i"}, tty: "pts/0"}
	one, other := comeIn{id: "one", at: after(20 * time.Second), args: sh, container: "c2"}, comeIn{id: "other", at: after(20200 * time.Millisecond), args: sh, container: "c2"}
	past := comeIn{id: "past", at: after(30 * time.Second), args: sh, tty: "pts/1", container: "c3"}
	for _, c := range []comeIn{known, one, other, past} {
		s.session(c)
	}
	pod := created(after(0), `{"hostPID":true,"containers":[{"name":"app","securityContext":{"privileged":true}}]}`)
	pod.User = &auditv1.User{Name: "system:serviceaccount:ops:deployer", Groups: []string{"system:serviceaccounts"}, Extra: map[string]*auditv1.Values{
		"authentication.kubernetes.io/pod-name": {Values: []string{"runner-0"}}, "authentication.kubernetes.io/pod-uid": {Values: []string{"u9"}}}}
	s.events(after(time.Second), pod)
	s.record(after(12*time.Second), ask{id: "r1", at: after(9900 * time.Millisecond), args: known.args, tty: "yes"})
	s.record(after(40*time.Second), ask{id: "r2", at: after(19800 * time.Millisecond), args: sh})
	s.record(after(40*time.Second), ask{id: "r3", user: "bob@example.test", at: after(19900 * time.Millisecond), args: sh})
	s.detected(50*time.Second, "escape-core-pattern", known, nil)
	s.detected(51*time.Second, "escape-core-pattern", one, nil)
	s.chatter(60*time.Second, 2*time.Minute)
	_, revisions := s.run(2 * time.Minute)
	alerts := latest(revisions)
	if got := brief(alerts); got != "escape high r1 e1 1+0\nescape high r1 e1 1+0\nentry high r1 e1 1+0" {
		t.Errorf("got %s", got)
	}
	golden(t, "entries", alerts)
}
