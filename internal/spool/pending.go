package spool

import "time"

const (
	// chunkBytes is how pending memory is taken and dropped.
	chunkBytes = 64 << 10
	// idleChunks are kept for the next entries; others go back to Go.
	idleChunks = 32
)

// minPendingBytes lets each lane have a chunk in the writer's hands and one to fill, and
// one lane two of the largest entries.
func minPendingBytes(lanes int) int {
	return 2 * (lanes*chunkBytes + entryHeaderBytes + MaxEntryBytes)
}

// chunk is memory with whole encoded entries that are not durable yet. Those in the
// writer's hands change only there.
type chunk struct {
	buf     []byte
	number  uint64 // of the first entry, counted over the lane's appends
	last    uint64 // of the last
	opened  time.Time
	durable int // so much of buf is
	written int // so much of buf is in a file
}

// room returns a chunk of l with space for n more bytes, dropping what ranks lowest and is
// oldest if the memory is used up; nil if nothing may be dropped for l. Callers hold the mutex.
func (s *Spool) room(l *lane, n int) *chunk {
	if len(l.pending) > l.flight {
		if c := l.pending[len(l.pending)-1]; cap(c.buf)-len(c.buf) >= n {
			return c
		}
	}
	size := max(chunkBytes, n)
	for s.pendingBytes+size > s.options.MaxPendingBytes {
		if !s.dropPending(l) {
			return nil
		}
	}
	var c *chunk
	if idle := len(s.idle) - 1; size == chunkBytes && idle >= 0 {
		c, s.idle = s.idle[idle], s.idle[:idle]
	} else {
		c = &chunk{buf: make([]byte, 0, size)}
	}
	s.pendingBytes += size
	l.pendingBytes += size
	c.number, c.opened = l.appended, time.Now()
	l.pending = append(l.pending, c)
	s.signal()
	return c
}

// dropPending drops the oldest chunk, not in the writer's hands, of the lowest lane that
// does not outrank l.
func (s *Spool) dropPending(l *lane) bool {
	for rank := len(s.lanes) - 1; rank >= l.rank; rank-- {
		if victim := s.lanes[rank]; len(victim.pending) > victim.flight {
			s.drop(victim, victim.flight, Unwritable)
			return true
		}
	}
	return false
}

// drop books and frees the pending chunk at index i. Callers hold the mutex.
func (s *Spool) drop(l *lane, i int, r Reason) {
	c := l.pending[i]
	var t tally
	for at := c.durable; at < len(c.buf); {
		h := parseHead(c.buf[at:])
		t.add(h)
		at += h.size()
	}
	l.queuedPending -= t.count
	s.book(l, gapOf(l.name, r, &t))
	for _, w := range s.waiters {
		w.dropped(l, c)
	}
	if s.telling != nil {
		s.telling.dropped(l, c)
	}
	s.free(l, i)
}

func (s *Spool) free(l *lane, i int) {
	c := l.pending[i]
	copy(l.pending[i:], l.pending[i+1:])
	l.pending[len(l.pending)-1] = nil
	l.pending = l.pending[:len(l.pending)-1]
	s.pendingBytes -= cap(c.buf)
	l.pendingBytes -= cap(c.buf)
	if cap(c.buf) == chunkBytes && len(s.idle) < idleChunks {
		*c = chunk{buf: c.buf[:0]}
		s.idle = append(s.idle, c)
	}
}

// waiter waits until what had been appended when it was made has left pending memory.
type waiter struct {
	since, until []uint64 // numbers of appends per lane: above since, up to until
	lost         bool     // some of it was dropped
	done         chan struct{}
}

func (w *waiter) dropped(l *lane, c *chunk) {
	w.lost = w.lost || c.number <= w.until[l.rank] && c.last > w.since[l.rank]
}

// numbers is how many appends there were, per lane. Callers hold the mutex.
func (s *Spool) numbers() []uint64 {
	n := make([]uint64, len(s.lanes))
	for i, l := range s.lanes {
		n[i] = l.appended
	}
	return n
}

func (s *Spool) reached(w *waiter) bool {
	for _, l := range s.lanes {
		if len(l.pending) > 0 && l.pending[0].number <= w.until[l.rank] {
			return false
		}
	}
	return true
}

// checkWaiters lets those go that have what they wait for. Callers hold the mutex.
func (s *Spool) checkWaiters() {
	kept := s.waiters[:0]
	for _, w := range s.waiters {
		if s.reached(w) {
			close(w.done)
		} else {
			kept = append(kept, w)
		}
	}
	clear(s.waiters[len(kept):])
	s.waiters = kept
	if s.telling != nil && s.reached(s.telling) {
		s.afterTelling(s.telling.lost)
	}
}
