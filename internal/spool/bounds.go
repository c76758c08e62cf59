package spool

import (
	"crypto/rand"
	"errors"
	"io/fs"
	"syscall"
)

// spareName is a segment whose space is taken and which no lane uses. A segment that is
// done with becomes the spare, so that whoever fills the disk cannot stop a spool that is
// being read: it goes on in its own space.
const spareName = "spare"

// begin makes the segment for what follows in l, whose first entry is first.
func (s *Spool) begin(l *lane, first entryHead) error {
	size := onDisk(max(s.options.SegmentBytes, int64(headerBytes+first.size())))
	s.mu.Lock()
	g := &segment{
		header: header{lane: l.name, id: s.nextID, ordinal: l.next, sequence: first.sequence, salt: newSalt()},
		bytes:  size, end: l.next, durable: headerBytes,
	}
	s.nextID++
	s.mu.Unlock()
	g.name = g.fileName()

	f, err := s.place(l, g)
	if err != nil {
		return err
	}
	l.active = &active{segment: g, file: f, crc: seed(g.salt), written: headerBytes, fresh: true}
	s.wantSpare = true
	return writeAt(f, g.encode(), 0)
}

func newSalt() uint64 {
	var b [8]byte
	rand.Read(b[:]) // never fails
	return little.Uint64(b[:])
}

// place finds a file for g within the bytes allowed, at the cost of lanes that rank lower
// or, at the bound, of the lane itself.
func (s *Spool) place(l *lane, g *segment) (file, error) {
	if g.bytes > s.options.MaxBytes {
		return nil, errNoRoom // whatever would be evicted for it
	}
	for {
		f, err := s.claim(g)
		if err == nil {
			return f, nil
		}
		full := errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
		if !full && !errors.Is(err, errNoRoom) || !s.evict(l, full) {
			return nil, err
		}
	}
}

// claim takes the spare, or new space.
func (s *Spool) claim(g *segment) (file, error) {
	if s.spare > 0 && s.spare == g.bytes {
		err := s.files.Rename(spareName, g.name)
		if err == nil {
			s.mu.Lock()
			s.spare = 0
			s.mu.Unlock()
			f, err := s.files.Open(g.name)
			if err != nil {
				s.discard(g, false)
			}
			return f, err
		}
		s.dropSpare()
		return nil, err
	}
	if s.bytes+g.bytes > s.options.MaxBytes {
		s.dropSpare()
	}
	if s.bytes+g.bytes > s.options.MaxBytes {
		return nil, errNoRoom
	}
	f, err := s.files.Create(g.name)
	if err != nil {
		return nil, err
	}
	s.count(g.bytes)
	if err := f.Allocate(g.bytes); err != nil && !errors.Is(err, errors.ErrUnsupported) {
		f.Close()
		s.discard(g, false)
		return nil, err
	}
	return f, nil
}

// count changes the bytes used. Only the spool's goroutine does, so it may read them
// without the mutex.
func (s *Spool) count(bytes int64) {
	s.mu.Lock()
	s.bytes += bytes
	s.mu.Unlock()
}

// evict drops the oldest segment of the lowest lane that has any, of those that l
// outranks and, unless below, l itself. It says whether there was one.
func (s *Spool) evict(l *lane, below bool) bool {
	s.mu.Lock()
	var victim *lane
	for rank := len(s.lanes) - 1; rank >= l.rank && victim == nil; rank-- {
		if v := s.lanes[rank]; len(v.segments) > 0 && (v != l || !below) {
			victim = v
		}
	}
	if victim == nil {
		s.mu.Unlock()
		return false
	}
	g := victim.segments[0]
	victim.shift()
	victim.delivered.forget(g)
	victim.queued -= g.live.count
	victim.oldest = 0
	if victim.queued > 0 {
		victim.oldest = victim.segments[0].live.since
	}
	if g.live.count > 0 {
		s.book(victim, gapOf(victim.name, Evicted, &g.live))
	}
	s.mu.Unlock()

	if victim.active != nil && victim.active.segment == g {
		victim.active.file.Close()
		victim.active = nil
	}
	// The gap before the deed: whoever is killed in between has booked too much, not too
	// little. If it cannot be saved, the numbers of the entries tell the next start.
	_ = s.saveState(false)
	s.discard(g, true)
	return true
}

// shift takes the first segment out of the list. Callers hold the mutex.
func (l *lane) shift() {
	l.segments[0].gone = true
	l.segments[0] = nil
	l.segments = l.segments[1:]
}

// discard removes a segment's file, or keeps it as the spare.
func (s *Spool) discard(g *segment, reuse bool) {
	if reuse && s.spare == 0 && g.bytes == s.spareBytes() && s.files.Rename(g.name, spareName) == nil {
		s.mu.Lock()
		s.spare = g.bytes
		s.mu.Unlock()
		return
	}
	err := s.files.Remove(g.name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.mu.Lock()
		s.failures++
		s.mu.Unlock()
		s.trash = append(s.trash, g)
		return
	}
	s.count(-g.bytes)
	_ = s.files.Sync() // a name that comes back is told by the state to be settled
}

func (s *Spool) spareBytes() int64 { return onDisk(s.options.SegmentBytes) }

func (s *Spool) dropSpare() {
	if s.spare == 0 {
		return
	}
	g := &segment{name: spareName, bytes: s.spare}
	s.mu.Lock()
	s.spare = 0
	s.mu.Unlock()
	s.discard(g, false)
}

// provision takes the space of the next segment ahead of need.
func (s *Spool) provision() {
	size := s.spareBytes()
	if !s.wantSpare || s.spare > 0 || s.noAllocation || s.bytes+size > s.options.MaxBytes {
		return
	}
	s.wantSpare = false // once per segment: a full disk is not asked at every commit
	f, err := s.files.Create(spareName)
	if err != nil {
		return
	}
	err = f.Allocate(size)
	f.Close()
	g := &segment{name: spareName, bytes: size}
	s.count(size)
	if err != nil {
		s.noAllocation = errors.Is(err, errors.ErrUnsupported)
		s.discard(g, false)
		return
	}
	s.mu.Lock()
	s.spare = size
	s.mu.Unlock()
}

// reclaimable says whether there are files to remove. Callers hold the mutex.
func (s *Spool) reclaimable() bool {
	for _, l := range s.lanes {
		if len(l.segments) > 0 && l.segments[0].settled() {
			return true
		}
	}
	return len(s.trash) > 0
}

// settled says that nothing is to be read of a segment, nor written. Callers hold the mutex.
func (g *segment) settled() bool { return g.sealed && g.live.count == 0 }

// reclaim removes what is acked, after the acks have been saved: entries that are gone
// without that would look lost.
func (s *Spool) reclaim() {
	s.mu.Lock()
	for _, l := range s.lanes {
		for len(l.segments) > 0 && l.segments[0].settled() {
			s.trash = append(s.trash, l.segments[0])
			l.shift()
		}
	}
	s.mu.Unlock()
	if s.saveOrRetry() != nil {
		return
	}
	trash := s.trash
	s.trash = nil
	for _, g := range trash {
		s.discard(g, true)
	}
	if len(s.trash) > 0 {
		s.retryState()
	}
}

// seal ends the active segment.
func (s *Spool) seal(l *lane) {
	a := l.active
	l.active = nil
	s.mu.Lock()
	a.sealed = true
	s.mu.Unlock()
	a.file.Close()
}

// abandon ends the active segment after an error: what is durable in it stays.
func (s *Spool) abandon(l *lane) {
	a := l.active
	s.mu.Lock()
	unlisted := a.end == a.ordinal && !a.broken
	s.mu.Unlock()
	if !unlisted {
		s.trim(a.segment, a.file)
	}
	s.seal(l)
	if unlisted {
		s.discard(a.segment, false)
	}
}

// trim gives back the space behind the last entry, if the file system lets us.
func (s *Spool) trim(g *segment, f file) {
	if f.Truncate(g.durable) != nil {
		return
	}
	s.mu.Lock()
	freed := g.bytes - onDisk(g.durable)
	g.bytes -= freed
	s.bytes -= freed
	s.mu.Unlock()
}
