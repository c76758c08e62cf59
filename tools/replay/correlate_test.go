package main

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/seawall-security/seawall/internal/event"
	"github.com/seawall-security/seawall/internal/rule/builtin/recordings"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
	"github.com/seawall-security/seawall/tools/replay/player"
)

// correlateTestdata is where collector/correlate, which may not import the agent's
// stages, finds what agents would send.
var correlateTestdata = filepath.Join("..", "..", "collector", "correlate", "testdata", "records")

// TestRecordsForCorrelation keeps the records that correlation is tested with: what an
// agent says of the containers in some recordings, those of one web shop among them.
func TestRecordsForCorrelation(t *testing.T) {
	set := builtinRules(t)
	var names []string
	for _, pattern := range []string{
		"web*/*.jsonl", "reverse-shell-stdio-socket/positive-php*.jsonl", "serviceaccount-token-read/positive-*.jsonl",
		"escape-container-process-in-host-ns/positive-setns-mount.jsonl", "escape-core-pattern/positive-*.jsonl",
		"escape-docker-socket/positive-curl-docker.jsonl", "sensitive-file-read/positive-[cr]*.jsonl",
	} {
		found, err := fs.Glob(recordings.FS, pattern)
		if err != nil || len(found) == 0 {
			t.Fatalf("%s: %v, %v", pattern, found, err)
		}
		names = append(names, found...)
	}
	for _, name := range names {
		played, err := player.Open(recordings.FS, name)
		if err != nil {
			t.Fatal(err)
		}
		w := &recordWriter{bootID: played.Header().BootID}
		if err := played.Play(set, w); err != nil || w.err != nil {
			t.Fatal(name, err, w.err)
		}
		path := filepath.Join(correlateTestdata, strings.ReplaceAll(name, "/", "-"))
		if *update {
			if err := os.MkdirAll(correlateTestdata, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, w.out.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatalf("%v; -update makes it", err)
		}
		if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(w.out.String(), "\n")); diff != "" {
			t.Errorf("%s: -want +got (-update accepts it):\n%s", name, diff)
		}
	}
}

// recordWriter writes what happens in containers as lines of records.
type recordWriter struct {
	bootID string
	out    bytes.Buffer
	err    error
}

func (w *recordWriter) Event(e *event.Event) {
	if e.Container != nil {
		w.write(&sensorv1.Record{BootId: w.bootID, Body: &sensorv1.Record_Event{Event: e.Proto(w.bootID)}})
	}
}

func (w *recordWriter) Detection(d *sensorv1.Detection) {
	w.write(&sensorv1.Record{BootId: w.bootID, Body: &sensorv1.Record_Detection{Detection: d}})
}

func (w *recordWriter) write(r *sensorv1.Record) {
	line, err := event.AppendJSON(nil, r)
	if err != nil {
		w.err = err
		return
	}
	w.out.Write(append(line, '\n'))
}
