package spool

// Reason says why entries were lost.
type Reason uint8

const (
	// Evicted entries were on disk, or about to be, when the bytes allowed ran out.
	Evicted Reason = iota
	// Unwritable entries were still in memory when the disk, full, failing or too slow,
	// had not taken them and the memory allowed ran out.
	Unwritable
	// Corrupt entries were on disk and cannot be read back, or their file is gone.
	Corrupt
	// Oversized entries were refused by Append.
	Oversized
	// Crash stands for what was younger than the promise when the owner ended without
	// Close. How many there were is not known, nor whether there were any.
	Crash

	reasons
)

// Reasons are all there are.
func Reasons() []Reason { return []Reason{Evicted, Unwritable, Corrupt, Oversized, Crash} }

func (r Reason) String() string {
	if r >= reasons {
		return "unknown"
	}
	return [reasons]string{"evicted", "unwritable", "corrupt", "oversized", "crash"}[r]
}

// Gap tells what a lane has lost.
type Gap struct {
	Lane   Lane
	Reason Reason
	// First and Last bound the sequences lost; between them there may be others that
	// were not. Zero where not known.
	First, Last uint64
	// Since and Until bound the times, in Unix nanoseconds. Zero where not known.
	Since, Until int64
	// Count is how many entries are known to be lost.
	Count uint64
	// More says that further ones may be, how many is not known.
	More bool `json:",omitempty"`
	// Classes is how many of Count were of which class. Of damaged entries the class is
	// not always known, so the sum may be below Count.
	Classes map[uint8]uint64 `json:",omitempty"`
}

// keptGaps is how many gaps may wait to be told; then they merge per lane and reason.
const keptGaps = 64

// gapOf tells the entries of t.
func gapOf(l Lane, r Reason, t *tally) Gap {
	g := Gap{Lane: l, Reason: r, First: t.first, Last: t.last, Since: t.since, Until: t.till, Count: t.count}
	if len(t.classes) > 0 {
		g.Classes = make(map[uint8]uint64, len(t.classes))
	}
	for _, c := range t.classes {
		if c.count > 0 {
			g.Classes[c.class] = c.count
		}
	}
	return g
}

// merge adds what o tells of the same lane and reason.
func (g *Gap) merge(o Gap) {
	g.First, g.Last = lowest(g.First, o.First), max(g.Last, o.Last)
	g.Since, g.Until = lowest(g.Since, o.Since), max(g.Until, o.Until)
	g.Count += o.Count
	g.More = g.More || o.More
	for class, n := range o.Classes {
		if g.Classes == nil {
			g.Classes = map[uint8]uint64{}
		}
		g.Classes[class] += n
	}
}

// lowest is the lower of two, where zero means that it is not known.
func lowest[T uint64 | int64](a, b T) T {
	if a == 0 || b == 0 {
		return max(a, b)
	}
	return min(a, b)
}

// sameRange says that two gaps tell the same loss: a damaged segment is found again at
// each start until what follows it is acked.
func (g *Gap) sameRange(o Gap) bool {
	return g.Lane == o.Lane && g.Reason == o.Reason && g.First == o.First && g.Last == o.Last
}

// book counts a loss and keeps it to be told. Callers hold the mutex.
func (s *Spool) book(l *lane, g Gap) {
	l.dropped[g.Reason] += g.Count
	s.keep(g)
	s.dirty()
}

func (s *Spool) keep(g Gap) {
	if s.options.OnGap == nil || g.Count == 0 && !g.More {
		return
	}
	same := -1
	for i := range s.gaps {
		if s.gaps[i].sameRange(g) && g.Reason == Corrupt {
			return
		}
		if s.gaps[i].Lane == g.Lane && s.gaps[i].Reason == g.Reason {
			same = i
		}
	}
	// Damage is told piece by piece, everything else is one stretch that goes on.
	if same >= 0 && (g.Reason != Corrupt || len(s.gaps) >= keptGaps) {
		s.gaps[same].merge(g)
		return
	}
	s.gaps = append(s.gaps, g)
}

// tell calls OnGap with all that is booked. What the callback appends is part of the
// telling: until it is durable the gaps stay in the saved state.
func (s *Spool) tell() {
	s.mu.Lock()
	s.told, s.gaps = s.gaps, nil
	since := s.numbers()
	s.mu.Unlock()
	for _, g := range s.told { // only this goroutine replaces it
		s.options.OnGap(s, g)
	}
	s.mu.Lock()
	// Once the spool is closing OnGap could append nothing.
	s.telling = &waiter{since: since, until: s.numbers(), lost: s.closed}
	s.checkWaiters()
	s.mu.Unlock()
}

// afterTelling forgets what was told, or tells it again if the telling itself was lost.
// Callers hold the mutex.
func (s *Spool) afterTelling(lost bool) {
	s.telling = nil
	told := s.told
	s.told = nil
	if lost {
		for _, g := range told {
			s.keep(g)
		}
	}
	s.dirty()
}
