package decode

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/seawall-security/seawall/agent/recording"
	"github.com/seawall-security/seawall/internal/event"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

var update = flag.Bool("update", false, "rewrite the synthetic recording and the expected JSON")

// TestSyntheticRecording keeps testdata/synthetic.jsonl what the samples are. It
// stands before TestGolden, which reads it.
func TestSyntheticRecording(t *testing.T) {
	var b bytes.Buffer
	w, err := recording.NewWriter(&b, recording.Header{
		Release: "none", Arch: "amd64", BootID: sampleBoot, BootToWall: sampleClock.Offset,
		Host: recording.Namespaces(sampleSpaces), Hierarchy: "v2",
		Made: "go test ./agent/decode -run TestSyntheticRecording -update",
		Note: "Synthetic: written by the test's encoder, no kernel was involved.",
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range samples() {
		if err := w.Record(sampleRing(s.want.Kind), s.record); err != nil {
			t.Fatalf("%s: %v", s.name, err)
		}
		if s.name == "fork" { // the others happen in a container
			err = w.Container(&event.Container{
				ID: fmt.Sprintf("%064x", 7), Runtime: "containerd", RuntimeNamespace: "k8s.io", Name: "shop",
				Image: "registry.example/shop:1.4", PodName: "shop-0", PodNamespace: "web",
				Labels: map[string]string{"app": "shop"}, CgroupID: sampleCgroup, CgroupPath: "/kubepods/x",
			})
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	compareFile(t, "testdata/synthetic.jsonl", b.Bytes())
}

func sampleRing(kind event.Kind) recording.Ring {
	switch kind {
	case event.KindProcessSeed:
		return recording.Seed
	case event.KindFileOpen, event.KindMemoryMap:
		return recording.Bulk
	}
	return recording.Decisive
}

// TestGolden decodes every recording in testdata and compares with the JSON
// beside it. No stage attaches facts here: containers are those the recording
// names, the process of an exec is what its own record says.
func TestGolden(t *testing.T) {
	paths, err := filepath.Glob("testdata/*.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	if len(paths) == 0 {
		t.Fatal("no recordings in testdata")
	}
	for _, path := range paths {
		t.Run(filepath.Base(path), func(t *testing.T) {
			compareFile(t, strings.TrimSuffix(path, ".jsonl")+".golden.json", replay(t, path))
		})
	}
}

// compareFile compares with a file of testdata, or writes it.
func compareFile(t *testing.T, path string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v; -update makes it", err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(string(got), "\n")); diff != "" {
		t.Errorf("%s: -want +got:\n%s", path, diff)
	}
}

// replay decodes a recording to a JSON array, one event on each line.
func replay(t *testing.T, path string) []byte {
	r, err := recording.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	header := r.Header()
	d := Decoder{Clock: Clock{Offset: header.BootToWall}}
	containers := map[uint64]*event.Container{}
	var lines []string
	for {
		entry, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if entry.Container != nil {
			containers[entry.Container.CgroupID] = entry.Container
			continue
		}
		e, err := d.Decode(entry.Raw)
		if err != nil {
			t.Fatalf("%s:%d: %v", path, r.Line(), err)
		}
		e.Container = containers[e.CgroupID]
		if exec, ok := e.Payload.(*event.Exec); ok {
			e.Process = imageProcess(header.BootID, e, &exec.Image)
		}
		line, err := event.AppendJSON(nil, &sensorv1.Record{Body: &sensorv1.Record_Event{Event: e.Proto(header.BootID)}})
		if err != nil {
			t.Fatalf("%s:%d: %v", path, r.Line(), err)
		}
		lines = append(lines, string(line))
	}
	return []byte("[\n" + strings.Join(lines, ",\n") + "\n]\n")
}

// imageProcess shows all that an exec record says of its process.
func imageProcess(bootID string, e *event.Event, i *event.Image) *event.Process {
	return &event.Process{
		ID: event.ProcessID(bootID, e.Actor), Key: e.Actor, ParentKey: e.Parent, Comm: e.Comm,
		Name: i.File.Name(), Exe: i.File, Args: event.Words(i.Args), ArgsCut: i.ArgsCut, ArgsBytes: i.ArgsBytes,
		CWD: i.CWD, Filename: i.Filename, Credentials: i.Credentials, Namespaces: i.Namespaces, NSPID: i.NSPID,
		SessionLeader: i.SessionPID, TTY: fmt.Sprintf("%d:%d", i.TTY>>20, i.TTY&(1<<20-1)), Stdio: i.Stdio,
	}
}
