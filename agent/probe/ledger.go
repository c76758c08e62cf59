package probe

import (
	"fmt"

	"github.com/seawall-security/seawall/bpf"
	"github.com/seawall-security/seawall/internal/event"
)

// KindCount is the kernel's part of the ledger for one kind, summed over CPUs:
// Seen = FilteredOwn + FilteredInterest + FilteredRepeat + FilteredRate + Emitted +
// DroppedRing + DroppedScratch, up to the hooks that run at this moment.
type KindCount struct {
	Kind             event.Kind
	Seen             uint64
	FilteredOwn      uint64 // the agent's own acts
	FilteredInterest uint64 // no rule and no tree asked for it
	FilteredRepeat   uint64 // the same process did the same before
	FilteredRate     uint64 // its tree of interest was over its rate
	Emitted          uint64
	DroppedRing      uint64 // the ring was full
	DroppedScratch   uint64 // too many programs preempted each other on one CPU
}

// Unbalanced is Seen less everything it has to be the sum of.
func (c KindCount) Unbalanced() int64 {
	return int64(c.Seen - c.FilteredOwn - c.FilteredInterest - c.FilteredRepeat - c.FilteredRate -
		c.Emitted - c.DroppedRing - c.DroppedScratch)
}

// Ledger reads the kernel's counts of all kinds that agents report.
func (s *Sensor) Ledger() ([]KindCount, error) {
	counts := make([]KindCount, 0, len(event.Kinds))
	for _, kind := range event.Kinds {
		c, err := s.Count(kind)
		if err != nil {
			return nil, err
		}
		counts = append(counts, c)
	}
	return counts, nil
}

// Count reads the kernel's counts of one kind.
func (s *Sensor) Count(kind event.Kind) (KindCount, error) {
	c := KindCount{Kind: kind}
	var rows []bpf.LayoutLedgerRow
	if err := s.maps.ledger.Lookup(uint32(kind), &rows); err != nil {
		return c, fmt.Errorf("read ledger of %s: %w", kind, err)
	}
	for _, r := range rows {
		c.Seen += r.Seen
		c.FilteredOwn += r.FilteredOwn
		c.FilteredInterest += r.FilteredInterest
		c.FilteredRepeat += r.FilteredRepeat
		c.FilteredRate += r.FilteredRate
		c.Emitted += r.Emitted
		c.DroppedRing += r.DroppedRing
		c.DroppedScratch += r.DroppedScratch
	}
	return c, nil
}

// RingCount is what one ring's reader knows.
type RingCount struct {
	Ring Ring
	// Missing counts sequence numbers passed over. It equals the ring's drops once every
	// CPU that dropped has sent another record and the ring is read empty.
	Missing uint64
}

// Rings tells of both rings. It is exact while Read is idle.
func (s *Sensor) Rings() [2]RingCount {
	var counts [2]RingCount
	for id := range counts {
		counts[id] = RingCount{Ring: Ring(id), Missing: s.sequence[id].missing()}
	}
	return counts
}

// Disordered counts bulk records that were delivered although a decisive record was still
// being written: its process may not have been known.
func (s *Sensor) Disordered() uint64 { return s.disordered.Load() }

// Missed is how often the kernel did not run a program because it was running on that
// CPU already (a program preempted by its own hook), by program. Kernels before 5.12 do
// not count.
func (s *Sensor) Missed() map[string]uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	missed := map[string]uint64{}
	for _, o := range s.objects {
		for name, c := range o.programs {
			stats, err := c.Programs[name].Stats()
			if err == nil && stats.RecursionMisses > 0 {
				missed[name] = stats.RecursionMisses
			}
		}
	}
	return missed
}
