package live

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// report is what an actor of tools/attack says it did.
type report struct {
	PID     uint32         `json:"pid"`
	Counts  map[string]int `json:"counts"`
	Paths   []string       `json:"paths"`
	Escaped bool           `json:"escaped"`
	Result  string         `json:"result"`
	Errno   int            `json:"errno"`
}

// actorFolder holds the actor's program. Everybody may look into it: some actors are
// not root.
var actorFolder = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "seawall-live-")
	if err != nil {
		return "", err
	}
	return dir, os.Chmod(dir, 0o755)
})

// attackProgram builds tools/attack once.
var attackProgram = sync.OnceValues(func() (string, error) {
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
	program, err := attackProgram()
	if err != nil {
		t.Fatal(err)
	}
	return exec.Command(program, append([]string{"-dir", dir}, args...)...)
}

// perform runs an actor and returns its report, also of an act that failed.
func perform(t testing.TB, c *exec.Cmd) report {
	t.Helper()
	r, err := outcome(c)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// must runs an actor that has to do what it is for.
func must(t testing.TB, dir string, args ...string) report {
	t.Helper()
	r := perform(t, attack(t, dir, args...))
	if r.Result != "ok" {
		t.Fatalf("%q: %s", args, r.Result)
	}
	return r
}

func outcome(c *exec.Cmd) (r report, err error) {
	var out, complaints bytes.Buffer
	c.Stdout, c.Stderr = &out, &complaints
	ended := c.Run()
	if err := json.Unmarshal(out.Bytes(), &r); err != nil {
		return r, fmt.Errorf("%q: %w: no report: %w: %s", c.Args, ended, err, &complaints)
	}
	return r, nil
}

// actArgument has this test binary act instead of testing.
const actArgument = "seawall-live-act"

// Acts of the test binary.
const (
	actOpenat2 = "openat2"
	actCreat   = "creat"
	actThreads = "threads" // how many, instead of a file
	actAgent   = "agent"   // a rung
	actSteady  = "steady"  // a folder
)

// self is a command that has this test binary do an act with a file.
func self(t testing.TB, act, file string) *exec.Cmd {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command(program, actArgument, act, file)
	c.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0") // the race detector's own wait at every end
	return c
}

// run runs a command that has to succeed and returns the number its process had.
func run(t testing.TB, c *exec.Cmd) (pid uint32) {
	t.Helper()
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%q: %v: %s", c.Args, err, out)
	}
	return uint32(c.Process.Pid)
}

func act(what, file string) error {
	var fd int
	var err error
	switch what {
	case actOpenat2:
		fd, err = unix.Openat2(unix.AT_FDCWD, file, &unix.OpenHow{Flags: unix.O_WRONLY, Resolve: unix.RESOLVE_NO_SYMLINKS})
	case actCreat:
		fd, err = creat(file)
	case actThreads:
		return makeThreads(file)
	case actSteady:
		return openSteadily(file)
	case actAgent:
		return beAgent(file)
	default:
		return fmt.Errorf("no act %q", what)
	}
	if err != nil {
		return fmt.Errorf("%s %s: %w", what, file, err)
	}
	return unix.Close(fd)
}

// makeThreads returns with so many more threads, all of them asleep.
func makeThreads(count string) error {
	n, err := strconv.Atoi(count)
	if err != nil {
		return err
	}
	var made sync.WaitGroup
	made.Add(n)
	for range n {
		go func() {
			runtime.LockOSThread()
			made.Done()
			_ = unix.Pause() // until the program ends
		}()
	}
	made.Wait()
	return nil
}
