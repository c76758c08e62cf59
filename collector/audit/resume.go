package audit

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"google.golang.org/protobuf/proto"

	collectorv1 "github.com/seawall-security/seawall/proto/collector/v1"
)

// resumeFrom is how much of the log's end is read at the start. What may come again after a
// restart is not older: what a file's position is behind by, what was answered by nobody,
// and what one source brings later than another (30 s of batching and 80 s of tries).
const resumeFrom = 2 * time.Minute

// History calls handle for the messages of the last part of the log, in their order, from so
// long before the last one on.
type History func(ctx context.Context, back time.Duration, handle func(message []byte) error) error

// Resume remembers what an earlier run took last: so it is known again, and so is the very
// event behind which something may be missing, though that run was killed. It is called
// before anything is taken.
func (i *Intake) Resume(ctx context.Context, history History) error {
	err := history(ctx, resumeFrom, func(data []byte) error {
		message := &collectorv1.LogMessage{}
		if err := proto.Unmarshal(data, message); err != nil {
			return nil // correlation says so
		}
		switch body := message.Body.(type) {
		case *collectorv1.LogMessage_Audit:
			i.remember(body.Audit.Events)
			i.health.remember(body.Audit)
		case *collectorv1.LogMessage_AuditState:
			i.health.recall(body.AuditState)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("read what was taken of the audit log last: %w", err)
	}
	i.health.resume()
	return nil
}

// remember takes a batch in again.
func (h *Health) remember(b *collectorv1.AuditBatch) {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := slices.IndexFunc(h.sources, func(s *source) bool { return s.name == b.Source })
	if n < 0 {
		return // it was configured then
	}
	stages := make([]time.Time, len(b.Events))
	for i, e := range b.Events {
		stages[i] = e.StageTime.AsTime()
		h.observe(b.Source, b.Received.AsTime(), e)
	}
	h.sources[n].arrived(b.Received.AsTime(), span{}, stages)
	h.sources[n].served(b.Server, b.Received.AsTime(), span{}, stages)
}

// recall takes in gaps that were told and not kept.
func (h *Health) recall(m *collectorv1.AuditState) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.down.since = later(h.down.since, m.Time.AsTime())
	for _, told := range m.Gaps {
		id, err := strconv.ParseInt(told.Id, 10, 64)
		if err != nil || told.Gap == nil {
			continue
		}
		g := gapOf(id, told)
		i, known := slices.BinarySearchFunc(h.gaps, g, order)
		if known {
			h.gaps[i] = g
		} else {
			h.gaps = slices.Insert(h.gaps, i, g)
		}
	}
}

func gapOf(id int64, told *collectorv1.AuditGap) *gap {
	of := told.Gap
	return &gap{id: id, source: told.Source, reason: of.Reason, count: of.Count, filled: told.Filled,
		span: span{of.Since.AsTime(), of.Until.AsTime()}}
}

// resume begins the new run.
func (h *Health) resume() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, s := range h.sources {
		s.resumed = true
		for _, one := range s.servers {
			one.resumed = true
		}
		h.down.since = later(h.down.since, s.received)
	}
	h.down.until = h.started
}
