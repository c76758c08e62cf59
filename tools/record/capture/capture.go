// Package capture makes recordings: it attaches the real sensor, keeps what the
// kernel and the container runtime say while somebody acts, and writes the part
// that belongs to chosen processes or containers.
//
// A [Capture] runs from [Start] to [Capture.Stop]; [Capture.Watch] may be called
// from any goroutine meanwhile. [Log.Write] may then be called as often as wanted.
// The records go through the agent's own stages as they come, only to learn when a
// container's name became known.
package capture

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/seawall-security/seawall/agent/container"
	"github.com/seawall-security/seawall/agent/decode"
	"github.com/seawall-security/seawall/agent/origin"
	"github.com/seawall-security/seawall/agent/pipeline"
	"github.com/seawall-security/seawall/agent/probe"
	"github.com/seawall-security/seawall/agent/process"
	"github.com/seawall-security/seawall/agent/recording"
	"github.com/seawall-security/seawall/internal/event"
	"github.com/seawall-security/seawall/internal/rule"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

// maxBytes bounds the records of one capture: it is held in memory as a whole.
const maxBytes = 256 << 20

// Ring sizes: a scene is short, and unfiltered it is loud.
const (
	decisiveBytes = 4 << 20
	bulkBytes     = 16 << 20
)

// Bounds of the events that wait for their container's name.
const (
	penEvents = 1 << 16
	penBytes  = 1 << 30
)

// Options say what is captured.
type Options struct {
	Log   *zap.Logger
	Rules *rule.Set
	// Unfiltered admits everything, not only what the rules ask for.
	Unfiltered bool
	// Containerd is the daemon's socket; empty: containers stay unknown.
	Containerd string
}

// Capture is a sensor at work.
type Capture struct {
	sensor     *probe.Sensor
	stages     *pipeline.Pipeline
	containers *container.Table
	log        *Log
	cancel     context.CancelFunc
	done       sync.WaitGroup
	readErr    error // after done

	mu      sync.Mutex // guards what follows
	waiting []waiter
}

// waiter is told of the first event that it wants.
type waiter struct {
	wants func(*event.Event) bool
	seen  chan struct{}
}

// Start attaches the hooks, reads what runs already and returns when every hook
// has been fired once. The context bounds the start; Stop ends the rest. For that
// the program executes itself: its main, or TestMain, has to return at once where
// it finds [probe.SelfTestArgument].
func Start(ctx context.Context, o Options) (_ *Capture, err error) {
	header, err := describe()
	if err != nil {
		return nil, err
	}
	hierarchy, err := container.FindHierarchy("/")
	if err != nil {
		return nil, fmt.Errorf("find cgroup hierarchy: %w", err)
	}
	sensor, err := probe.Open(probe.Options{
		Log: o.Log, DecisiveBytes: decisiveBytes, BulkBytes: bulkBytes, Interest: o.Rules.Interest(), Unfiltered: o.Unfiltered,
		Hierarchy: probe.Hierarchy{ID: uint32(hierarchy.ID), Controller: hierarchy.Controller, Mount: hierarchy.Mount},
	})
	if err != nil {
		return nil, err
	}
	c := &Capture{sensor: sensor, log: newLog(header)}
	defer func() {
		if err != nil {
			_, stop := c.Stop()
			err = errors.Join(err, stop)
		}
	}()
	clock, err := decode.MeasureClock()
	if err != nil {
		return nil, err
	}
	containers := container.NewTable(container.Options{Hierarchy: hierarchy})
	c.containers = containers
	if err := containers.Seed(); err != nil {
		return nil, fmt.Errorf("walk cgroups: %w", err)
	}
	c.log.header.BootToWall = clock.Offset
	c.log.header.Host = recording.Namespaces(sensor.Host().Namespaces)
	c.log.header.Release = sensor.Host().Kernel
	c.log.header.Arch = sensor.Host().Arch
	c.log.header.Hierarchy = hierarchy.Controller
	if hierarchy.Controller == "" {
		c.log.header.Hierarchy = "v2"
	}
	processes := process.New(process.Options{
		BootID: header.BootID, HostNamespaces: sensor.Host().Namespaces, Wall: clock.Wall, Candidate: containers.Candidate,
	})
	c.stages = pipeline.New(pipeline.Options{
		Log: o.Log, BootID: header.BootID, Processes: processes, Origins: origin.New(origin.Limits{}),
		Containers: containers, Rules: o.Rules, Sink: c, Marks: sensor,
		PenEvents: penEvents, PenBytes: penBytes, PenWait: 2 * container.DefaultWait,
	})
	c.stages.SetClock(clock)
	if err := c.seed(processes); err != nil {
		return nil, err
	}
	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	c.cancel = cancel
	c.done.Go(func() { c.readErr = sensor.Read(running, c.record, c.stages.Idle) })
	c.done.Go(func() { _ = containers.Run(running) }) // ends with the context, without an error
	if o.Containerd != "" {
		names := container.NewContainerd(o.Containerd, containers, o.Log)
		c.done.Go(func() { _ = names.Run(running) }) // as above
		if err := connected(ctx, names); err != nil {
			return nil, err
		}
	}
	if err := sensor.Confirm(ctx); err != nil {
		return nil, fmt.Errorf("confirm hooks: %w", err)
	}
	c.log.header.Rungs = make(map[string]string)
	for _, h := range sensor.Hooks() {
		if !h.Confirmed {
			return nil, fmt.Errorf("confirm hooks: %s", h)
		}
		c.log.header.Rungs[h.Hook] = string(h.Rung)
	}
	return c, nil
}

func describe() (recording.Header, error) {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return recording.Header{}, fmt.Errorf("read boot id: %w", err)
	}
	return recording.Header{BootID: strings.TrimSpace(string(boot))}, nil
}

// connected returns once the daemon is listened to: what it says before is lost.
func connected(ctx context.Context, names *container.Containerd) error {
	ticks := time.NewTicker(10 * time.Millisecond)
	defer ticks.Stop()
	for !names.Connection().Connected {
		select {
		case <-ticks.C:
		case <-ctx.Done():
			return fmt.Errorf("connect to containerd: %w: %w", context.Cause(ctx), names.Connection().Err)
		}
	}
	return nil
}

// seed keeps the task iterator's records and gives them to the stages.
func (c *Capture) seed(processes *process.Table) error {
	var refused error
	err := c.sensor.Seed(func(batch []byte) {
		for rest := batch; len(rest) > 0 && refused == nil; {
			var record []byte
			if record, rest, refused = decode.Split(rest); refused == nil {
				refused = c.log.add(recording.Seed, record)
			}
		}
		c.stages.Seed(batch)
	})
	processes.Seeded()
	return errors.Join(err, refused)
}

// record takes one record on the reader's goroutine. A container that it made
// known stands before it.
func (c *Capture) record(ring probe.Ring, record []byte) {
	c.stages.Record(record)
	name := recording.Decisive
	if ring == probe.Bulk {
		name = recording.Bulk
	}
	if err := c.log.add(name, record); err != nil && c.log.err == nil {
		c.log.err = err
	}
}

// Event is called by the stages for every event that is complete.
func (c *Capture) Event(e *event.Event) {
	// A cgroup that a container's process only went to is not the container's.
	if _, state := c.containers.Lookup(e.CgroupID); state == container.Known {
		c.log.name(e.CgroupID, e.Container)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	kept := c.waiting[:0]
	for _, w := range c.waiting {
		if w.wants(e) {
			close(w.seen)
		} else {
			kept = append(kept, w)
		}
	}
	c.waiting = kept
}

// Detection is called by the stages; what rules find is found again in the recording.
func (c *Capture) Detection(*sensorv1.Detection) {}

// Watch returns a channel that is closed when a complete event comes that wants
// takes. wants runs on the reader's goroutine; the event is valid until it returns.
func (c *Capture) Watch(wants func(*event.Event) bool) <-chan struct{} {
	w := waiter{wants: wants, seen: make(chan struct{})}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting = append(c.waiting, w)
	return w.seen
}

// Stop detaches the hooks and returns what was captured.
func (c *Capture) Stop() (*Log, error) {
	if c.cancel != nil {
		c.cancel()
		c.done.Wait()
		c.stages.Flush()
	}
	return c.log, errors.Join(c.readErr, c.log.err, c.sensor.Close())
}
