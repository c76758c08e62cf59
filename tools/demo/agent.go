package main

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

	"google.golang.org/protobuf/encoding/protojson"

	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

const (
	// readyTimeout bounds the agent's start, the tests of its own hooks included.
	readyTimeout = 60 * time.Second
	// stopTimeout bounds its end.
	stopTimeout = 15 * time.Second
	// lineBytes bounds a line: a detection with 16 ancestors and long argvs.
	lineBytes = 4 << 20
)

// agent is the agent as a child process, and what it has said.
type agent struct {
	command *exec.Cmd
	ended   chan struct{} // closed when the process is gone and its output read
	ready   chan struct{} // closed by the line on stderr that begins with "ready"

	mu      sync.Mutex // guards what follows
	found   []*sensorv1.Detection
	lost    []*sensorv1.Gap
	news    chan struct{} // closed and made anew when found grows
	errors  []string      // last lines of stderr
	failure error         // output that could not be read, or how the process ended; nil once stop has told
}

// startAgent returns when the agent says that it is ready.
func startAgent(ctx context.Context, path, socket string, more ...string) (*agent, error) {
	a := &agent{
		command: exec.Command(path, append([]string{"--standalone", "--containerd-socket", socket}, more...)...),
		ended:   make(chan struct{}), ready: make(chan struct{}), news: make(chan struct{}),
	}
	// Ctrl-C on the terminal is for us: the agent ends when we say so.
	a.command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	stdout, err := a.command.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("open a pipe: %w", err)
	}
	stderr, err := a.command.StderrPipe()
	if err != nil {
		return nil, fmt.Errorf("open a pipe: %w", err)
	}
	if err := a.command.Start(); err != nil {
		return nil, fmt.Errorf("start the agent: %w", err)
	}
	// Ends with the process.
	go func() {
		defer close(a.ended)
		var readers sync.WaitGroup
		readers.Go(func() { a.fail(lines(stdout, a.record)) })
		readers.Go(func() { a.fail(lines(stderr, a.complaint)) })
		readers.Wait()
		if err := a.command.Wait(); err != nil {
			a.fail(fmt.Errorf("agent: %w", err))
		}
	}()
	timeout := time.NewTimer(readyTimeout)
	defer timeout.Stop()
	select {
	case <-a.ready:
		return a, nil
	case <-a.ended:
		err = errors.New("start the agent: it ended")
	case <-timeout.C:
		err = fmt.Errorf("start the agent: not ready after %s", readyTimeout)
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	return nil, errors.Join(err, a.stop(), a.stderr())
}

// lines calls take for every line.
func lines(from io.Reader, take func([]byte) error) error {
	scanner := bufio.NewScanner(from)
	scanner.Buffer(nil, lineBytes)
	for scanner.Scan() {
		if err := take(scanner.Bytes()); err != nil {
			return err
		}
	}
	return scanner.Err()
}

// record takes a line of stdout.
func (a *agent) record(line []byte) error {
	var record sensorv1.Record
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(line, &record); err != nil {
		return fmt.Errorf("read the agent's line: %w: %.200s", err, line)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	switch body := record.GetBody().(type) {
	case *sensorv1.Record_Detection:
		a.found = append(a.found, body.Detection)
		close(a.news)
		a.news = make(chan struct{})
	case *sensorv1.Record_Gap:
		a.lost = append(a.lost, body.Gap)
	}
	return nil
}

// complaint takes a line of stderr and keeps the last ones.
func (a *agent) complaint(line []byte) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	const kept = 20
	a.errors = append(a.errors[max(0, len(a.errors)-kept):], string(line))
	if strings.HasPrefix(string(line), "ready") {
		select {
		case <-a.ready:
		default:
			close(a.ready)
		}
	}
	return nil
}

// fail keeps an error, if it is one.
func (a *agent) fail(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.failure = errors.Join(a.failure, err)
}

// await returns when a detection that is wanted has come.
func (a *agent) await(ctx context.Context, limit time.Duration, wanted func(*sensorv1.Detection) bool) error {
	timeout := time.NewTimer(limit)
	defer timeout.Stop()
	for {
		a.mu.Lock()
		news := a.news
		a.mu.Unlock()
		if len(a.detections(wanted)) > 0 {
			return nil
		}
		select {
		case <-news:
		case <-a.ended:
			return errors.Join(errors.New("the agent ended during the play"), a.stderr())
		case <-timeout.C:
			return errors.Join(fmt.Errorf("the agent did not report the last step within %s", limit), a.stderr())
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// detections are the wanted ones of those that have come.
func (a *agent) detections(wanted func(*sensorv1.Detection) bool) []*sensorv1.Detection {
	a.mu.Lock()
	defer a.mu.Unlock()
	var found []*sensorv1.Detection
	for _, d := range a.found {
		if wanted(d) {
			found = append(found, d)
		}
	}
	return found
}

// gaps are what the agent says it lost.
func (a *agent) gaps() []*sensorv1.Gap {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.lost
}

// stop ends the agent and returns what went wrong with it. It may be called again
// and then has nothing more to say.
func (a *agent) stop() error {
	if err := a.command.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop the agent: %w", err)
	}
	timeout := time.NewTimer(stopTimeout)
	defer timeout.Stop()
	select {
	case <-a.ended:
	case <-timeout.C:
		a.fail(fmt.Errorf("the agent had to be killed after %s", stopTimeout))
		if err := a.command.Process.Kill(); err != nil {
			return fmt.Errorf("kill the agent: %w", err)
		}
		<-a.ended
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	err := a.failure
	a.failure = nil
	return err
}

// stderr is the last of what the agent complained about, as an error.
func (a *agent) stderr() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.errors) == 0 {
		return nil
	}
	return fmt.Errorf("the agent's last lines:\n%s", strings.Join(a.errors, "\n"))
}
