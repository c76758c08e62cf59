package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/seawall-security/seawall/internal/event"
	"github.com/seawall-security/seawall/internal/testpriv"
)

// program is the actor as users build it. It cannot be the test binary: actors
// run copies of themselves with no environment to tell them what they are.
var program string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "attack-test-")
	if err != nil {
		panic(err)
	}
	program = filepath.Join(dir, "attack")
	build := exec.Command("go", "build", "-trimpath", "-o", program, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		panic(err)
	}
	status := m.Run()
	if err := os.RemoveAll(dir); err != nil {
		panic(err)
	}
	os.Exit(status)
}

// perform runs an action and returns its reports and its exit status.
func perform(t *testing.T, dir string, args ...string) ([]report, int) {
	t.Helper()
	var stderr bytes.Buffer
	c := exec.Command(program, append([]string{"-dir", dir}, args...)...)
	c.Stderr = &stderr
	out, err := c.Output()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if stderr.Len() > 0 && c.ProcessState.ExitCode() == 0 {
		t.Errorf("stderr: %s", &stderr)
	}
	var all []report
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var r report
		err := d.Decode(&r)
		if errors.Is(err, io.EOF) {
			return all, c.ProcessState.ExitCode()
		}
		if err != nil {
			t.Fatalf("output %q: %v", out, err)
		}
		all = append(all, r)
	}
}

// must runs an action that has to work, in a folder it has to leave empty.
func must(t *testing.T, args ...string) report {
	t.Helper()
	dir := t.TempDir()
	all, status := perform(t, dir, args...)
	if status != statusOK || len(all) != 1 || all[0].Result != "ok" || all[0].Action != args[0] {
		t.Fatalf("%q: status %d, %+v", args, status, all)
	}
	if all[0].PID != all[0].TID {
		t.Errorf("%q ran on thread %d of %d, not on the main one", args, all[0].TID, all[0].PID)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("%q left %v, %v", args, left, err)
	}
	return all[0]
}

func TestCounts(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("12345"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		args string
		want map[string]int
	}{
		{"exec -n 3", map[string]int{"forks": 3, "execs": 3}},
		{"exec -n 3 -child tiny", map[string]int{"forks": 3, "execs": 3, "creates": 1, "unlinks": 1}},
		{"burst-args", map[string]int{"forks": 1, "execs": 1, "args_bytes": 1 << 20}},
		{"burst-args 100001", map[string]int{"forks": 1, "execs": 1, "args_bytes": 100001}},
		{"storm -opens 1001 -execs 5", map[string]int{"creates": 1, "unlinks": 1, "opens_read": 501, "opens_write": 500, "forks": 5, "execs": 5}},
		{"memfd-exec", map[string]int{"memfds": 1, "opens_read": 1, "execs": 1}},
		{"deleted-exec", map[string]int{"creates": 1, "unlinks": 1, "opens_read": 2, "execs": 1}},
		{"create -text hello", map[string]int{"creates": 1, "unlinks": 1}},
		{"open-write", map[string]int{"creates": 1, "unlinks": 1, "opens_write": 1}},
		{"open-write " + file, map[string]int{"opens_write": 1}},
		{"read " + file, map[string]int{"opens_read": 1, "read_bytes": 5}},
		{"rename", map[string]int{"creates": 1, "unlinks": 1, "renames": 1}},
		{"deep-rename", map[string]int{"creates": 1, "unlinks": 1, "renames": 1}},
		{"deep-rename -cwd 4095 -text 4095", map[string]int{"creates": 1, "unlinks": 1, "renames": 1}},
		{"crowd -threads 3 -opens 100", map[string]int{"creates": 3, "unlinks": 3, "opens_read": 300}},
		{"unlink", map[string]int{"creates": 1, "unlinks": 1}},
		{"chmod -mode 0700", map[string]int{"creates": 1, "unlinks": 1, "chmods": 1}},
		{"bad-path", map[string]int{"creates": 4, "unlinks": 4, "opens_read": 4}},
		{"accept", map[string]int{"connects": 2, "accepts": 2}},
		{"accept -4", map[string]int{"connects": 1, "accepts": 1}},
		{"mprotect", map[string]int{"mmaps": 1, "mprotects": 1}},
		{"mprotect -behind", map[string]int{"mmaps": 1, "mprotects": 2}},
		{"read-implies-exec", map[string]int{"mmaps": 1, "mprotects": 1}},
		{"mmap-wx", map[string]int{"mmaps": 1}},
		{"mmap-memfd-exec", map[string]int{"memfds": 1, "mmaps": 1}},
	} {
		t.Run(test.args, func(t *testing.T) {
			r := must(t, strings.Fields(test.args)...)
			if diff := cmp.Diff(test.want, r.Counts); diff != "" {
				t.Error(diff)
			}
		})
	}
	if text, err := os.ReadFile(file); err != nil || string(text) != "12345" {
		t.Errorf("a file that is not the actor's own was changed: %q, %v", text, err)
	}
}

// traced runs an action under strace and returns the lines of its system calls.
func traced(t *testing.T, calls string, args ...string) string {
	t.Helper()
	strace := testpriv.Program(t, "strace")
	log := filepath.Join(t.TempDir(), "log")
	c := exec.Command(strace, append([]string{"-f", "-qq", "-e", "signal=none", "-e", "trace=" + calls, "-o", log, program, "-dir", t.TempDir()}, args...)...)
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	text, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestStormByStrace holds the counts against what another program saw.
func TestStormByStrace(t *testing.T) {
	log := traced(t, "openat,execve", "storm", "-opens", "100", "-execs", "7", "-child", "tiny")
	for what, want := range map[string]int{"O_RDONLY|O_CLOEXEC) =": 50, "O_WRONLY|O_CLOEXEC) =": 50, "execve(": 8} {
		got := 0
		for line := range strings.Lines(log) {
			if strings.Contains(line, what) && (what == "execve(" || strings.Contains(line, "/attack-")) {
				got++
			}
		}
		if got != want {
			t.Errorf("%d times %q, want %d", got, what, want)
		}
	}
}

// TestUnusualOpensByStrace proves that the side doors are used: the file is
// opened although no system call names it.
func TestUnusualOpensByStrace(t *testing.T) {
	file := filepath.Join(t.TempDir(), "side-door")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if log := traced(t, "openat", "io_uring-open", file); strings.Contains(log, "side-door") {
		t.Errorf("io_uring-open used openat:\n%s", log)
	}
	if log := traced(t, "openat", "compat-open", file); strings.Contains(log, "openat(AT_FDCWD, \""+file) {
		t.Errorf("compat-open used openat:\n%s", log)
	}
}

func TestSideDoors(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("12345"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"compat-open", "wide-open", "io_uring-open"} {
		all, status := perform(t, t.TempDir(), name, file)
		if len(all) != 1 {
			t.Fatalf("%s: status %d, %+v", name, status, all)
		}
		if status != statusOK {
			testpriv.Feature(t, name, errors.New(all[0].Result))
		}
		if all[0].Counts["opens_read"] != 1 {
			t.Errorf("%s: %+v", name, all[0])
		}
		if r := must(t, name, "-write", file); r.Counts["opens_write"] != 1 {
			t.Errorf("%s -write: %+v", name, r)
		}
		if all, status := perform(t, t.TempDir(), name, file+"-missing"); status != statusFailed || all[0].Errno != int(syscall.ENOENT) {
			t.Errorf("%s of a missing file: status %d, %+v", name, status, all)
		}
	}
}

// TestAgain: one process, two programs, the same act in both.
func TestAgain(t *testing.T) {
	all, status := perform(t, t.TempDir(), "mprotect", "-again")
	if status != statusOK || len(all) != 2 || all[0].PID != all[1].PID || all[0].Counts["mprotects"] != 1 || all[1].Counts["mprotects"] != 1 {
		t.Errorf("status %d, %+v", status, all)
	}
}

// TestBusy: others map and unmap while the page is protected.
func TestBusy(t *testing.T) {
	if r := must(t, "mprotect", "-busy", "2"); r.Counts["mprotects"] != 1 || r.Counts["mmaps"] < 2 {
		t.Errorf("%+v", r)
	}
}

func TestKeep(t *testing.T) {
	for _, test := range []struct {
		args []string
		name string
		mode os.FileMode
	}{
		{[]string{"create", "-name", "shell.php", "-text", "<?php", "-mode", "0644", "-keep"}, "shell.php", 0o644},
		{[]string{"rename", "-name", "a", "-to", "b", "-keep"}, "b", 0o600},
		{[]string{"chmod", "-name", "run", "-mode", "0755", "-keep"}, "run", 0o755},
	} {
		dir := t.TempDir()
		if all, status := perform(t, dir, test.args...); status != statusOK {
			t.Errorf("%q: status %d, %+v", test.args, status, all)
		}
		info, err := os.Stat(filepath.Join(dir, test.name))
		if err != nil || info.Mode().Perm() != test.mode {
			t.Errorf("%q: %v, %v", test.args, info, err)
		}
		// A second time the name exists, and what exists is not touched.
		if all, status := perform(t, dir, append(test.args, "-keep")...); test.name != "b" && (status != statusFailed || all[0].Errno != int(syscall.EEXIST)) {
			t.Errorf("%q again: status %d, %+v", test.args, status, all)
		}
	}
}

func TestRefusals(t *testing.T) {
	sequenceFile := filepath.Join(t.TempDir(), "nested")
	if err := os.WriteFile(sequenceFile, []byte(`[["sequence","x"]]`), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		args   []string
		status int
	}{
		{nil, statusUsage},
		{[]string{"no-such-action"}, statusUsage},
		{[]string{"exec", "-nonsense"}, statusUsage},
		{[]string{"exec", "-child", "large"}, statusUsage},
		{[]string{"read"}, statusUsage},
		{[]string{"burst-args", "5"}, statusUsage},
		{[]string{"chmod", "-mode", "4755"}, statusUsage}, // set-user-id
		{[]string{"connect", "localhost:1"}, statusUsage}, // a name, not an address
		{[]string{"reverse-shell", "8.8.8.8:443", "sh"}, statusUsage},
		{[]string{"deep-rename", "-cwd", "5"}, statusUsage},
		{[]string{"deep-rename", "-text", "4096"}, statusUsage},
		{[]string{"crowd", "-threads", "27"}, statusUsage},
		{[]string{"sequence", sequenceFile}, statusUsage},
		{[]string{"knob", "/etc/passwd"}, statusFailed},
		{[]string{"read", "/dev/null"}, statusFailed},
		{[]string{"open-write", "/dev/null"}, statusFailed},
		{[]string{"connect-unix", "@seawall-nobody-listens"}, statusFailed},
		{[]string{"setns", "/no/such/namespace"}, statusFailed},
	} {
		all, status := perform(t, t.TempDir(), test.args...)
		if status != test.status || (status == statusUsage && len(all) > 0) || (status == statusFailed && all[0].Result == "ok") {
			t.Errorf("%q: status %d, %+v", test.args, status, all)
		}
	}
}

func TestBadPathNames(t *testing.T) {
	r := must(t, "bad-path")
	if !r.Escaped || len(r.Paths) != 4 || !strings.HasSuffix(r.Paths[0], "new\nline") ||
		!strings.HasSuffix(r.Paths[1], `invalid-\xff\xfe-utf8`) || !strings.HasSuffix(r.Paths[2], `back\\slash`) {
		t.Errorf("%+v", r)
	}
	for _, text := range []string{"plain", "new\nline", "\xff\xfe", `a\b`, "é\xc3"} {
		if got, want := escape(text), event.Escape(text); got != want {
			t.Errorf("escape(%q) = %q, want %q", text, got, want)
		}
	}
}

func TestKnob(t *testing.T) {
	testpriv.Root(t)
	const name = "/proc/sys/kernel/core_pattern"
	before, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	must(t, "knob", name)
	if after, err := os.ReadFile(name); err != nil || !bytes.Equal(before, after) {
		t.Errorf("knob was %q, is %q, %v", before, after, err)
	}
}

func TestReverseShell(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	got := make(chan string, 1)
	go func() { // ends with the connection, which ends with the actor
		defer close(got)
		c, err := listener.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		text, err := io.ReadAll(c)
		if err == nil {
			got <- string(text)
		}
	}()
	r := must(t, "reverse-shell", listener.Addr().String(), program, "noop", "-say", "hello")
	if text := <-got; text != "hello\n" {
		t.Errorf("the other end got %q", text)
	}
	if len(r.Flows) != 1 || r.Flows[0].Remote != listener.Addr().String() || r.Counts["execs"] != 1 {
		t.Errorf("%+v", r)
	}
}

func TestConnect(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	if r := must(t, "connect", listener.Addr().String()); r.Counts["connects"] != 1 || r.Flows[0].Remote != listener.Addr().String() {
		t.Errorf("%+v", r)
	}
	path := filepath.Join(t.TempDir(), "socket")
	local, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer local.Close()
	if r := must(t, "connect-unix", path); r.Counts["connects"] != 1 || !slices.Equal(r.Paths, []string{path}) {
		t.Errorf("%+v", r)
	}
}

func TestSetns(t *testing.T) {
	testpriv.Root(t)
	holder := exec.Command("sleep", "1000")
	holder.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS | syscall.CLONE_NEWUTS | syscall.CLONE_NEWPID, Pdeathsig: syscall.SIGKILL,
	}
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = holder.Process.Kill(), holder.Wait() }()
	args := []string{"setns"}
	for _, kind := range []string{"net", "mnt", "uts", "pid"} {
		args = append(args, filepath.Join("/proc", strconv.Itoa(holder.Process.Pid), "ns", kind))
	}
	if r := must(t, args...); r.Counts["setns"] != 4 {
		t.Errorf("%+v", r)
	}
}

func TestSequence(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(t.TempDir(), "sequence.json")
	if err := os.WriteFile(file, []byte(`[["mprotect"],["read","/no/such/file"],["exec","-n","2"]]`), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		args []string
		want []string
		runs int
	}{
		{[]string{"sequence", file}, []string{"mprotect", "read", "sequence"}, 2},
		{[]string{"sequence", "-keep-going", file}, []string{"mprotect", "read", "exec", "sequence"}, 3},
	} {
		all, status := perform(t, dir, test.args...)
		var names []string
		for _, r := range all {
			names = append(names, r.Action)
		}
		last := all[len(all)-1]
		if status != statusFailed || !slices.Equal(names, test.want) || last.Counts["failed"] != 1 || last.Counts["actions"] != test.runs {
			t.Errorf("%q: status %d, %v, %+v", test.args, status, names, last)
		}
		if all[0].PID == last.PID || all[0].PID != last.Children[0] {
			t.Errorf("%q: action in process %d, children %v of %d", test.args, all[0].PID, last.Children, last.PID)
		}
	}
}

// TestEveryActionIsExplained keeps the list honest.
func TestEveryActionIsExplained(t *testing.T) {
	seen := map[string]bool{}
	for _, a := range actions() {
		if name, _, _ := strings.Cut(a.usage, " "); name != a.name || seen[name] || a.does == "" || a.harmless == "" || a.run == nil {
			t.Errorf("action %q is listed badly", a.name)
		}
		seen[a.name] = true
	}
}

func FuzzSequence(f *testing.F) {
	f.Add([]byte(`[["exec","-n","3"],["mprotect"]]`))
	f.Add([]byte(`[["sequence","-"]]`))
	f.Add([]byte(`[[]]`))
	f.Add([]byte(`{}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		steps, err := parseSequence(text)
		if err != nil {
			return
		}
		for _, step := range steps {
			if _, found := findAction(step[0]); !found || step[0] == "sequence" {
				t.Errorf("%q was let through", step)
			}
		}
	})
}
