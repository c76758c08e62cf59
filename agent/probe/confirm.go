package probe

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/seawall-security/seawall/bpf"
	"github.com/seawall-security/seawall/internal/event"
)

// provokeWait is how long a provoked event may take from hook to reader: the reader's
// interval is 20 ms, the rest is for a host whose cores are all taken.
const provokeWait = 3 * time.Second

// Confirm fires every hook and waits for its event. A hook whose event does not come is
// detached and tried one rung down, until it is confirmed or no rung is left. An act
// that this host does not let the agent do (a read-only cgroup mount, say) leaves its
// hook attached and unconfirmed, with the reason.
//
// Read must be running. The agent's own acts are admitted meanwhile, marked as
// self-test.
func (s *Sensor) Confirm(ctx context.Context) error {
	if err := s.selfTest(1); err != nil {
		return err
	}
	defer func() {
		if err := s.selfTest(0); err != nil {
			s.log.Error("end self-test", zap.Error(err))
		}
	}()
	stage, err := newStage(s.options.Hierarchy.Mount)
	if err != nil {
		return fmt.Errorf("prepare self-test: %w", err)
	}
	defer stage.close()

	for {
		pending := s.unconfirmed()
		if len(pending) == 0 {
			return nil
		}
		if err := s.provoke(ctx, stage, pending); err != nil {
			return err
		}
	}
}

func (s *Sensor) selfTest(on uint32) error {
	return s.maps.update(func(c *bpf.LayoutRunControl) { c.SelfTest = on })
}

// unconfirmed are attached hooks that were not proven and can still be.
func (s *Sensor) unconfirmed() []*hookState {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(s.hooks), func(h *hookState) bool {
		return h.confirmed || h.unprovable || !h.attached()
	})
}

// provoke does the act of each hook once and moves those that stayed silent down.
func (s *Sensor) provoke(ctx context.Context, stage *stage, hooks []*hookState) error {
	s.witness.begin()
	defer s.witness.end()
	var acted []*hookState
	for _, h := range hooks {
		if err := stage.act(h.hook.kind); err != nil {
			s.mark(func() {
				h.unprovable = true
				h.refuse(h.rung, fmt.Sprintf("not confirmed: %v", err))
			})
			continue
		}
		acted = append(acted, h)
	}
	deadline, cancel := context.WithTimeout(ctx, provokeWait)
	defer cancel()
	for _, h := range acted {
		if s.await(deadline, h.hook.kind) {
			s.mark(func() { h.confirmed = true })
			continue
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err := s.moveDown(h); err != nil {
			return err
		}
	}
	return nil
}

func (s *Sensor) await(ctx context.Context, kind event.Kind) bool {
	for {
		saw, changed := s.witness.saw(kind)
		if saw {
			return true
		}
		select {
		case <-changed:
		case <-ctx.Done():
			saw, _ = s.witness.saw(kind)
			return saw
		}
	}
}

func (s *Sensor) mark(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

func (s *Sensor) moveDown(h *hookState) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	h.refuse(h.rung, "attached, but its event never came: "+s.host.whySilent(h.rung))
	if err := h.detach(s.calls); err != nil {
		return fmt.Errorf("detach %s: %w", h.hook.name, err)
	}
	if err := s.attach(h); err != nil {
		if h.hook.required {
			return fmt.Errorf("confirm %s: %w", h.hook.name, err)
		}
		s.log.Warn("hook could not be confirmed on any rung", zap.String("hook", h.hook.name), zap.Error(err))
	}
	return nil
}

// whySilent guesses why a program attached and did not run, for the status.
func (h *Host) whySilent(rung Rung) string {
	if rung == RungLSM && len(h.LSMs) > 0 && !slices.Contains(h.LSMs, "bpf") {
		return "bpf is not among the active LSMs"
	}
	return "no cause known"
}

// ErrUnconfirmed says that a hook is not proven to see anything.
var ErrUnconfirmed = errors.New("hook is not confirmed")

// Check returns an error naming every hook that is not confirmed.
func (s *Sensor) Check() error {
	var errs []error
	for _, h := range s.Hooks() {
		if !h.Confirmed {
			errs = append(errs, fmt.Errorf("%w: %s", ErrUnconfirmed, h))
		}
	}
	return errors.Join(errs...)
}
