package whole

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

const (
	markRule   = "whole-mark"
	markPrefix = "mark-"
	// Every mark is an executable of its own name, so that each is an alert of its own.
	markRules = `rules:
  - id: ` + markRule + `
    title: Marked program
    description: What the test did.
    severity: high
    kinds: [process_exec]
    condition: process.name.startsWith("` + markPrefix + `")
    summary: process.name + " ran"
`
)

// act is one thing that was done, and when.
type act struct {
	mark         string
	began, ended time.Time
}

// actor does countable things.
type actor struct {
	t       testing.TB
	dir     string
	program string

	mu   sync.Mutex
	acts []act
}

func newActor(t testing.TB, dir string) *actor {
	t.Helper()
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile("/bin/true")
	if err != nil {
		t.Fatal(err)
	}
	a := &actor{t: t, dir: dir, program: filepath.Join(dir, "quiet")}
	if err := os.WriteFile(a.program, program, 0o700); err != nil {
		t.Fatal(err)
	}
	return a
}

// act runs one marked program and returns its mark.
func (a *actor) act(ctx context.Context) string {
	a.mu.Lock()
	mark := fmt.Sprintf("%s%06d", markPrefix, len(a.acts)+1)
	number := len(a.acts)
	a.acts = append(a.acts, act{mark: mark, began: time.Now()})
	a.mu.Unlock()
	path := filepath.Join(a.dir, mark)
	err := os.Link(a.program, path)
	if err == nil {
		// Not bound to ctx: what has begun is done.
		err = errors.Join(exec.CommandContext(context.WithoutCancel(ctx), path).Run(), os.Remove(path))
	}
	if err != nil {
		a.t.Errorf("act: %v", err)
	}
	a.mu.Lock()
	a.acts[number].ended = time.Now()
	a.mu.Unlock()
	return mark
}

// run acts until ctx ends, and does unmarked things between.
func (a *actor) run(ctx context.Context, every time.Duration) {
	pace := time.NewTicker(every)
	defer pace.Stop()
	for {
		select {
		case <-pace.C:
			a.act(ctx)
			if err := exec.CommandContext(context.WithoutCancel(ctx), a.program).Run(); err != nil {
				a.t.Errorf("act: %v", err)
			}
		case <-ctx.Done():
			return
		}
	}
}

func (a *actor) done() []act {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]act(nil), a.acts...)
}

func quote(text string) string {
	out, err := json.Marshal(text) // YAML's double quotes are JSON's
	if err != nil {
		panic(err)
	}
	return string(out)
}
