package correlate

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
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
			path := filepath.Join("testdata", "alerts", story.name+".json")
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
		})
	}
}
