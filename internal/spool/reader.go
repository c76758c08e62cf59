package spool

import (
	"context"
	"errors"
	"fmt"
	"sort"
	"sync"
)

// MaxUnacked is how many entries may be read and not acked.
const MaxUnacked = 1 << 16

var (
	// ErrUnacked says that MaxUnacked entries wait for Ack.
	ErrUnacked = errors.New("too many entries read and not acked")
	// ErrUnread refuses to ack what was not read.
	ErrUnread = errors.New("not read yet")
	// ErrReader says that the lane has a reader already.
	ErrReader = errors.New("the lane has a reader")
)

// Reader reads one lane. Next is for one goroutine; Ack and Close may come from others.
type Reader struct {
	spool *Spool
	lane  *lane
	done  chan struct{}

	next    sync.Mutex // held by Next, and guards what follows
	segment *segment
	file    file
	crc     uint32
	window  window

	// The spool's mutex guards these. The cursor is where the next entry begins.
	closed  bool
	offset  int64
	ordinal uint64
	read    uint64 // highest sequence given
}

// Reader begins at the first entry that is not acked. A lane has one reader at a time.
func (s *Spool) Reader(name Lane) (*Reader, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l, err := s.lane(name)
	switch {
	case err != nil:
		return nil, fmt.Errorf("read: %w", err)
	case s.closed:
		return nil, fmt.Errorf("read %s: %w", name, ErrClosed)
	case l.reader != nil:
		return nil, fmt.Errorf("read %s: %w", name, ErrReader)
	}
	l.reader = &Reader{spool: s, lane: l, done: make(chan struct{})}
	l.delivered.reset()
	return l.reader, nil
}

// Next waits for the next durable entry. Its Data is lent until the next call, or Close.
func (r *Reader) Next(ctx context.Context) (Entry, error) {
	r.next.Lock()
	defer r.next.Unlock()
	for {
		ready, err := r.position()
		if err != nil {
			return Entry{}, fmt.Errorf("read %s: %w", r.lane.name, err)
		}
		if ready {
			e, ok, err := r.entry()
			if err != nil {
				return Entry{}, fmt.Errorf("read %s: %w", r.lane.name, err)
			}
			if ok {
				return e, nil
			}
			continue
		}
		select {
		case <-r.lane.ready:
		case <-r.done:
		case <-r.spool.stop:
		case <-ctx.Done():
			return Entry{}, fmt.Errorf("read %s: %w", r.lane.name, ctx.Err())
		}
	}
}

// position moves to the segment that has the next entry, if there is one.
func (r *Reader) position() (bool, error) {
	s, l := r.spool, r.lane
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case r.closed || s.closed:
		return false, ErrClosed
	case l.delivered.len() >= MaxUnacked:
		return false, ErrUnacked
	}
	for r.segment == nil || r.segment.gone || r.ordinal >= r.segment.end {
		i := 0
		if g := r.segment; g != nil {
			i = sort.Search(len(l.segments), func(i int) bool { return l.segments[i].id > g.id })
		}
		if i == len(l.segments) {
			return false, nil
		}
		r.leave()
		r.segment = l.segments[i]
		r.crc = seed(r.segment.salt)
		r.ordinal, r.offset = r.segment.ordinal, headerBytes
	}
	return true, nil
}

func (r *Reader) leave() {
	if r.file != nil {
		r.file.Close()
		r.file = nil
	}
}

// entry reads at the cursor. It gives nothing when the entry was acked before, when it
// cannot be read, and when it was evicted meanwhile.
func (r *Reader) entry() (Entry, bool, error) {
	s, g := r.spool, r.segment
	s.mu.Lock()
	limit := g.durable
	s.mu.Unlock()

	h, data, err := r.fetch(limit)

	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case g.gone:
		return Entry{}, false, nil
	case err != nil:
		if err := unlessDamage(err); err != nil {
			return Entry{}, false, err
		}
		r.lane.cut(s, g, r.ordinal)
		return Entry{}, false, nil
	}
	r.offset += int64(h.size())
	r.ordinal++
	l := r.lane
	if h.sequence <= l.acked {
		return Entry{}, false, nil
	}
	if l.delivered.len() == 0 {
		l.oldest = h.time
	}
	r.read = h.sequence
	l.delivered.push(delivery{sequence: h.sequence, time: h.time, class: h.class, segment: g})
	return Entry{Sequence: h.sequence, Time: h.time, Class: h.class, Data: data}, true, nil
}

func (r *Reader) fetch(limit int64) (entryHead, []byte, error) {
	if r.file == nil {
		f, err := r.spool.files.Open(r.segment.name)
		if err != nil {
			return entryHead{}, nil, err
		}
		r.file = f
		r.window.reset(f)
	}
	return r.window.entry(r.crc, r.offset, limit)
}

// cut books what a segment was to give from ordinal on: it cannot be read. If the segment
// is being written, it will not be any more. Callers hold the mutex.
func (l *lane) cut(s *Spool, g *segment, ordinal uint64) {
	lost := g.live
	lost.classes = append(classes(nil), g.live.classes...)
	g.live.reset()
	l.delivered.each(g, func(d delivery) {
		lost.sub(d.class, d.sequence)
		g.live.add(entryHead{sequence: d.sequence, time: d.time, class: d.class})
	})
	g.end = ordinal
	g.broken = true
	l.queued -= lost.count
	if lost.count > 0 {
		s.book(l, gapOf(l.name, Corrupt, &lost))
	}
	s.signal()
}

// Ack frees the entries up to sequence. They are not given again, unless the process is
// killed within about a second.
func (r *Reader) Ack(sequence uint64) error {
	s, l := r.spool, r.lane
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case r.closed || s.closed:
		return fmt.Errorf("ack %s: %w", l.name, ErrClosed)
	case sequence <= l.acked:
		return nil
	case sequence > r.read:
		return fmt.Errorf("ack %s: %d: %w", l.name, sequence, ErrUnread)
	}
	l.acked = sequence
	for l.delivered.len() > 0 && l.delivered.first().sequence <= sequence {
		d := l.delivered.pop()
		d.segment.live.sub(d.class, d.sequence)
		l.queued--
		l.ackedCount++
		l.oldest = d.time // of what follows, if that is not known
	}
	if l.delivered.len() > 0 {
		l.oldest = l.delivered.first().time
	}
	if len(l.segments) > 0 && l.segments[0].settled() {
		s.signal()
	}
	s.dirty()
	return nil
}

// Close ends the reader; a Next that waits returns. Entries that were read and not acked
// are for the next reader.
func (r *Reader) Close() error {
	s := r.spool
	s.mu.Lock()
	if r.closed {
		s.mu.Unlock()
		return nil
	}
	r.closed = true
	close(r.done)
	r.lane.reader = nil
	r.lane.delivered.reset()
	s.mu.Unlock()

	r.next.Lock()
	defer r.next.Unlock()
	if r.file == nil {
		return nil
	}
	return r.file.Close()
}
