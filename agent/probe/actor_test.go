package probe

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// report is what an actor of tools/attack says it did.
type report struct {
	PID     uint32         `json:"pid"`
	Counts  map[string]int `json:"counts"`
	Paths   []string       `json:"paths"`
	Address uint64         `json:"address"`
	Length  uint64         `json:"length_bytes"`
	Result  string         `json:"result"`
	Errno   int            `json:"errno"`
}

// actorFolder holds the actor's program; everybody may look into it.
var actorFolder = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "seawall-probe-")
	if err != nil {
		return "", err
	}
	return dir, os.Chmod(dir, 0o755)
})

// actorProgram is tools/attack: built here, or given where there is no compiler, as in
// the guests of make test-kernels.
var actorProgram = sync.OnceValues(func() (string, error) {
	if given := os.Getenv("SEAWALL_ATTACK"); given != "" {
		return given, nil
	}
	dir, err := actorFolder()
	if err != nil {
		return "", err
	}
	program := filepath.Join(dir, "attack")
	build := exec.Command("go", "build", "-trimpath", "-o", program, "../../tools/attack")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the actor: %w\n%s", err, out)
	}
	return program, nil
})

// attack is a command of the actor that makes its files in dir.
func attack(t testing.TB, dir string, args ...string) *exec.Cmd {
	t.Helper()
	program, err := actorProgram()
	if err != nil {
		t.Fatal(err)
	}
	return exec.Command(program, append([]string{"-dir", dir}, args...)...)
}

// perform runs an actor and returns its reports, also of an act that failed.
func perform(t testing.TB, c *exec.Cmd) (all []report) {
	t.Helper()
	var out, complaints bytes.Buffer
	c.Stdout, c.Stderr = &out, &complaints
	ended := c.Run()
	for d := json.NewDecoder(&out); ; {
		var r report
		err := d.Decode(&r)
		if errors.Is(err, io.EOF) && len(all) > 0 {
			return all
		}
		if err != nil {
			t.Fatalf("%q: %v: no report: %v: %s", c.Args, ended, err, &complaints)
		}
		all = append(all, r)
	}
}

// must runs an actor that has to do what it is for.
func must(t testing.TB, c *exec.Cmd) report {
	t.Helper()
	all := perform(t, c)
	for _, r := range all {
		if r.Result != "ok" {
			t.Fatalf("%q: %s", c.Args, r.Result)
		}
	}
	return all[len(all)-1]
}
