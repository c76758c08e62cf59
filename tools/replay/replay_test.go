package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seawall-security/seawall/internal/event"
	"github.com/seawall-security/seawall/internal/rule"
	"github.com/seawall-security/seawall/internal/rule/builtin"
	"github.com/seawall-security/seawall/internal/rule/builtin/recordings"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
	"github.com/seawall-security/seawall/tools/replay/player"
)

var update = flag.Bool("update", false, "write testdata/detections.json instead of comparing with it")

func builtinRules(t *testing.T) *rule.Set {
	t.Helper()
	set, err := load(nil)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func openBuiltin(_ *rule.Rule, name string) (*player.Recording, error) {
	return player.Open(recordings.FS, strings.TrimPrefix(name, "recordings/"))
}

// TestBuiltinRules plays the recordings that the built-in rules name.
func TestBuiltinRules(t *testing.T) {
	set := builtinRules(t)
	for _, c := range player.Check(set, set.Rules(), openBuiltin) {
		if c.Problem != "" {
			t.Errorf("%s, %s %s: %s", c.Rule, c.Sort(), c.Recording, c.Problem)
		}
	}
}

// TestDetectionsOfRecordings compares everything that is found in any recording:
// rules may find things in the recordings of others.
func TestDetectionsOfRecordings(t *testing.T) {
	set := builtinRules(t)
	names, err := fs.Glob(recordings.FS, "*/*.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	found := make(map[string][]string)
	for _, name := range names {
		played, err := player.Open(recordings.FS, name)
		if err != nil {
			t.Fatal(err)
		}
		detections, err := played.Detections(set)
		if err != nil {
			t.Fatal(err)
		}
		found[name] = []string{}
		for _, d := range detections {
			found[name] = append(found[name], d.Rule+": "+steady(d.Summary))
		}
	}
	got, err := json.MarshalIndent(found, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join("testdata", "detections.json")
	if *update {
		if err := os.WriteFile(path, append(got, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v; -update makes it", err)
	}
	if diff := cmp.Diff(strings.Split(strings.TrimSpace(string(want)), "\n"), strings.Split(string(got), "\n")); diff != "" {
		t.Errorf("-want +got (-update accepts it):\n%s", diff)
	}
}

var seconds = regexp.MustCompile(`\d+\.\d+s`)

// steady leaves out of a summary what differs from one recording of the same scene
// to the next.
func steady(summary string) string { return seconds.ReplaceAllString(summary, "some time") }

// TestKernelWouldSendThem: every event that a rule fires on is within what the
// rules together ask the kernel for.
func TestKernelWouldSendThem(t *testing.T) {
	set := builtinRules(t)
	for _, r := range set.Rules() {
		for _, name := range r.Recordings.Positive {
			played, err := openBuiltin(r, name)
			if err != nil {
				t.Fatal(err)
			}
			s := &admission{interest: set.Interest(), rule: r.ID}
			if err := played.Play(set, s); err != nil {
				t.Fatal(err)
			}
			if s.missed > 0 {
				t.Errorf("%s: %d events of rule %s are beyond the interest", name, s.missed, r.ID)
			}
		}
	}
}

// admission asks of each event that was found whether it is within an interest.
// Detections of an event come before the event itself.
type admission struct {
	interest rule.Interest
	rule     string
	found    bool
	missed   int
}

func (a *admission) Detection(d *sensorv1.Detection) { a.found = a.found || d.Rule == a.rule }

func (a *admission) Event(e *event.Event) {
	if a.found && !a.interest.Admits(e) {
		a.missed++
	}
	a.found = false
}

// TestBrokenRulesAreNoticed breaks each rule in two ways, both of which its own
// recordings have to show.
func TestBrokenRulesAreNoticed(t *testing.T) {
	for _, r := range builtinRules(t).Rules() {
		t.Run(r.ID, func(t *testing.T) {
			for condition, positive := range map[string]bool{"false": true, "true": false} {
				set := broken(t, r.ID, condition)
				i := slices.IndexFunc(set.Rules(), func(other *rule.Rule) bool { return other.ID == r.ID })
				noticed := func(c player.Case) bool { return c.Positive == positive && c.Problem != "" }
				if !slices.ContainsFunc(player.Check(set, set.Rules()[i:i+1], openBuiltin), noticed) {
					t.Errorf("no recording shows that the condition is %s", condition)
				}
			}
		})
	}
}

// broken loads the built-in rules with another condition for one of them.
func broken(t *testing.T, id, condition string) *rule.Set {
	t.Helper()
	sources, err := rule.ReadFS(builtin.FS)
	if err != nil {
		t.Fatal(err)
	}
	text := regexp.MustCompile(`(?s)(  - id: ` + id + `\n.*?\n    condition: )\|\n.*?\n(    summary:)`)
	changed := false
	for i, source := range sources {
		after := text.ReplaceAll(source.Data, []byte("${1}"+condition+"\n    expensive: true\n${2}"))
		changed = changed || !bytes.Equal(after, source.Data)
		sources[i].Data = after
	}
	if !changed {
		t.Fatalf("rule %s was not found", id)
	}
	set, err := rule.Load(sources, time.Unix(0, 0))
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func TestPrints(t *testing.T) {
	path := filepath.Join("..", "..", "internal", "rule", "builtin", "recordings", "exec-fileless-memfd", "positive-memfd.jsonl")
	for _, test := range []struct {
		args               []string
		events, detections bool
	}{
		{[]string{path}, true, true},
		{[]string{"-detections", path}, false, true},
	} {
		var out bytes.Buffer
		if err := run(test.args, &out); err != nil {
			t.Fatal(err)
		}
		var events, detections int
		for lines := bufio.NewScanner(&out); lines.Scan(); {
			var line struct{ Event, Detection json.RawMessage }
			if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
				t.Fatal(err)
			}
			if line.Event != nil {
				events++
			}
			if line.Detection != nil {
				detections++
			}
		}
		if events > 0 != test.events || detections > 0 != test.detections {
			t.Errorf("%v: %d events, %d detections", test.args, events, detections)
		}
	}
	for _, args := range [][]string{nil, {"nowhere.jsonl"}, {"-rules", "nowhere", path}} {
		if err := run(args, &bytes.Buffer{}); err == nil {
			t.Errorf("%v: no error", args)
		}
	}
}
