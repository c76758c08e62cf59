package recording

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/seawall-security/seawall/internal/event"
)

var sampleHeader = Header{
	Version: Version, Release: "6.1.0-test", Arch: "arm64", BootID: "b", BootToWall: 1_795_000_000 * time.Second,
	Host: Namespaces{Mount: 1, PID: 2, Net: 3, User: 4, UTS: 5, IPC: 6, Cgroup: 7}, Hierarchy: "v2",
	Made: "test", Note: "nothing real", Rungs: map[string]string{"exec": "tp_btf"},
}

var sampleEntries = []Entry{
	{Ring: Seed, Raw: []byte{0, 1, 2}},
	{Container: &event.Container{
		ID: "c", Runtime: "containerd", RuntimeNamespace: "k8s.io", Name: "web", Image: "i", ImageDigest: "sha256:0",
		Created: time.Unix(1_795_000_000, 5).UTC(), PodName: "p", PodNamespace: "n", PodUID: "u",
		Labels: map[string]string{"a": "<b>"}, CgroupID: 1 << 63, CgroupPath: "/x",
	}},
	{Ring: Decisive, Raw: bytes.Repeat([]byte{255}, MaxRecordBytes)},
	{Container: &event.Container{ID: "d"}},
	{Ring: Bulk, Raw: []byte("x")},
}

func write(t testing.TB, header Header, entries []Entry) []byte {
	var b bytes.Buffer
	w, err := NewWriter(&b, header)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Container != nil {
			err = w.Container(e.Container)
		} else {
			err = w.Record(e.Ring, e.Raw)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

func readAll(r *Reader) ([]Entry, error) {
	var entries []Entry
	for {
		e, err := r.Next()
		if errors.Is(err, io.EOF) {
			return entries, nil
		}
		if err != nil {
			return entries, err
		}
		entries = append(entries, e)
	}
}

func TestReadsBackWhatWasWritten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.jsonl")
	if err := os.WriteFile(path, write(t, sampleHeader, sampleEntries), 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(sampleHeader, r.Header()); diff != "" {
		t.Errorf("header: -want +got:\n%s", diff)
	}
	entries, err := readAll(r)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(sampleEntries, entries); diff != "" {
		t.Errorf("entries: -want +got:\n%s", diff)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
}

func TestReaderNamesFileAndLine(t *testing.T) {
	header := strings.TrimSuffix(string(write(t, sampleHeader, nil)), "\n")
	tests := []struct{ name, text, says string }{
		{"empty", "", "f: no header"},
		{"no JSON", "hello\n", "f:1: parse header: "},
		{"another version", `{"version":2,"boot_id":"b"}`, "f:1: parse header: version 2 is not 1"},
		{"no boot id", `{"version":1}`, "f:1: parse header: boot_id is missing"},
		{"unknown header field", `{"version":1,"boot_id":"b","x":1}`, `f:1: parse header: json: unknown field "x"`},
		{"unknown ring", header + "\n" + `{"ring":"other","raw":"AA=="}`, `f:2: no ring "other"`},
		{"no raw", header + "\n" + `{"ring":"bulk"}`, "f:2: record of 0 bytes"},
		{"bad base64", header + "\n" + `{"ring":"bulk","raw":"*"}`, "f:2: illegal base64"},
		{"empty line", header + "\n\n", "f:2: empty line"},
		{"half a line", header + "\n" + `{"ring":`, "f:2: unexpected EOF"},
		{"both", header + "\n" + `{"ring":"bulk","raw":"AA==","container":{"id":"x"}}`, "f:2: a record and a container"},
		{"unknown field", header + "\n" + `{"ring":"bulk","raw":"AA==","y":1}`, `f:2: json: unknown field "y"`},
		{"two in a line", header + "\n" + `{"ring":"bulk","raw":"AA=="}{}`, "f:2: more than one value"},
		{"record too long", header + "\n" + `{"ring":"bulk","raw":"` + strings.Repeat("AAAA", MaxRecordBytes/3+1) + `"}`, "f:2: record of 32769 bytes"},
		{"line too long", header + "\n" + strings.Repeat(" ", MaxLineBytes+1) + "\n", "f:2: line is longer"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r, err := NewReader(strings.NewReader(test.text), "f")
			if err == nil {
				_, err = readAll(r)
			}
			if err == nil || !strings.HasPrefix(err.Error(), test.says) {
				t.Errorf("got %v, want %s", err, test.says)
			}
		})
	}
}

func TestReaderPassesOnReadErrors(t *testing.T) {
	broken := errors.New("disk on fire")
	in := io.MultiReader(bytes.NewReader(write(t, sampleHeader, nil)), failing{broken})
	r, err := NewReader(in, "f")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Next(); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error)  { return 0, f.err }
func (f failing) Write([]byte) (int, error) { return 0, f.err }

func TestOpenMissing(t *testing.T) {
	if _, err := Open(filepath.Join(t.TempDir(), "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

func TestWriterRefusesWhatCannotBeReadBack(t *testing.T) {
	w, err := NewWriter(io.Discard, sampleHeader)
	if err != nil {
		t.Fatal(err)
	}
	for name, err := range map[string]error{
		"ring":      w.Record("other", []byte{1}),
		"empty":     w.Record(Bulk, nil),
		"too long":  w.Record(Bulk, make([]byte, MaxRecordBytes+1)),
		"container": w.Container(&event.Container{Name: strings.Repeat("n", MaxLineBytes)}),
	} {
		if err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if _, err := NewWriter(io.Discard, Header{}); err == nil {
		t.Error("header without boot id: no error")
	}
	broken := errors.New("disk full")
	if _, err := NewWriter(failing{broken}, sampleHeader); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
}

func TestHeaderHostConverts(t *testing.T) {
	if got := event.Namespaces(sampleHeader.Host); got != (event.Namespaces{Mount: 1, PID: 2, Net: 3, User: 4, UTS: 5, IPC: 6, Cgroup: 7}) {
		t.Errorf("got %+v", got)
	}
}

// FuzzReader: what a Reader takes, a Writer writes so that it reads the same.
func FuzzReader(f *testing.F) {
	f.Add(write(f, sampleHeader, sampleEntries[:2]))
	f.Add([]byte(`{"version":1,"boot_id":"b"}` + "\n" + `{"container":{}}`))
	f.Add([]byte(`{"version":1,"boot_id":"b","rungs":{}}` + "\n" + `{"container":{"labels":{},"created":"2026-01-01T00:00:00+05:00"}}`))
	f.Add([]byte(`{"version":1}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := NewReader(bytes.NewReader(text), "f")
		if err != nil {
			return
		}
		entries, err := readAll(r)
		if err != nil {
			return
		}
		again, err := NewReader(bytes.NewReader(write(t, r.Header(), entries)), "f")
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(r.Header(), again.Header(), cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("header: -first +again:\n%s", diff)
		}
		reread, err := readAll(again)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(entries, reread, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("entries: -first +again:\n%s", diff)
		}
	})
}
