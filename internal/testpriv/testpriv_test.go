package testpriv

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// outcome is how a test ended.
type outcome struct {
	verdict string // "went on", "skipped" or "failed"
	reason  string
}

// recorder is a testing.TB that records its end instead of passing it on.
type recorder struct {
	testing.TB
	ended outcome
}

func (r *recorder) Helper() {}

func (r *recorder) Skipf(format string, args ...any) {
	r.ended = outcome{"skipped", fmt.Sprintf(format, args...)}
	runtime.Goexit()
}

func (r *recorder) Fatalf(format string, args ...any) {
	r.ended = outcome{"failed", fmt.Sprintf(format, args...)}
	runtime.Goexit()
}

// play runs body as a test and says how it ended.
func play(t *testing.T, body func(testing.TB)) outcome {
	t.Helper()
	r := &recorder{TB: t, ended: outcome{verdict: "went on"}}
	done := make(chan struct{})
	go func() {
		defer close(done)
		body(r)
	}()
	<-done
	return r.ended
}

func TestLacking(t *testing.T) {
	refused := errors.New("operation not permitted")
	for _, test := range []struct {
		name   string
		ci     string
		body   func(testing.TB)
		want   string
		reason string
	}{
		{"program on a laptop", "", func(t testing.TB) { Program(t, "no-such-program") }, "skipped", "no-such-program"},
		{"program in CI", "true", func(t testing.TB) { Program(t, "no-such-program") }, "failed", "make setup"},
		{"program, CI=1", "1", func(t testing.TB) { Program(t, "no-such-program") }, "failed", "make setup"},
		{"program, CI=false", "false", func(t testing.TB) { Program(t, "no-such-program") }, "skipped", "make setup"},
		{"program, CI means something else", "travis", func(t testing.TB) { Program(t, "no-such-program") }, "skipped", "make setup"},
		{"build on a laptop", "", func(t testing.TB) { Built(t, "build/no-such", "make no-such") }, "skipped", "run make no-such"},
		{"build in CI", "true", func(t testing.TB) { Built(t, "build/no-such", "make no-such") }, "failed", "no-such"},
		{"build is there", "true", func(t testing.TB) { Built(t, "testpriv.go", "make no-such") }, "went on", ""},
		{"feature on a laptop", "", func(t testing.TB) { Feature(t, "BPF LSM", refused) }, "skipped", "operation not permitted"},
		{"feature in CI", "true", func(t testing.TB) { Feature(t, "BPF LSM", refused) }, "failed", "BPF LSM"},
		{"feature is there", "true", func(t testing.TB) { Feature(t, "BPF LSM", nil) }, "went on", ""},
		{"program is there", "true", func(t testing.TB) { Program(t, "sh") }, "went on", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Setenv("CI", test.ci)
			got := play(t, test.body)
			if got.verdict != test.want || !strings.Contains(got.reason, test.reason) {
				t.Errorf("%s (%q), want %s with %q", got.verdict, got.reason, test.want, test.reason)
			}
		})
	}
}

func TestRoot(t *testing.T) {
	want := map[bool]map[string]string{
		true:  {"": "went on", "true": "went on"},
		false: {"": "skipped", "true": "failed"},
	}[os.Geteuid() == 0]
	for ci, verdict := range want {
		t.Setenv("CI", ci)
		if got := play(t, func(t testing.TB) { Root(t) }); got.verdict != verdict {
			t.Errorf("CI=%q: %s (%q), want %s", ci, got.verdict, got.reason, verdict)
		}
	}
}

func TestProgramPath(t *testing.T) {
	folder := t.TempDir()
	program := filepath.Join(folder, "seawall-test-program")
	if err := os.WriteFile(program, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	plain := filepath.Join(folder, "plain-file")
	if err := os.WriteFile(plain, nil, 0o644); err != nil {
		t.Fatal(err)
	}

	if got, ok := find("seawall-test-program", folder); !ok || got != program {
		t.Errorf("outside PATH: %q, %v, want %q", got, ok, program)
	}
	if got, ok := find("plain-file", folder); ok {
		t.Errorf("a file that cannot be executed was taken for a program: %q", got)
	}
	t.Setenv("PATH", folder)
	if got := Program(t, "seawall-test-program"); got != program {
		t.Errorf("in PATH: %q, want %q", got, program)
	}
}
