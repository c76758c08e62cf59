package player_test

import (
	"bytes"
	"io/fs"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/seawall-security/seawall/agent/recording"
	"github.com/seawall-security/seawall/internal/event"
	"github.com/seawall-security/seawall/internal/rule"
	"github.com/seawall-security/seawall/internal/rule/builtin"
	"github.com/seawall-security/seawall/internal/rule/builtin/recordings"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
	"github.com/seawall-security/seawall/tools/replay/player"
)

// sample is a recording in which a container starts, is named, and misbehaves.
const sample = "exec-fileless-memfd/positive-memfd.jsonl"

func load(t testing.TB) *rule.Set {
	t.Helper()
	sources, err := rule.ReadFS(builtin.FS)
	if err != nil {
		t.Fatal(err)
	}
	set, err := rule.Load(sources, time.Unix(0, 0))
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func open(t testing.TB, name string) *player.Recording {
	t.Helper()
	r, err := player.Open(recordings.FS, name)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// watcher notes what comes out.
type watcher struct {
	kinds      []event.Kind
	nameless   int // events behind the container's first program without the container
	started    bool
	detections []*sensorv1.Detection
}

func (w *watcher) Event(e *event.Event) {
	w.kinds = append(w.kinds, e.Kind)
	exec, ok := e.Payload.(*event.Exec)
	w.started = w.started || ok && exec.Init
	if w.started && e.Container == nil && e.Kind == event.KindProcessExec && e.Session != nil {
		w.nameless++
	}
}

func (w *watcher) Detection(d *sensorv1.Detection) { w.detections = append(w.detections, d) }

func TestPlayIsRepeatable(t *testing.T) {
	set, r := load(t), open(t, sample)
	var first, second watcher
	for _, w := range []*watcher{&first, &second} {
		if err := r.Play(set, w); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(first.detections, second.detections, protocmp.Transform()); diff != "" {
		t.Errorf("-first +second:\n%s", diff)
	}
	if diff := cmp.Diff(first.kinds, second.kinds); diff != "" {
		t.Errorf("-first +second:\n%s", diff)
	}
	if len(first.detections) != 1 || first.detections[0].GetEvent().GetContainer().GetName() == "" {
		t.Errorf("detections: %v", first.detections)
	}
	if !first.started || first.nameless > 0 {
		t.Errorf("the container's start came: %v; %d of its events had no name", first.started, first.nameless)
	}
}

// rewrite gives every entry of a recording to change, which returns what takes its place.
func rewrite(t *testing.T, name string, change func(recording.Entry) []recording.Entry) *player.Recording {
	t.Helper()
	text, err := fs.ReadFile(recordings.FS, name)
	if err != nil {
		t.Fatal(err)
	}
	in, err := recording.NewReader(bytes.NewReader(text), name)
	if err != nil {
		t.Fatal(err)
	}
	var changed bytes.Buffer
	out, err := recording.NewWriter(&changed, in.Header())
	if err != nil {
		t.Fatal(err)
	}
	for range bytes.Count(text, []byte("\n")) - 1 {
		entry, err := in.Next()
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range change(entry) {
			if e.Container != nil {
				err = out.Container(e.Container)
			} else {
				err = out.Record(e.Ring, e.Raw)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	r, err := player.Read(&changed, name)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestWithoutItsLineAContainerIsTheHosts(t *testing.T) {
	r := rewrite(t, sample, func(e recording.Entry) []recording.Entry {
		if e.Container != nil {
			return nil
		}
		return []recording.Entry{e}
	})
	found, err := r.Detections(load(t))
	if err != nil {
		t.Fatal(err)
	}
	if len(found) != 1 || found[0].GetEvent().GetContainer() != nil {
		t.Errorf("got %v", found)
	}
}

func TestRefusedRecordsAreAnError(t *testing.T) {
	r := rewrite(t, sample, func(e recording.Entry) []recording.Entry {
		if e.Container == nil && e.Ring != recording.Seed {
			e.Raw = e.Raw[:len(e.Raw)-1]
		}
		return []recording.Entry{e}
	})
	if _, err := r.Detections(load(t)); err == nil || !strings.Contains(err.Error(), "records were refused") {
		t.Errorf("got %v", err)
	}
}

func TestCheck(t *testing.T) {
	good, quiet := "exec-fileless-memfd/positive-memfd.jsonl", "exec-fileless-memfd/negative-mapped.jsonl"
	for _, test := range []struct {
		name               string
		positive, negative []string
		problems           []string
	}{
		{"as it should be", []string{good}, []string{quiet}, []string{"", ""}},
		{"none", nil, nil, []string{"no positive recording", "no negative recording"}},
		{"the wrong way round", []string{quiet}, []string{good}, []string{"did not fire", "fired 1 times: A program without"}},
		{"another rule's", []string{"mem-wx-transition/positive-unpacked.jsonl"}, []string{quiet}, []string{"did not fire, only mem-wx-transition", ""}},
		{"missing", []string{"nowhere.jsonl"}, []string{quiet}, []string{"open recording", ""}},
	} {
		t.Run(test.name, func(t *testing.T) {
			set := load(t)
			var tested rule.Rule
			for _, r := range set.Rules() {
				if r.ID == "exec-fileless-memfd" {
					tested = *r
				}
			}
			tested.Recordings = rule.Recordings{Positive: test.positive, Negative: test.negative}
			cases := player.Check(set, []*rule.Rule{&tested}, func(_ *rule.Rule, name string) (*player.Recording, error) {
				return player.Open(recordings.FS, name)
			})
			if len(cases) != len(test.problems) {
				t.Fatalf("got %+v", cases)
			}
			for i, problem := range test.problems {
				if got := cases[i].Problem; !strings.HasPrefix(got, problem) || (got == "") != (problem == "") {
					t.Errorf("case %d: got %q, want %q", i, got, problem)
				}
			}
		})
	}
}

// FuzzPlay: no recording, however broken, harms who plays it.
func FuzzPlay(f *testing.F) {
	text, err := fs.ReadFile(recordings.FS, sample)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte(`{"version":1,"boot_id":"b"}` + "\n" + `{"container":{"id":"c","cgroup_id":1}}`))
	set := load(f)
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := player.Read(bytes.NewReader(text), "fuzz")
		if err != nil {
			return
		}
		_ = r.Play(set, &watcher{}) // refused records are an error, which is fine
	})
}
