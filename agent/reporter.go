package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/seawall-security/seawall/agent/config"
	"github.com/seawall-security/seawall/agent/enrol"
	"github.com/seawall-security/seawall/agent/pipeline"
	"github.com/seawall-security/seawall/agent/probe"
	"github.com/seawall-security/seawall/agent/process"
	"github.com/seawall-security/seawall/agent/queue"
	"github.com/seawall-security/seawall/agent/rules"
	"github.com/seawall-security/seawall/agent/uplink"
	"github.com/seawall-security/seawall/internal/event"
	"github.com/seawall-security/seawall/internal/obs"
	"github.com/seawall-security/seawall/internal/redact"
	"github.com/seawall-security/seawall/internal/tlsconf"
)

// reporter is the agent's way to its collector. Nil: it has none, and all methods do
// nothing.
type reporter struct {
	log       *zap.Logger
	enrolment *enrol.Agent
	uplink    *uplink.Uplink
	stages    *pipeline.Pipeline
	confirmed chan struct{} // closed when all hooks were tried
}

// openReporter opens identity and spool. It asks nobody.
func openReporter(c config.Config, log *zap.Logger, bootID string, redactor *redact.Redactor, sensor *probe.Sensor,
	inForce *rules.Rules) (*reporter, error) {
	if c.Collector.Address == "" {
		return nil, nil
	}
	token, err := joinToken(c.Collector)
	if err != nil {
		return nil, err
	}
	machineID := readMachineID("/etc/machine-id")
	r := &reporter{log: log, confirmed: make(chan struct{})}
	r.enrolment, err = enrol.Open(enrol.Options{
		StateDir: c.StateDir, Collector: c.Collector.Address, JoinToken: token,
		ServiceAccountToken: c.Collector.ServiceAccountToken, Roots: c.Collector.CA,
		Node: c.Node, MachineID: machineID, Now: time.Now, Wait: sleep, Random: rand.Float64, Log: log,
	})
	if err != nil {
		return nil, err
	}
	r.uplink, err = uplink.Open(uplink.Options{
		Folder: filepath.Join(c.StateDir, "spool"), MaxBytes: c.Spool.MaxBytes,
		Collector: c.Collector.Address, Enrolment: r.enrolment, Redactor: redactor, Telemetry: uplink.Telemetry(c.Telemetry),
		SettingsFile: filepath.Join(c.StateDir, "settings"), Bundles: inForce,
		BootID: bootID, Node: c.Node, MachineID: machineID, Version: obs.Version(), Kernel: kernelRelease(),
		Begin: r.confirmed, Hooks: func() []uplink.Hook { return hooksOf(sensor.Hooks()) },
		Ledger:    func() []uplink.LedgerLine { return r.ledger(sensor) },
		LostExecs: func() (uint64, error) { return lostExecs(sensor) },
		Now:       time.Now, Wait: sleep, Random: rand.Float64, Log: log,
	})
	if err != nil {
		return nil, err
	}
	return r, nil
}

// joinToken is nil for an agent that has none.
func joinToken(c config.Collector) (*tlsconf.JoinToken, error) {
	text := c.JoinToken
	if c.JoinTokenFile != "" {
		read, err := tlsconf.ReadFile(c.JoinTokenFile)
		if err != nil {
			return nil, fmt.Errorf("read join token: %w", err)
		}
		text = strings.TrimSpace(string(read))
	}
	if text == "" {
		return nil, nil
	}
	token, err := tlsconf.ParseJoinToken(text)
	if err != nil {
		return nil, fmt.Errorf("read join token: %w", err)
	}
	return &token, nil
}

// agentID is who the agent is to its collector, else own.
func (r *reporter) agentID(own string) string {
	if r != nil {
		if id, ok := r.enrolment.Identity(); ok {
			return id.Name
		}
	}
	return own
}

// watch says whose ledger goes up.
func (r *reporter) watch(stages *pipeline.Pipeline) {
	if r != nil {
		r.stages = stages
	}
}

// begin lets the agent say to the collector which hooks it has.
func (r *reporter) begin() {
	if r != nil {
		close(r.confirmed)
	}
}

func (r *reporter) register(registry prometheus.Registerer) {
	if r != nil {
		registry.MustRegister(r.uplink)
	}
}

// run enrols until ctx ends and reports until telling does, which is later: what the
// last events led to is spooled too.
func (r *reporter) run(ctx, telling context.Context, group *errgroup.Group) {
	if r == nil {
		return
	}
	group.Go(func() error { r.uplink.Run(telling); return nil })
	group.Go(func() error {
		err := r.enrolment.Run(ctx)
		if _, enrolled := r.enrolment.Identity(); err != nil && enrolled {
			// It was away for too long, and nobody gave it a token. What it sees waits in
			// the spool until somebody does.
			r.log.Error("nothing is reported", zap.Error(err))
			return nil
		}
		return err
	})
}

func (r *reporter) close() error {
	if r == nil {
		return nil
	}
	return r.uplink.Close()
}

// ledger is what became of events by now, in the kernel and in the stages.
func (r *reporter) ledger(sensor *probe.Sensor) []uplink.LedgerLine {
	counts, err := sensor.Ledger()
	if err != nil {
		r.log.Warn("no ledger for the collector", zap.Error(err))
		return nil
	}
	delivered := map[event.Kind]uint64{}
	for _, k := range r.stages.Ledger().Kinds {
		delivered[k.Kind] = k.Delivered
	}
	lines := make([]uplink.LedgerLine, 0, len(counts))
	for _, k := range counts {
		lines = append(lines, uplink.LedgerLine{
			Class: k.Kind.String(), Produced: k.Seen, Delivered: delivered[k.Kind],
			Filtered: k.FilteredOwn + k.FilteredInterest + k.FilteredRepeat + k.FilteredRate,
			Dropped:  map[string]uint64{"ring": k.DroppedRing, "scratch": k.DroppedScratch},
		})
	}
	return lines
}

// lostExecs counts execs that the kernel could not tell of, or did not run the hook for.
func lostExecs(sensor *probe.Sensor) (uint64, error) {
	c, err := sensor.Count(event.KindProcessExec)
	return c.DroppedRing + c.DroppedScratch + sensor.Missed()[c.Kind.String()], err
}

// watching says that all that happens from now on is seen.
func (r *reporter) watching() {
	if r != nil {
		r.uplink.Watching(time.Now())
	}
}

// unwatched says that nothing that happens after a time is seen any more.
func (r *reporter) unwatched(after time.Time) {
	if r != nil {
		r.uplink.Unwatched(after)
	}
}

// missedEntry books what the process table took for an entry and could not tell.
func (r *reporter) missedEntry(why process.Missed, at time.Time) {
	if r == nil {
		return
	}
	what := uplink.Miss{Class: queue.Entries}
	switch why {
	case process.MissedContainer:
		what.Reason = "nobody can tell the cgroup that a process came into"
	case process.MissedRuntime:
		what.Reason = "a process came into a container, and what asked for it was not seen"
	case process.MissedRate:
		what = uplink.Miss{Class: event.KindNetworkConnect, Reason: "more connections into a pod's network in a second than are told"}
	}
	r.uplink.Missed(what, at, at)
}

// missed books what the stages could not tell, or not whole.
func (r *reporter) missed(why pipeline.Missed, class event.Kind, since, until time.Time) {
	if r == nil {
		return
	}
	what := uplink.Miss{Class: queue.Entries}
	switch why {
	case pipeline.Nameless:
		what.Reason = "its container's name was not known in time"
		if class == event.KindNetworkConnect {
			what.Class = class
		}
	case pipeline.Unread:
		what = uplink.Miss{Class: class, Reason: "a record of the kernel could not be read"}
	}
	r.uplink.Missed(what, since, until)
}

func hooksOf(statuses []probe.HookStatus) []uplink.Hook {
	hooks := make([]uplink.Hook, 0, len(statuses))
	for _, h := range statuses {
		var reasons []string
		for _, refused := range h.Refused {
			reasons = append(reasons, string(refused.Rung)+": "+refused.Reason)
		}
		hooks = append(hooks, uplink.Hook{Name: h.Hook, Rung: string(h.Rung), Confirmed: h.Confirmed, Reason: strings.Join(reasons, "; ")})
	}
	return hooks
}

// kernelRelease is what uname -r prints.
func kernelRelease() string {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return ""
	}
	return unix.ByteSliceToString(name.Release[:])
}

// sleep waits, or returns why ctx ended first.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
