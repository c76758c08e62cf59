package lab

import (
	"archive/tar"
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestNewer(t *testing.T) {
	for _, test := range []struct {
		a, b string
		want bool
	}{
		{"6.1.0-56-cloud-amd64", "6.1.0-9-cloud-amd64", true},
		{"6.1.0-9-cloud-amd64", "6.1.0-56-cloud-amd64", false},
		{"6.12.117+deb13-cloud-amd64", "6.12.98+deb13-cloud-amd64", true},
		{"7.2.13+deb14-cloud-amd64", "6.19.5+deb14-cloud-amd64", true},
		{"6.1.0-56-cloud-amd64", "6.1.0-56-cloud-amd64", false},
	} {
		if got := newer(test.a, test.b); got != test.want {
			t.Errorf("newer(%s, %s) = %v", test.a, test.b, got)
		}
	}
}

func TestUnknownLine(t *testing.T) {
	_, err := Fetch(t.Context(), "4.19", os.Stderr)
	if err == nil || !strings.Contains(err.Error(), "5.10, 6.1, 6.12, new") {
		t.Errorf("error %v does not name the lines", err)
	}
}

func TestParseFile(t *testing.T) {
	for text, want := range map[string]File{
		"a/b:/bin/b": {"a/b", "/bin/b"},
		"a/b":        {"a/b", "/root/b"},
	} {
		if got, err := ParseFile(text); err != nil || got != want {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
	if _, err := ParseFile(":/bin/b"); err == nil {
		t.Error("an empty source was accepted")
	}
}

func TestTreeRefusesHiddenTarget(t *testing.T) {
	i := &initrd{archive: newArchive(&bytes.Buffer{}), under: "/"}
	for _, target := range []string{"/tmp/x", "/proc/x", "run/x", "/out", "/bin/../dev/x"} {
		if err := i.tree(File{t.TempDir(), target}); err == nil || !strings.Contains(err.Error(), "hidden") {
			t.Errorf("%s: %v", target, err)
		}
	}
}

func TestQuote(t *testing.T) {
	if got, want := quote([]string{"a b", "it's", ""}), `'a b' 'it'\''s' ''`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestProgress(t *testing.T) {
	for _, test := range []struct {
		text          string
		started, done bool
		status        int
		bad           bool
	}{
		{text: ""},
		{text: "start\n", started: true},
		{text: "start\nexit 7\n", started: true, done: true, status: 7},
		{text: "start\nexit x\n", started: true, bad: true},
	} {
		p := &progress{}
		err := p.read(strings.NewReader(test.text))
		if p.started != test.started || p.done != test.done || p.status != test.status || (err != nil) != test.bad {
			t.Errorf("%q: %+v, %v", test.text, p, err)
		}
	}
}

func TestTailIsBounded(t *testing.T) {
	w := &tail{}
	for range 100 {
		if _, err := w.Write(bytes.Repeat([]byte("x"), tailBytes/8)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.Write([]byte("last words\n")); err != nil {
		t.Fatal(err)
	}
	if got := w.String(); len(got) > tailBytes || !strings.HasSuffix(got, "last words") || len(w.text) > 2*tailBytes {
		t.Errorf("%d bytes shown, %d kept", len(got), len(w.text))
	}
}

// stream makes a tar of regular files.
func stream(t *testing.T, files map[string]string) *bytes.Buffer {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for name, text := range files {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(text))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return &out
}

func TestExtract(t *testing.T) {
	dir := t.TempDir()
	if err := extract(filepath.Join(dir, "out"), stream(t, map[string]string{"./f": "text"})); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "out", "f"))
	if diff := cmp.Diff("text", string(text)); err != nil || diff != "" {
		t.Error(err, diff)
	}
	if err := extract(filepath.Join(dir, "out"), stream(t, map[string]string{"../escaped": "text"})); err == nil {
		t.Error("a name outside the folder was accepted")
	}
	if _, err := os.Stat(filepath.Join(dir, "escaped")); err == nil {
		t.Error("a file was written outside the folder")
	}
	if err := extract(filepath.Join(dir, "none"), strings.NewReader("")); err != nil {
		t.Errorf("an empty stream: %v", err)
	}
}
