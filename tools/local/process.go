// Package local runs Seawall's own programs on this machine, as children of a tool or a
// test: until they are ready, to the end, and with what they said last when one fails.
package local

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	// stopTimeout bounds the end of a program that was asked to end.
	stopTimeout = 20 * time.Second
	// lineBytes bounds a line: a detection with 16 ancestors and long argvs.
	lineBytes = 4 << 20
	keptLines = 20
)

// Program is what to start, and how.
type Program struct {
	// Name is what errors call it.
	Name string
	// Command has neither output connected. Without SysProcAttr the program is out of
	// reach of the terminal's Ctrl-C, and is asked to end when we are killed.
	Command *exec.Cmd
	// Ready begins the line on standard error that says that it is; empty: Start does not
	// wait. Within bounds the wait; 0: only the context does.
	Ready  string
	Within time.Duration
	// Out and Err take lines of standard output and standard error, each from a goroutine
	// of its own that ends with the program. An error of theirs is the program's. Nil: what
	// it prints is not looked at.
	Out, Err func(line []byte) error
	// End asks the program to end; nil: by SIGTERM.
	End func() error
}

// Process is a program that was started. Its methods are for any goroutine.
type Process struct {
	program Program
	ready   chan struct{} // closed by the ready line
	ended   chan struct{} // closed when it is gone and its output read

	mu    sync.Mutex // guards what follows
	said  string     // the ready line
	last  []string   // of standard error
	fault error      // what went wrong; nil once Stop has told
}

// Start starts a program and returns once it is ready. With an error it does not run.
func Start(ctx context.Context, program Program) (*Process, error) {
	p := &Process{program: program, ready: make(chan struct{}), ended: make(chan struct{})}
	c := program.Command
	if c.SysProcAttr == nil {
		c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	}
	stderr, err := c.StderrPipe()
	if err != nil {
		return nil, fmt.Errorf("start the %s: %w", program.Name, err)
	}
	var stdout io.Reader
	if program.Out != nil {
		if stdout, err = c.StdoutPipe(); err != nil {
			return nil, fmt.Errorf("start the %s: %w", program.Name, err)
		}
	}
	if err := c.Start(); err != nil {
		return nil, fmt.Errorf("start the %s: %w", program.Name, err)
	}
	go p.follow(stdout, stderr)
	if program.Ready == "" {
		return p, nil
	}
	var late <-chan time.Time
	if program.Within > 0 {
		timer := time.NewTimer(program.Within)
		defer timer.Stop()
		late = timer.C
	}
	select {
	case <-p.ready:
		return p, nil
	case <-p.ended:
		err = errors.New("it ended")
	case <-late:
		err = fmt.Errorf("not ready after %s", program.Within)
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	return nil, errors.Join(fmt.Errorf("start the %s: %w", program.Name, err), p.Stop(), p.LastLines())
}

// follow reads what the program prints until it is gone.
func (p *Process) follow(stdout, stderr io.Reader) {
	defer close(p.ended)
	var readers sync.WaitGroup
	if stdout != nil {
		readers.Go(func() { p.fail(lines(stdout, p.program.Out)) })
	}
	readers.Go(func() { p.fail(lines(stderr, p.complaint)) })
	readers.Wait() // before Wait closes the pipes
	if err := p.program.Command.Wait(); err != nil {
		p.fail(fmt.Errorf("%s: %w", p.program.Name, err))
	}
}

// lines calls take for every line; after an error it reads on, so that nobody is stuck.
func lines(from io.Reader, take func([]byte) error) error {
	scanner := bufio.NewScanner(from)
	scanner.Buffer(nil, lineBytes)
	for scanner.Scan() {
		if err := take(scanner.Bytes()); err != nil {
			_, _ = io.Copy(io.Discard, from)
			return err
		}
	}
	if err := scanner.Err(); err != nil {
		_, _ = io.Copy(io.Discard, from)
		return err
	}
	return nil
}

// complaint takes a line of standard error.
func (p *Process) complaint(line []byte) error {
	p.mu.Lock()
	p.last = append(p.last[max(0, len(p.last)-keptLines+1):], string(line))
	if p.program.Ready != "" && p.said == "" && strings.HasPrefix(string(line), p.program.Ready) {
		p.said = string(line)
		close(p.ready)
	}
	p.mu.Unlock()
	if p.program.Err == nil {
		return nil
	}
	return p.program.Err(line)
}

// fail keeps an error, if it is one.
func (p *Process) fail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fault = errors.Join(p.fault, err)
}

// Ready is the line that said so.
func (p *Process) Ready() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.said
}

// PID is the program's process id, which is its own until Ended is closed.
func (p *Process) PID() int { return p.program.Command.Process.Pid }

// Ended is closed when the program is gone and all it printed was taken.
func (p *Process) Ended() <-chan struct{} { return p.ended }

// LastLines are the last of what it printed on standard error, as an error; nil: none.
func (p *Process) LastLines() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.last) == 0 {
		return nil
	}
	return fmt.Errorf("the %s's last lines:\n%s", p.program.Name, strings.Join(p.last, "\n"))
}

// Stop asks the program to end, waits, and returns what went wrong with it, once: called
// again it has nothing more to say. One that does not end is killed.
func (p *Process) Stop() error {
	end := p.program.End
	if end == nil {
		end = func() error { return p.program.Command.Process.Signal(syscall.SIGTERM) }
	}
	if err := end(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop the %s: %w", p.program.Name, err)
	}
	late := time.NewTimer(stopTimeout)
	defer late.Stop()
	select {
	case <-p.ended:
	case <-late.C:
		p.fail(fmt.Errorf("the %s had to be killed after %s", p.program.Name, stopTimeout))
		if err := p.program.Command.Process.Kill(); err != nil {
			return fmt.Errorf("kill the %s: %w", p.program.Name, err)
		}
		<-p.ended
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	err := p.fault
	p.fault = nil
	return err
}

// Kill ends the program at once, and waits until it is gone.
func (p *Process) Kill() error {
	if err := p.program.Command.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("kill the %s: %w", p.program.Name, err)
	}
	<-p.ended
	return nil
}
