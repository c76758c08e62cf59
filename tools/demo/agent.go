package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"sync"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
	"github.com/seawall-security/seawall/tools/local"
)

// readyTimeout bounds the agent's start, the tests of its own hooks included.
const readyTimeout = 60 * time.Second

// agent is the agent as a child process, and what it has said.
type agent struct {
	process *local.Process

	mu    sync.Mutex // guards what follows
	found []*sensorv1.Detection
	lost  []*sensorv1.Gap
	news  chan struct{} // closed and made anew when found grows
}

// startAgent returns when the agent says that it is ready.
func startAgent(ctx context.Context, path, socket string, more ...string) (_ *agent, err error) {
	a := &agent{news: make(chan struct{})}
	a.process, err = local.Start(ctx, local.Program{
		Name: "agent", Command: exec.Command(path, append([]string{"--standalone", "--containerd-socket", socket}, more...)...),
		Ready: "ready", Within: readyTimeout, Out: a.record,
	})
	if err != nil {
		return nil, err
	}
	return a, nil
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
		case <-a.process.Ended():
			return errors.Join(errors.New("the agent ended during the play"), a.process.LastLines())
		case <-timeout.C:
			return errors.Join(fmt.Errorf("the agent did not report the last step within %s", limit), a.process.LastLines())
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

// stop ends the agent and returns what went wrong with it, once.
func (a *agent) stop() error { return a.process.Stop() }
