package probe

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/rlimit"
	"go.uber.org/zap"

	"github.com/seawall-security/seawall/bpf"
	"github.com/seawall-security/seawall/internal/rule"
)

// Options say what a sensor is to see.
type Options struct {
	Log *zap.Logger
	// Hierarchy is the cgroup hierarchy that container runtimes use.
	Hierarchy Hierarchy
	// DecisiveBytes and BulkBytes are ring sizes: powers of two, multiples of the page size.
	DecisiveBytes, BulkBytes int
	// Ceiling forbids rungs above it; empty: none.
	Ceiling Rung
	// Interest is what the rules ask for at first; see Switch.
	Interest rule.Interest
	// Unfiltered admits everything but the agent's own acts.
	Unfiltered bool
	// TreeRate is how many events per second one tree of interest may send; 0: DefaultTreeRate.
	TreeRate uint32
}

// DefaultTreeRate lets an intruder's shell be followed in full and a build under a
// marked tree (some thousand opens a second) not fill the ring.
const DefaultTreeRate = 1000

// Hierarchy names a cgroup hierarchy as the kernel does.
type Hierarchy struct {
	// ID as in the first column of /proc/PID/cgroup; 0: the unified one.
	ID uint32
	// Controller is one of the hierarchy's controllers; empty for the unified one.
	Controller string
	// Mount is where it is mounted: the self-test makes a cgroup there.
	Mount string
}

// Sensor holds the programs, links and maps. Its methods may be called from any
// goroutine, Read from one at a time.
type Sensor struct {
	log     *zap.Logger
	host    *Host
	options Options
	maps    *sharedMaps
	rings   [2]*ring

	sequence   [2]sequences
	witness    witness
	disordered atomic.Uint64 // bulk records delivered although a decisive one was being written

	switching sync.Mutex    // held while the maps turn from one interest to another
	interest  rule.Interest // that the maps hold; guarded by switching

	mu      sync.Mutex // guards what follows
	objects []*loadedObject
	hooks   []*hookState
	calls   *callTable
}

// Open loads and attaches every hook at its best rung that loads. A required hook that
// attaches nowhere is an error; any other is a status (see Hooks).
func Open(options Options) (_ *Sensor, err error) {
	if options.TreeRate == 0 {
		options.TreeRate = DefaultTreeRate
	}
	s := &Sensor{log: options.Log, options: options, host: LearnHost()}
	defer func() {
		if err != nil {
			err = errors.Join(forbidden(err), s.Close())
		}
	}()
	if err := s.host.usable(); err != nil {
		return nil, err
	}
	// Before 5.11 maps and programs count as locked memory, which is limited to 64 KiB.
	if err := rlimit.RemoveMemlock(); err != nil {
		return nil, fmt.Errorf("lift the limit of locked memory: %w", err)
	}
	if s.maps, err = newSharedMaps(options); err != nil {
		return nil, err
	}
	if err := s.learn(); err != nil {
		return nil, err
	}
	config, err := s.host.config(options)
	if err != nil {
		return nil, err
	}
	for id, m := range []*ebpf.Map{Decisive: s.maps.decisive, Bulk: s.maps.bulk} {
		if s.rings[id], err = openRing(m); err != nil {
			return nil, err
		}
		s.sequence[id].cpus = make([]cpuSequence, ebpf.MustPossibleCPU())
	}
	if err := s.fill(); err != nil {
		return nil, err
	}
	s.calls = &callTable{maps: s.maps, config: config, host: s.host}
	for _, o := range objects() {
		loaded, err := loadObject(o, config, s.maps, s.host)
		if err != nil {
			return nil, err
		}
		s.objects = append(s.objects, loaded)
		for _, h := range o.hooks {
			state := &hookState{hook: h, object: loaded, next: 0}
			s.hooks = append(s.hooks, state)
			if err := s.attach(state); err != nil {
				if h.required {
					return nil, fmt.Errorf("attach %s: %w", h.name, err)
				}
				s.log.Warn("hook could not be attached", zap.String("hook", h.name), zap.Error(err))
			}
		}
	}
	return s, nil
}

// fill makes the kernel admit what the options say, before any hook asks.
func (s *Sensor) fill() error {
	if err := s.maps.widen(admission{}, newAdmission(s.options.Interest)); err != nil {
		return err
	}
	s.interest = s.options.Interest
	if !s.options.Unfiltered {
		return nil
	}
	return s.maps.update(func(c *bpf.LayoutRunControl) { c.Unfiltered = 1 })
}

// Close detaches all hooks and frees the kernel's objects: links, programs, rings, maps.
func (s *Sensor) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for _, h := range s.hooks {
		errs = append(errs, h.detach(s.calls))
	}
	errs = append(errs, s.calls.close())
	for _, o := range s.objects {
		errs = append(errs, o.close())
	}
	for _, r := range s.rings {
		if r != nil {
			errs = append(errs, r.close())
		}
	}
	s.hooks, s.objects, s.rings = nil, nil, [2]*ring{}
	return errors.Join(append(errs, s.maps.close())...)
}

// Host is what was learnt of the host at Open.
func (s *Sensor) Host() *Host { return s.host }

// Hooks tells how every hook is attached now.
func (s *Sensor) Hooks() []HookStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	statuses := make([]HookStatus, 0, len(s.hooks))
	for _, h := range s.hooks {
		statuses = append(statuses, h.status())
	}
	return statuses
}

// hookState is a hook on its way down the ladder.
type hookState struct {
	hook       hook
	object     *loadedObject
	next       int // the attempt to try next
	rung       Rung
	link       link.Link
	calls      []placed // entries in the call tables
	confirmed  bool
	unprovable bool // the host does not let us provoke its event
	refused    []Refusal
}

func (h *hookState) status() HookStatus {
	status := HookStatus{Hook: h.hook.name, Kind: h.hook.kind, Rung: RungNone, Confirmed: h.confirmed, Refused: h.refused}
	if h.attached() {
		status.Rung = h.rung
	}
	return status
}

func (h *hookState) attached() bool { return h.link != nil || len(h.calls) > 0 }

// refuse notes why the rung is not taken.
func (h *hookState) refuse(rung Rung, reason string) {
	h.refused = append(h.refused, Refusal{Rung: rung, Reason: reason})
}

func (h *hookState) detach(calls *callTable) error {
	var errs []error
	if h.link != nil {
		errs = append(errs, h.link.Close())
		h.link = nil
	}
	for _, p := range h.calls {
		errs = append(errs, calls.remove(p))
	}
	h.calls = nil
	return errors.Join(errs...)
}

// attach goes down the ladder from the state's next attempt to the first that attaches.
func (s *Sensor) attach(h *hookState) error {
	for ; h.next < len(h.hook.attempts); h.next++ {
		a := h.hook.attempts[h.next]
		if s.options.Ceiling != "" && a.rung.height() > s.options.Ceiling.height() {
			h.refuse(a.rung, "above the configured ceiling "+string(s.options.Ceiling))
			continue
		}
		err := s.try(h, a)
		if err == nil {
			h.rung = a.rung
			h.next++
			return nil
		}
		h.refuse(a.rung, reason(err))
		s.log.Debug("rung refused", zap.String("hook", h.hook.name), zap.String("rung", string(a.rung)), zap.Error(err))
	}
	return fmt.Errorf("no rung is left: %s", h.status())
}

func (s *Sensor) try(h *hookState, a attempt) error {
	switch a.rung {
	case RungSyscall:
		placed, err := s.calls.place(h.object, a)
		if err != nil {
			return err
		}
		h.calls = placed
		return nil
	case RungLSM, RungFentry, RungTracepoint, RungNone:
	}
	program, err := h.object.program(a.program)
	if err != nil {
		return err
	}
	var l link.Link
	if a.rung == RungLSM {
		l, err = link.AttachLSM(link.LSMOptions{Program: program})
	} else {
		l, err = link.AttachTracing(link.TracingOptions{Program: program})
	}
	if err != nil {
		return fmt.Errorf("attach %s: %w", a.program, err)
	}
	h.link = l
	return nil
}

// forbidden says what the agent needs to be let, where it was not.
func forbidden(err error) error {
	if !errors.Is(err, os.ErrPermission) {
		return err
	}
	return fmt.Errorf("%w; the agent needs root, or CAP_BPF, CAP_PERFMON, CAP_SYS_ADMIN and CAP_SYS_RESOURCE, "+
		"and a container's seccomp profile and the kernel's lockdown must let it use bpf(2)", err)
}

// reason is an error on one line: the verifier's log stays out of it.
func reason(err error) string {
	var refused *ebpf.VerifierError
	if errors.As(err, &refused) {
		return fmt.Sprintf("%v", refused)
	}
	return err.Error()
}
