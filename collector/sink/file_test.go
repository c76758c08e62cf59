package sink

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// number is a short [Format].
func number(dst []byte, r Revision) ([]byte, error) {
	return fmt.Appendf(dst, `{"n":%d}`, r.Position), nil
}

func revisions(from, to int) (batch []Revision) {
	for n := from; n <= to; n++ {
		batch = append(batch, Revision{Position: uint64(n), Alert: alertOf(n)})
	}
	return batch
}

func newFile(t *testing.T, o FileOptions) *File {
	t.Helper()
	if o.Format == nil {
		o.Format = number
	}
	f, err := NewFile(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() }) // the test is over
	return f
}

func deliver(t *testing.T, s Sink, batch []Revision) {
	t.Helper()
	if err := s.Deliver(t.Context(), batch); err != nil {
		t.Fatal(err)
	}
}

// numbers are those in a file, compressed or not.
func numbers(t *testing.T, path string) (all []int) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if strings.HasSuffix(path, ".gz") {
		z, err := gzip.NewReader(bytes.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		if text, err = io.ReadAll(z); err != nil {
			t.Fatal(err)
		}
	}
	for line := range bytes.Lines(text) {
		var v struct{ N int }
		if err := json.Unmarshal(line, &v); err != nil || !bytes.HasSuffix(line, []byte("\n")) {
			t.Fatalf("%s: line %q: %v", path, line, err)
		}
		all = append(all, v.N)
	}
	return all
}

func names(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestFileHasEachLineOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "alerts")
	f := newFile(t, FileOptions{Path: path})
	deliver(t, f, revisions(1, 3))
	deliver(t, f, revisions(4, 5))
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	// A crash cut a line, and the position of its batch was not saved.
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = file.WriteString(`{"n":6`)
	if err = errors.Join(err, file.Close()); err != nil {
		t.Fatal(err)
	}
	f = newFile(t, FileOptions{Path: path})
	deliver(t, f, revisions(4, 4))
	deliver(t, f, revisions(5, 7))
	if got := fmt.Sprint(numbers(t, path)); got != "[1 2 3 4 5 6 7]" {
		t.Errorf("lines %s", got)
	}
	deliver(t, f, revisions(7, 7)) // behind what the file began with nothing is compared
	if got := fmt.Sprint(numbers(t, path)); got != "[1 2 3 4 5 6 7 7]" || f.last != nil {
		t.Errorf("lines %s, %d remembered", got, len(f.last))
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o640 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

func TestFileRotates(t *testing.T) {
	for _, zip := range []bool{false, true} {
		dir, now := t.TempDir(), time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
		path := filepath.Join(dir, "alerts")
		f := newFile(t, FileOptions{Path: path, MaxBytes: 30, MaxAge: time.Hour, Keep: 3, Gzip: zip, Now: func() time.Time { return now }})
		suffix := map[bool]string{true: ".gz"}[zip]
		deliver(t, f, revisions(1, 3)) // 24 bytes
		now = now.Add(time.Second)
		deliver(t, f, revisions(4, 5)) // too many for that file
		now = now.Add(time.Hour)
		deliver(t, f, revisions(6, 6)) // too late for that one
		first := path + ".20260301T120001.000000000Z" + suffix
		second := path + ".20260301T130001.000000000Z" + suffix
		if got := fmt.Sprint(numbers(t, first), numbers(t, second), numbers(t, path)); got != "[1 2 3] [4 5] [6]" {
			t.Errorf("gzip %v: lines %s", zip, got)
		}
		for n := range 4 {
			now = now.Add(time.Hour)
			deliver(t, f, revisions(7+n, 7+n))
		}
		if got := names(t, dir); len(got) != 4 || slices.Contains(got, filepath.Base(second)) {
			t.Errorf("gzip %v: kept %v", zip, got)
		}
	}
}

func TestOldFileIsEndedAfterARestart(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "alerts")
	f := newFile(t, FileOptions{Path: path})
	deliver(t, f, revisions(1, 1))
	later := func() time.Time { return time.Now().Add(25 * time.Hour) }
	f = newFile(t, FileOptions{Path: path, Now: later})
	deliver(t, f, revisions(1, 2))
	if got := names(t, dir); len(got) != 2 || fmt.Sprint(numbers(t, path)) != "[2]" {
		t.Errorf("files %v, lines %v", got, numbers(t, path))
	}
}

func TestFileThatIsMovedAwayIsMadeAnew(t *testing.T) {
	path := filepath.Join(t.TempDir(), "alerts")
	f := newFile(t, FileOptions{Path: path})
	deliver(t, f, revisions(1, 2))
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	deliver(t, f, revisions(3, 4))
	if got := fmt.Sprint(numbers(t, path+".1"), numbers(t, path)); got != "[1 2] [3 4]" {
		t.Errorf("lines %s", got)
	}
	if err := os.Truncate(path, 0); err != nil { // as logrotate's copytruncate does
		t.Fatal(err)
	}
	deliver(t, f, revisions(5, 5))
	if got := fmt.Sprint(numbers(t, path)); got != "[5]" {
		t.Errorf("lines %s", got)
	}
}

func TestFullDiskLeavesNoHalfLines(t *testing.T) {
	path := filepath.Join(t.TempDir(), "alerts")
	f := newFile(t, FileOptions{Path: path})
	deliver(t, f, revisions(1, 2))
	// A limit on the file's size fails a write in its middle, as a full disk does.
	var before unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_FSIZE, &before); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: 20, Max: before.Max}); err != nil {
		t.Fatal(err)
	}
	err := f.Deliver(t.Context(), revisions(3, 9))
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &before); err != nil {
		t.Fatal(err)
	}
	if !errors.Is(err, unix.EFBIG) {
		t.Errorf("delivered with %v", err)
	}
	if got := fmt.Sprint(numbers(t, path)); got != "[1 2]" {
		t.Errorf("lines %s", got)
	}
	deliver(t, f, revisions(3, 4))
	if got := fmt.Sprint(numbers(t, path)); got != "[1 2 3 4]" {
		t.Errorf("lines %s", got)
	}
}

func TestWhatIsNoFile(t *testing.T) {
	dir := t.TempDir()
	if _, err := NewFile(FileOptions{Path: "alerts"}); err == nil {
		t.Error("a path that is not absolute is taken")
	}
	pipe := filepath.Join(dir, "pipe")
	if err := unix.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{dir: "is a directory", pipe: "no regular file", filepath.Join(dir, "a", "b"): "no such file"} {
		if err := newFile(t, FileOptions{Path: path}).Deliver(t.Context(), revisions(1, 1)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", path, err)
		}
	}
	bad := func([]byte, Revision) ([]byte, error) { return nil, errors.New("no text") }
	var refused *RefusedError
	if err := newFile(t, FileOptions{Path: filepath.Join(dir, "alerts"), Format: bad}).Deliver(t.Context(), revisions(1, 1)); !errors.As(err, &refused) {
		t.Errorf("what has no form: %v", err)
	}
}

// killedFolder, set, makes the test binary a collector's sink that is to be killed.
const killedFolder = "SEAWALL_TEST_SINK"

func TestMain(m *testing.M) {
	if dir := os.Getenv(killedFolder); dir != "" {
		runUntilKilled(dir)
		return
	}
	os.Exit(m.Run())
}

// cursorFile is a source without end whose cursor is on disk.
type cursorFile struct {
	*memory
	path string
}

func (c cursorFile) Cursor(context.Context, string, string) (position uint64, known bool, err error) {
	text, err := os.ReadFile(c.path)
	if errors.Is(err, os.ErrNotExist) {
		return 0, false, nil
	}
	_, err = fmt.Sscan(string(text), &position)
	return position, true, err
}

func (c cursorFile) MoveCursor(_ context.Context, _, _ string, position uint64) error {
	if err := os.WriteFile(c.path+".new", fmt.Append(nil, position), 0o600); err != nil {
		return err
	}
	if err := os.Rename(c.path+".new", c.path); err != nil {
		return err
	}
	_, err := fmt.Fprintln(os.Stdout, position)
	return err
}

func runUntilKilled(dir string) {
	t := new(testing.T)
	source := cursorFile{newMemory(20000), filepath.Join(dir, "cursor")}
	f, err := NewFile(FileOptions{Path: filepath.Join(dir, "alerts"), Format: number, MaxBytes: 20000, Keep: 1000, NoSync: true})
	if err != nil {
		panic(err)
	}
	start(t, Options{Source: source, Sink: f, BatchRevisions: 7})
	select {}
}

// The process dies between line, acknowledgement and position, anywhere.
func TestKilledSinkGoesOnWithEachLineOnce(t *testing.T) {
	dir := t.TempDir()
	var saved int
	for round := range 12 {
		child := exec.CommandContext(t.Context(), os.Args[0])
		child.Env = append(os.Environ(), killedFolder+"="+dir)
		out, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for range 10 + 13*round {
			if !lines.Scan() {
				t.Fatal("the sink ended")
			}
		}
		_ = child.Process.Kill() // it has not ended
		for {
			if _, err := fmt.Sscan(lines.Text(), &saved); err != nil {
				t.Fatal(err)
			}
			if !lines.Scan() {
				break
			}
		}
		_ = child.Wait() // killed
	}
	// Once more, to the end of what is known to be saved, and in order.
	f := newFile(t, FileOptions{Path: filepath.Join(dir, "alerts"), MaxBytes: 1 << 20})
	deliver(t, f, revisions(saved+1, saved+20))
	var all []int
	for _, name := range names(t, dir) {
		if strings.HasPrefix(name, "alerts.") {
			all = append(all, numbers(t, filepath.Join(dir, name))...)
		}
	}
	all = append(all, numbers(t, filepath.Join(dir, "alerts"))...)
	if len(all) < saved+20 || saved < 500 {
		t.Errorf("%d lines, %d saved", len(all), saved)
	}
	for i, n := range all {
		if n != i+1 {
			t.Fatalf("line %d is of revision %d", i+1, n)
		}
	}
}
