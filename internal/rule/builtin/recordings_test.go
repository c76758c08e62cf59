package builtin_test

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/seawall-security/seawall/internal/rule/builtin/recordings"
)

// maxRecordingBytes keeps recordings something that people can review.
const maxRecordingBytes = 64 << 10

// TestEveryRuleHasRecordings: each rule names recordings of both sorts, they are
// there, and none is there that no rule names. What they show is played by the
// tests of tools/replay.
func TestEveryRuleHasRecordings(t *testing.T) {
	there, err := fs.Glob(recordings.FS, "*/*.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	named := make(map[string]bool)
	for _, r := range load(t).Rules() {
		for sort, names := range map[string][]string{"positive": r.Recordings.Positive, "negative": r.Recordings.Negative} {
			if len(names) == 0 {
				t.Errorf("rule %s has no %s recording", r.ID, sort)
			}
			for _, name := range names {
				name = strings.TrimPrefix(name, "recordings/")
				named[name] = true
				if path.Dir(name) != r.ID || !strings.HasPrefix(path.Base(name), sort+"-") {
					t.Errorf("rule %s: %s is not called %s/%s-…", r.ID, name, r.ID, sort)
				}
				if !slices.Contains(there, name) {
					t.Errorf("rule %s: %s is not there", r.ID, name)
				}
			}
		}
	}
	for _, name := range there {
		if !named[name] {
			t.Errorf("no rule names %s", name)
		}
	}
}

// TestRecordingsAreSmallAndNeutral: nothing in them tells who recorded where.
func TestRecordingsAreSmallAndNeutral(t *testing.T) {
	names, err := fs.Glob(recordings.FS, "*/*.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		text, err := fs.ReadFile(recordings.FS, name)
		if err != nil {
			t.Fatal(err)
		}
		if len(text) > maxRecordingBytes {
			t.Errorf("%s has %d bytes, more than %d", name, len(text), maxRecordingBytes)
		}
		for line := range bytes.Lines(text) {
			var record struct {
				Made, Note string
				Raw        []byte
			}
			if err := json.Unmarshal(line, &record); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			for _, telling := range []string{"/home/", "go-build"} {
				if bytes.Contains(record.Raw, []byte(telling)) {
					t.Errorf("%s: a record holds %q", name, telling)
				}
			}
		}
	}
}
