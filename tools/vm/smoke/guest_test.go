package smoke

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// How long the guest waits before it gives up a phase: emulated, on a busy host, the
// verifier needs minutes for all programs.
const (
	readyLimit = 10 * time.Minute
	stopLimit  = time.Minute
)

// TestMain is where the guest's part begins.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == "guest" {
		if err := perform(); err != nil {
			fmt.Fprintln(os.Stderr, "smoke:", err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// perform carries out the plan and reports on standard output. A phase that fails does
// not keep the next from running.
func perform() error {
	text, err := os.ReadFile(guestPlan)
	if err != nil {
		return err
	}
	var phases []phase
	if err := json.Unmarshal(text, &phases); err != nil {
		return fmt.Errorf("parse plan: %w", err)
	}
	listeners, err := furnish()
	if err != nil {
		return fmt.Errorf("furnish guest: %w", err)
	}
	defer func() {
		for _, l := range listeners {
			_ = l.Close()
		}
	}()
	outcomes := map[string]outcome{}
	for _, p := range phases {
		if err := clearFolders(); err != nil {
			return err
		}
		o := p.carryOut()
		fmt.Fprintf(os.Stderr, "smoke: %s: agent started in %v, status %d %s\n", p.Name, o.Start.Round(time.Millisecond), o.Status, o.Error)
		outcomes[p.Name] = o
	}
	if err := json.NewEncoder(os.Stdout).Encode(outcomes); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	// The guest's port takes a write when the one before has left the machine, and the
	// machine goes away when we have ended: so the last one must be one too many.
	_, err = os.Stdout.WriteString("\n")
	return err
}

// furnish makes what the actors meet: somebody to connect to. Nobody accepts: the
// kernel completes connections by itself.
func furnish() (listeners []net.Listener, err error) {
	if out, err := exec.Command("ip", "addr", "add", peerAddress+"/32", "dev", "lo").CombinedOutput(); err != nil {
		return nil, fmt.Errorf("add address: %w: %s", err, out)
	}
	for _, at := range []struct{ network, address string }{
		{"tcp4", peer}, {"unix", unixSocket}, {"unix", abstractSocket},
	} {
		l, err := net.Listen(at.network, at.address)
		if err != nil {
			return nil, err
		}
		listeners = append(listeners, l)
	}
	return listeners, nil
}

// clearFolders gives every phase the same empty folders.
func clearFolders() error {
	for _, dir := range []string{guestWork, guestWeb} {
		if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o755)); err != nil {
			return err
		}
	}
	return nil
}

// carryOut runs the agent and, beside it, the steps.
func (p *phase) carryOut() (o outcome) {
	o.Driver, o.Began = os.Getpid(), time.Now()
	defer func() { o.Ended = time.Now() }()
	fail := func(err error) outcome {
		o.Error = err.Error()
		return o
	}
	var stdout, stderr bytes.Buffer
	agent := exec.Command(guestAgent, p.Agent...)
	ready := newReadyLine(&stderr)
	agent.Stdout, agent.Stderr = &stdout, ready
	if err := agent.Start(); err != nil {
		return fail(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = agent.Wait() // its status tells more
	}()
	defer func() {
		o.Status, o.Stdout, o.Stderr = exitStatus(agent.ProcessState), stdout.Bytes(), stderr.Bytes()
	}()
	kill := func() {
		_ = agent.Process.Kill() // it may have ended by itself
		<-ended
	}
	give := func(what string, limit time.Duration) error {
		select {
		case <-ended:
			return nil
		case <-time.After(limit):
			kill()
			return fmt.Errorf("agent did not %s within %v", what, limit)
		}
	}
	if p.Once {
		if err := give("end", readyLimit); err != nil {
			return fail(err)
		}
		o.Start = time.Since(o.Began)
		return o
	}

	select {
	case o.Ready = <-ready.line:
		o.Start = time.Since(o.Began)
	case <-ended:
		return fail(errors.New("agent ended before it was ready"))
	case <-time.After(readyLimit):
		kill()
		return fail(fmt.Errorf("agent was not ready within %v", readyLimit))
	}
	for _, s := range p.Steps {
		done, err := s.perform()
		if err != nil {
			kill()
			return fail(fmt.Errorf("%s: %w", s.Name, err))
		}
		o.Done = append(o.Done, done)
	}
	// No pause: what the actors did last has to be printed all the same.
	asked := time.Now()
	if err := agent.Process.Signal(syscall.SIGTERM); err != nil {
		kill()
		return fail(fmt.Errorf("end agent: %w", err))
	}
	if err := give("end after SIGTERM", stopLimit); err != nil {
		return fail(err)
	}
	o.Stop = time.Since(asked)
	return o
}

// perform runs an actor to its end, whatever status it ends with.
func (a *act) perform() (performed, error) {
	var stdout, stderr bytes.Buffer
	c := exec.Command(a.Argv[0], a.Argv[1:]...)
	c.Stdout, c.Stderr = &stdout, &stderr
	if a.User != 0 {
		c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: a.User, Gid: a.User}}
	}
	err := c.Run()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		return performed{}, err
	}
	return performed{PID: c.Process.Pid, Status: exitStatus(c.ProcessState),
		Stdout: stdout.String(), Stderr: stderr.String()}, nil
}

func exitStatus(s *os.ProcessState) int {
	if status, ok := s.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal())
	}
	return s.ExitCode()
}

// readyLine passes on what the agent says on stderr, and tells of its line.
type readyLine struct {
	to      io.Writer
	line    chan string // gets one
	partial []byte      // the line so far; nil: told
}

func newReadyLine(to io.Writer) *readyLine {
	return &readyLine{to: to, line: make(chan string, 1), partial: []byte{}}
}

func (r *readyLine) Write(p []byte) (int, error) {
	for rest := p; r.partial != nil; {
		text, more, whole := bytes.Cut(rest, []byte{'\n'})
		r.partial = append(r.partial, text...)
		if !whole {
			break
		}
		if line := string(r.partial); strings.HasPrefix(line, "ready") {
			r.line <- line
			r.partial = nil
			break
		}
		rest, r.partial = more, r.partial[:0]
	}
	return r.to.Write(p)
}
