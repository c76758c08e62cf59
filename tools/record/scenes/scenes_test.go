package scenes

import (
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seawall-security/seawall/internal/rule"
	"github.com/seawall-security/seawall/internal/rule/builtin"
)

// TestScenesAreTheRecordings: the scenes make exactly the recordings that the
// built-in rules name, so that all of them can be renewed.
func TestScenesAreTheRecordings(t *testing.T) {
	sources, err := rule.ReadFS(builtin.FS)
	if err != nil {
		t.Fatal(err)
	}
	set, err := rule.Load(sources, time.Unix(0, 0))
	if err != nil {
		t.Fatal(err)
	}
	var named, made []string
	for _, r := range set.Rules() {
		for _, name := range slices.Concat(r.Recordings.Positive, r.Recordings.Negative) {
			named = append(named, path.Join(path.Dir(Root), name))
		}
	}
	for _, scene := range all() {
		if strings.HasPrefix(scene.File, Root+"/") {
			made = append(made, scene.File)
		}
		if scene.Note == "" || scene.Play == nil {
			t.Errorf("%s: no note or no play", scene.File)
		}
	}
	for _, name := range made {
		if !slices.Contains(named, name) {
			t.Errorf("no rule names %s", name)
		}
	}
	for _, name := range named {
		if !slices.Contains(made, name) {
			t.Errorf("no scene makes %s", name)
		}
	}
	slices.Sort(made)
	if unique := slices.Compact(slices.Clone(made)); len(unique) != len(made) {
		t.Error("two scenes make one recording")
	}
}

func TestShellWords(t *testing.T) {
	if got, want := shellWords([]string{"a b", "it's"}), `'a b' 'it'\''s'`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
