package lab

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/seawall-security/seawall/internal/testpriv"
)

type member struct {
	Name    string
	Mode    uint32
	Content string
}

// readArchive reads a newc archive by the format's description, apart from the writer.
func readArchive(data []byte) ([]member, error) {
	var all []member
	for at := 0; ; {
		if len(data)-at < 110 || string(data[at:at+6]) != "070701" {
			return all, fmt.Errorf("no header at %d", at)
		}
		field := func(n int) int {
			v, err := strconv.ParseUint(string(data[at+6+8*n:at+14+8*n]), 16, 32)
			if err != nil {
				return -1
			}
			return int(v)
		}
		mode, size, name := field(1), field(6), field(11)
		begin := (at + 110 + name + 3) &^ 3
		m := member{string(data[at+110 : at+110+name-1]), uint32(mode), string(data[begin : begin+size])}
		if m.Name == "TRAILER!!!" {
			return all, nil
		}
		all = append(all, m)
		at = (begin + size + 3) &^ 3
	}
}

func example(t *testing.T) []byte {
	t.Helper()
	var out bytes.Buffer
	a := newArchive(&out)
	if err := errors.Join(
		a.text("init", 0o755, "#!/bin/sh\n"),
		a.text("/deep/er/file", 0o600, "12345"),
		a.directory("deep/er", 0o700), // exists: left alone
		a.directory("empty", 0o1777),
		a.symlink("deep/link", "../init"),
		a.text("nothing", 0o644, ""),
		a.close(),
	); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestArchiveRoundTrip(t *testing.T) {
	data := example(t)
	got, err := readArchive(data)
	if err != nil {
		t.Fatal(err)
	}
	want := []member{
		{"init", 0o100755, "#!/bin/sh\n"},
		{"deep", 0o040755, ""},
		{"deep/er", 0o040755, ""},
		{"deep/er/file", 0o100600, "12345"},
		{"empty", 0o041777, ""},
		{"deep/link", 0o120777, "../init"},
		{"nothing", 0o100644, ""},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if !bytes.Equal(data, example(t)) {
		t.Error("the same input gave other bytes")
	}
}

func TestArchiveReadByBusybox(t *testing.T) {
	busybox := testpriv.Program(t, "busybox")
	dir := t.TempDir()
	c := exec.Command(busybox, "cpio", "-i", "-d")
	c.Dir, c.Stdin = dir, bytes.NewReader(example(t))
	if _, err := output(c); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "deep/er/file"))
	if err != nil || string(text) != "12345" {
		t.Errorf("read %q, %v", text, err)
	}
	if target, err := os.Readlink(filepath.Join(dir, "deep/link")); err != nil || target != "../init" {
		t.Errorf("link to %q, %v", target, err)
	}
}

func TestArchiveRefusesShortFile(t *testing.T) {
	a := newArchive(io.Discard)
	if err := a.file("f", 0o644, 10, strings.NewReader("short")); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a file that shrank gave %v", err)
	}
	if err := a.file("f", 0o644, 1<<33, strings.NewReader("")); err == nil {
		t.Error("a file beyond 4 GiB was accepted")
	}
}
