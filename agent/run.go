package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/seawall-security/seawall/agent/config"
	"github.com/seawall-security/seawall/agent/container"
	"github.com/seawall-security/seawall/agent/decode"
	"github.com/seawall-security/seawall/agent/origin"
	"github.com/seawall-security/seawall/agent/output"
	"github.com/seawall-security/seawall/agent/pipeline"
	"github.com/seawall-security/seawall/agent/probe"
	"github.com/seawall-security/seawall/agent/process"
	"github.com/seawall-security/seawall/agent/rules"
	"github.com/seawall-security/seawall/internal/bundle"
	"github.com/seawall-security/seawall/internal/event"
	"github.com/seawall-security/seawall/internal/obs"
	"github.com/seawall-security/seawall/internal/redact"
	"github.com/seawall-security/seawall/internal/rule"
	"github.com/seawall-security/seawall/internal/rule/builtin"
)

// clockInterval is how often the offset between kernel and wall time is measured anew:
// often enough for a clock that is being stepped, rare enough to cost nothing.
const clockInterval = time.Second

// run watches until ctx ends. What it starts it ends, in reverse order: the reader
// first, then the queues are printed and spooled empty, then the hooks are detached.
func run(ctx context.Context, c config.Config) (err error) {
	log, err := obs.NewLogger(os.Stderr, c.Log.Level)
	if err != nil {
		return err
	}
	bootID, err := readBootID()
	if err != nil {
		return err
	}
	self, idError := readIdentity(c.StateDir)
	if idError != nil {
		log.Warn("agent id is for this run only", zap.Error(idError))
	}
	defer func() { err = errors.Join(err, self.close()) }()
	if c.Collector.Address != "" && self.lock == nil {
		return fmt.Errorf("report to a collector: %s cannot be used: %w", c.StateDir, idError)
	}

	inForce, err := openRules(c, self, log)
	if err != nil {
		return err
	}
	key, err := localRedactionKey(c.StateDir)
	if err != nil {
		log.Warn("masks of credentials join within this run only", zap.Error(err))
	}
	redactor, err := redact.New(key)
	if err != nil {
		return err
	}

	containers, hierarchy, err := newContainers(c, log)
	if err != nil {
		return err
	}
	sensor, err := probe.Open(sensorOptions(c, log, hierarchy, inForce.Set()))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, sensor.Close()) }()
	// Cgroups made from now on are told by the hooks; the rest is there to be walked.
	if err := containers.Seed(); err != nil {
		log.Warn("walk cgroups", zap.Error(err))
	}

	clock, err := newWallClock()
	if err != nil {
		return err
	}
	var up *reporter
	processes := process.New(process.Options{
		BootID: bootID, HostNamespaces: sensor.Host().Namespaces, Wall: clock.wall, Candidate: containers.Candidate,
		Unseen: func(cgroup uint64) bool { return hierarchy != nil && containers.Unseen(cgroup) },
		Missed: func(why process.Missed, at time.Time) { up.missedEntry(why, at) },
		Marks:  inForce.Set().Interest().Marks, Limits: process.Limits{Live: c.Process.Live, Dead: c.Process.Dead, Grace: c.Process.Grace},
	})
	up, err = openReporter(c, log, bootID, redactor, sensor, inForce)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, up.close()) }()
	printer := output.New(os.Stdout, output.Options{Log: log, Events: c.Events, Text: c.Output == config.Text,
		Redactor: redactor, AgentID: up.agentID(self.id), BootID: bootID, Node: c.Node})
	options := pipeline.Options{
		Log: log, BootID: bootID, Processes: processes, Origins: origin.New(origin.Limits{}),
		Rules: inForce.Set(), Sink: sink(c, printer, up), Marks: sensor,
		Missed:   up.missed,
		Sequence: uint64(clock.boot()), PenEvents: c.Pen.Events, PenBytes: c.Pen.Bytes, PenWait: 2 * c.Pen.Wait,
	}
	if hierarchy != nil {
		options.Containers = containers
	}
	stages := pipeline.New(options)
	inForce.Attach(sensor, stages)
	up.watch(stages)
	stages.SetClock(*clock.now.Load())
	if err := seed(sensor, stages, processes, log); err != nil {
		return err
	}
	up.watching()
	for p := range processes.Each { // their coming children are followed too
		if p.Tree != 0 {
			stages.Mark(p.Key, p.Tree)
		}
	}

	ready := &obs.Ready{}
	hooks := ready.Add("hooks")
	names := container.NewContainerd(c.Containerd.Socket, containers, log)
	registry := obs.NewRegistry("seawall_agent", true)
	registry.MustRegister(newCollector(sensor, stages, inForce, processes, containers, names, printer))
	up.register(registry)

	group, ctx := errgroup.WithContext(ctx)
	telling, stopTelling := context.WithCancel(context.WithoutCancel(ctx))
	group.Go(func() error {
		defer stopTelling()
		defer stages.Flush()
		until, err := read(ctx, sensor, stages, clock)
		if err == nil {
			up.unwatched(until)
		}
		return err
	})
	group.Go(func() error { return finish(telling, printer) })
	up.run(ctx, telling, group)
	group.Go(func() error { return inForce.Run(ctx) })
	group.Go(func() error { return containers.Run(ctx) })
	if c.Containerd.Enabled != config.Off {
		group.Go(func() error { return names.Run(ctx) })
	}
	if c.Admin.Address != "" {
		admin, err := obs.ListenAdmin(ctx, c.Admin.Address, obs.AdminOptions{
			Metrics: registry, Ready: ready, Profiling: c.Admin.Profiling, Log: log})
		if err != nil {
			log.Warn("no /metrics, /healthz and /readyz: free the address, or set another as admin.address", zap.Error(err))
		} else {
			group.Go(func() error { return admin.Serve(ctx) })
		}
	}
	group.Go(func() error {
		if err := sensor.Confirm(ctx); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("confirm hooks: %w", err)
		}
		announce(sensor, hooks, log)
		up.begin()
		return nil
	})
	return group.Wait()
}

// read delivers records to the stages, with the clock kept right. It returns until when all
// were delivered: after that time Read has looked once more, and found no more.
func read(ctx context.Context, sensor *probe.Sensor, stages *pipeline.Pipeline, clock *wallClock) (until time.Time, err error) {
	var measured time.Time
	err = sensor.Read(ctx,
		func(_ probe.Ring, record []byte) { stages.Record(record) },
		func() {
			stages.Idle()
			until = time.Now()
			if until.Sub(measured) >= clockInterval {
				measured = until
				if c, err := decode.MeasureClock(); err == nil {
					clock.now.Store(&c)
					stages.SetClock(c)
				}
			}
		})
	return until, err
}

// printDeadline is how long the reader of our output may take nothing when the agent ends.
const printDeadline = 2 * time.Second

// finish runs the printer. After ctx has ended it is waited for as long as it gets on: a
// reader that has stopped reading must not keep the hooks attached. A write that hangs
// then ends with the process.
func finish(ctx context.Context, printer *output.Printer) error {
	done := make(chan error, 1)
	go func() { done <- printer.Run(ctx) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	for printed := printer.Printed(); ; {
		select {
		case err := <-done:
			return err
		case <-time.After(printDeadline):
		}
		before := printed
		if printed = printer.Printed(); printed == before {
			return fmt.Errorf("standard output has taken nothing for %v: %d records that were queued are lost; let something read it",
				printDeadline, printer.Queued())
		}
	}
}

// wallClock turns kernel time into wall time for facts that outlive one record. The
// reader keeps it right.
type wallClock struct{ now atomic.Pointer[decode.Clock] }

func newWallClock() (*wallClock, error) {
	c, err := decode.MeasureClock()
	if err != nil {
		return nil, err
	}
	w := &wallClock{}
	w.now.Store(&c)
	return w, nil
}

// boot is the kernel's time now.
func (w *wallClock) boot() event.Boot {
	return event.Boot(time.Now().UnixNano() - int64(w.now.Load().Offset))
}

func (w *wallClock) wall(at event.Boot) time.Time { return w.now.Load().Wall(at) }

// announce says on stderr, in one line that scripts may wait for, that every hook was
// proven, or which were not.
func announce(sensor *probe.Sensor, hooks *obs.Condition, log *zap.Logger) {
	var attached, silent []string
	for _, h := range sensor.Hooks() {
		attached = append(attached, fmt.Sprintf("%s=%s", h.Hook, h.Rung))
		if !h.Confirmed {
			silent = append(silent, h.String())
		}
	}
	if len(silent) > 0 {
		hooks.Fail(strings.Join(silent, "; "))
		log.Warn("hooks not confirmed", zap.Strings("hooks", silent))
		fmt.Fprintf(os.Stderr, "ready, but blind in part: %s\n", strings.Join(silent, "; "))
		return
	}
	hooks.Hold()
	fmt.Fprintf(os.Stderr, "ready: %s\n", strings.Join(attached, " "))
}

// seed fills the process table with what runs already.
func seed(sensor *probe.Sensor, stages *pipeline.Pipeline, processes *process.Table, log *zap.Logger) error {
	if err := sensor.Seed(stages.Seed); err != nil {
		log.Warn("task iterator refused: processes are seeded from procfs, with coarse start times", zap.Error(err))
		if err := processes.SeedProcfs(); err != nil {
			return fmt.Errorf("seed processes: %w", err)
		}
	}
	processes.Seeded()
	return nil
}

// newContainers makes the table of the hierarchy that runtimes use. A host without any
// (an initramfs) has no containers.
func newContainers(c config.Config, log *zap.Logger) (*container.Table, *container.Hierarchy, error) {
	hierarchy, err := container.FindHierarchy("/")
	if errors.Is(err, container.ErrNoHierarchy) {
		log.Warn("no cgroup hierarchy: containers cannot be told apart")
		hierarchy, err = nil, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("find cgroup hierarchy: %w", err)
	}
	if hierarchy != nil && hierarchy.Partial {
		log.Warn("the cgroup mount shows a part of the tree only: containers outside it have no names; give the agent the host's cgroup namespace")
	}
	return container.NewTable(container.Options{Hierarchy: hierarchy, Wait: c.Pen.Wait}), hierarchy, nil
}

func sensorOptions(c config.Config, log *zap.Logger, h *container.Hierarchy, set *rule.Set) probe.Options {
	o := probe.Options{
		Log: log, DecisiveBytes: c.Kernel.DecisiveRingBytes, BulkBytes: c.Kernel.BulkRingBytes,
		Interest: set.Interest(), Unfiltered: c.NoFilter,
	}
	if h != nil {
		o.Hierarchy = probe.Hierarchy{ID: uint32(h.ID), Controller: h.Controller, Mount: h.Mount}
	}
	if c.Kernel.Rung != config.RungAuto {
		o.Ceiling = probe.Rung(c.Kernel.Rung)
	}
	return o
}

// openRules loads the rules: built-in ones, those of the configured files and folders,
// and the bundle that was in force last.
func openRules(c config.Config, self identity, log *zap.Logger) (*rules.Rules, error) {
	sources, err := ruleSources(c)
	if err != nil {
		return nil, err
	}
	keys, err := bundle.ReadKeys(c.BundleKeys...)
	if err != nil {
		return nil, err
	}
	stateDir := ""
	if self.lock != nil {
		stateDir = c.StateDir
	}
	return rules.Open(rules.Options{StateDir: stateDir, Keys: keys, Sources: sources, Now: time.Now, Wait: sleep, Log: log})
}

// ruleSources reads the built-in rules and this host's own.
func ruleSources(c config.Config) ([]rule.Source, error) {
	sources, err := rule.ReadFS(builtin.FS)
	if err != nil {
		return nil, fmt.Errorf("read built-in rules: %w", err)
	}
	for _, path := range c.Rules {
		own, err := rule.ReadPath(path)
		if err != nil {
			return nil, err
		}
		for _, s := range own {
			s.Origin = rule.OriginLocal
			sources = append(sources, s)
		}
	}
	return sources, nil
}

// loadRules loads what openRules does, without a bundle.
func loadRules(c config.Config) (*rule.Set, error) {
	sources, err := ruleSources(c)
	if err != nil {
		return nil, err
	}
	set, err := rule.Load(sources, time.Now())
	if err != nil {
		return nil, fmt.Errorf("load rules:\n%w", err)
	}
	return set, nil
}

// sink is who is told: the printer, the collector, or both.
func sink(c config.Config, printer *output.Printer, up *reporter) pipeline.Sink {
	switch {
	case up == nil:
		return printer
	case c.Standalone:
		return pipeline.Tee(printer, up.uplink)
	}
	return up.uplink
}

func checkConfig(c config.Config, out io.Writer) error {
	set, err := loadRules(c)
	if err != nil {
		return err
	}
	if _, err := bundle.ReadKeys(c.BundleKeys...); err != nil {
		return err
	}
	fmt.Fprintf(out, "configuration is usable, %d rules load\n", len(set.Rules()))
	return nil
}

// readBootID is the kernel's name of this boot.
func readBootID() (string, error) {
	text, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("read boot id: %w", err)
	}
	return strings.TrimSpace(string(text)), nil
}
