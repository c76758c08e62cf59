package audit

import (
	"context"
	"fmt"
	"time"

	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	collectorv1 "github.com/seawall-security/seawall/proto/collector/v1"
)

const (
	// lookEvery is how soon a change is told.
	lookEvery = time.Second
	// tellEvery is how soon what came is told.
	tellEvery = time.Minute
)

// Run tells how the sources are, until ctx ends. Without any and without a past there is
// nothing to tell.
func (h *Health) Run(ctx context.Context) error {
	every := time.NewTicker(lookEvery)
	defer every.Stop()
	said := ""
	for {
		err := h.tell(ctx, h.now())
		switch text := fmt.Sprint(err); {
		case ctx.Err() != nil:
		case err == nil:
			said = ""
		case text != said: // once, not every second
			said = text
			h.logger.Warn("the state of the audit sources is not in the log", zap.Error(err))
		}
		select {
		case <-every.C:
		case <-ctx.Done():
			if h.said == "" { // only this goroutine changes it
				return nil
			}
			return h.save(context.WithoutCancel(ctx))
		}
	}
}

// tell writes a message if there is something to say, and keeps what it rests on. After an
// error it is said again.
func (h *Health) tell(ctx context.Context, now time.Time) error {
	state, gaps := h.news(now)
	if state == nil {
		return nil
	}
	message, err := proto.Marshal(&collectorv1.LogMessage{Body: &collectorv1.LogMessage_AuditState{AuditState: state}})
	if err != nil {
		return fmt.Errorf("encode the state of the audit sources: %w", err)
	}
	if err := h.log.Append(ctx, message); err != nil {
		return err
	}
	h.mu.Lock()
	h.told, h.said = now, gist(state)
	for _, g := range gaps {
		g.untold = false
	}
	h.unfinished.due = h.unfinished.due[len(state.Unfinished):]
	h.mu.Unlock()
	return h.save(ctx)
}

// news is the message that is due, and the gaps that are in it; nil: none is.
func (h *Health) news(now time.Time) (*collectorv1.AuditState, []*gap) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.judge(now)
	minute := now.Sub(h.told) >= tellEvery
	if minute {
		h.total()
	}
	var gaps []*gap
	for _, g := range h.gaps {
		if g.untold {
			gaps = append(gaps, g)
		}
	}
	state := h.state(now)
	switch {
	case h.said == "" && len(h.sources) == 0 && h.condition == collectorv1.AuditCondition_AUDIT_CONDITION_OFF && h.since.Equal(h.started):
		return nil, nil // there never was one
	case len(gaps) == 0 && len(h.unfinished.due) == 0 && h.said == gist(state) && !(minute && h.fresh):
		return nil, nil
	}
	h.fresh = false
	for _, g := range gaps {
		state.Gaps = append(state.Gaps, g.message())
	}
	due := h.unfinished.due
	state.Unfinished = due[:min(len(due), maxUnfinishedTold)]
	return state, gaps
}

// judge brings everything up to date. h.mu is held.
func (h *Health) judge(now time.Time) {
	for _, s := range h.sources {
		s.judge(now)
	}
	h.expire(now)
	h.look(now)
	defer h.giveUp(now)
	condition, of := h.together()
	if condition == h.condition {
		return
	}
	h.condition, h.since = condition, now
	if condition == collectorv1.AuditCondition_AUDIT_CONDITION_STALE {
		h.since = time.Time{}
		for _, s := range of {
			h.since = later(h.since, s.since)
		}
	}
}

// gist is what a message says but for times and counts.
func gist(state *collectorv1.AuditState) string {
	text := state.Condition.String()
	for _, s := range state.Sources {
		text += fmt.Sprint("\n", s.Name, s.Condition, s.Skewed)
		for _, one := range s.Servers {
			text += fmt.Sprint("\n", one.Name, one.Condition)
		}
	}
	return text
}

// state is how everything is. h.mu is held.
func (h *Health) state(now time.Time) *collectorv1.AuditState {
	condition, of := h.together()
	out := &collectorv1.AuditState{Cluster: h.cluster, Time: timestamppb.New(now), Condition: condition, Since: timestamppb.New(h.since), Newest: stamp(newest(of))}
	if skew, delay, known := lateness(of); known {
		out.Skew, out.Delay = durationpb.New(skew), durationpb.New(delay)
	}
	if condition == collectorv1.AuditCondition_AUDIT_CONDITION_OFF {
		out.Reason = "no audit source is configured"
	}
	for _, s := range h.sources {
		m := &collectorv1.AuditSource{Name: s.name, Kind: string(s.kind), Condition: s.condition, Since: timestamppb.New(s.since),
			Newest: stamp(s.newest), Received: stamp(s.received), Skewed: s.skewed(), Reason: s.explain(now),
			Events: s.events, Repeated: s.repeated, Unreadable: s.unreadable, TooLarge: s.tooLarge, Refused: s.refused,
			Servers: s.serverStates(now)}
		if skew, delay, known := s.lateness(); known {
			m.Skew, m.Delay = durationpb.New(skew), durationpb.New(delay)
		}
		out.Sources = append(out.Sources, m)
		if m.Reason != "" {
			if out.Reason != "" {
				out.Reason += "; "
			}
			out.Reason += s.name + ": " + m.Reason
		}
	}
	return out
}

// State is how everything is now, with all gaps that are not filled.
func (h *Health) State() *collectorv1.AuditState {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := h.now()
	h.judge(now)
	state := h.state(now)
	for _, g := range h.gaps {
		if !g.filled && !g.untold {
			state.Gaps = append(state.Gaps, g.message())
		}
	}
	return state
}

// stamp is absent for the zero time.
func stamp(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}
