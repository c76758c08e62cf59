package spool

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"time"
)

// recover reads the state and the segments. Every entry is checked once, through one
// buffer, so that from here on counts, classes and times are known without reading.
func (s *Spool) recover() error {
	names, err := s.files.List()
	if err != nil {
		return fmt.Errorf("list: %w", err)
	}
	st := loadState(s.files)
	s.generation = st.Generation
	s.nextID = 1
	if st.NextID < maxID {
		s.nextID = max(st.NextID, 1)
	}
	s.elsewhere = st.Lanes
	s.gaps = st.Gaps
	if s.options.OnGap == nil {
		s.gaps = nil
	}

	var w window
	found := map[Lane][]*segment{}
	for _, name := range names {
		named, ok := parseName(name)
		if !ok {
			continue // not ours
		}
		if l, _ := s.lane(named.lane); l == nil {
			s.foreign++
			continue
		}
		s.nextID = max(s.nextID, saturated(named.id, 1))
		if named.id >= st.NextID {
			st.Clean = false
		}
		g, err := s.identify(&w, name)
		if err != nil {
			return err
		}
		if g != nil {
			found[named.lane] = append(found[named.lane], g)
		}
	}
	if slices.Contains(names, spareName) {
		s.keepSpare(st.Clean)
	}
	for _, l := range s.lanes {
		last := st.Lanes[l.name]
		known := last.plausible()
		if !known {
			last = laneState{Floor: 1, Next: 1}
		}
		delete(s.elsewhere, l.name)
		if err := s.recoverLane(&w, l, found[l.name], last, known, st.Clean); err != nil {
			return fmt.Errorf("recover %s: %w", l.name, err)
		}
		s.latest = max(s.latest, l.until)
	}
	if st.Clean {
		s.left = st.Note
	}
	return nil
}

// identify reads a segment's header. A file without a good one is removed: the numbers of
// the entries before and behind tell what it held.
func (s *Spool) identify(w *window, name string) (*segment, error) {
	f, err := s.files.Open(name)
	if err != nil {
		return nil, unlessDamage(err)
	}
	h, err := w.readHeader(name, f)
	size, sizeErr := f.Size()
	if err = errors.Join(err, sizeErr, f.Close()); err != nil {
		_ = s.files.Remove(name)
		return nil, nil
	}
	return &segment{header: h, name: name, bytes: onDisk(size), sealed: true}, nil
}

// keepSpare takes over the space that a former owner left. After a crash its name may
// still stand for a file that had become a segment.
func (s *Spool) keepSpare(clean bool) {
	f, err := s.files.Open(spareName)
	if err != nil {
		return
	}
	size, err := f.Size()
	f.Close()
	if err != nil || !clean || size != s.spareBytes() {
		_ = s.files.Remove(spareName)
		return
	}
	s.spare = size
	s.bytes += size
}

// inOrder sorts segments and drops those that a later one replaces: after a failed fsync
// the same entries are written again, from the first that was not durable.
func inOrder(found []*segment) (kept, replaced []*segment) {
	slices.SortFunc(found, func(a, b *segment) int {
		if a.id < b.id {
			return -1
		}
		return 1
	})
	for _, g := range found {
		for len(kept) > 0 && kept[len(kept)-1].ordinal >= g.ordinal {
			replaced = append(replaced, kept[len(kept)-1])
			kept = kept[:len(kept)-1]
		}
		if len(kept) > 0 && kept[len(kept)-1].sequence >= g.sequence {
			replaced = append(replaced, g) // cannot be: sequences rise
			continue
		}
		kept = append(kept, g)
	}
	return kept, replaced
}

// recoverLane takes over the segments found. known says that the state has the lane.
func (s *Spool) recoverLane(w *window, l *lane, found []*segment, st laneState, known, clean bool) error {
	kept, remove := inOrder(found)
	for len(kept) > 0 && kept[0].ordinal < st.Floor {
		remove, kept = append(remove, kept[0]), kept[1:]
	}
	if !known && len(kept) > 0 {
		st.Floor = kept[0].ordinal
	}
	for _, g := range remove {
		_ = s.files.Remove(g.name)
	}

	l.acked, l.last, l.until = st.Acked, max(st.Last, st.Acked), st.Until
	// r runs over the entries: the next ordinal, and the entry before it.
	r := recovery{next: st.Floor, sequence: st.Acked, until: 0, done: st.Done}
	for i, g := range kept {
		if g.ordinal > r.next {
			s.missing(l, &r, g.ordinal, g.sequence-1)
		}
		ordinal, sequence := uint64(math.MaxUint64), uint64(math.MaxUint64)
		if i+1 < len(kept) {
			ordinal, sequence = kept[i+1].ordinal, kept[i+1].sequence
		} else if clean && known {
			ordinal = st.Next
		}
		if err := s.take(w, l, g, ordinal, sequence, &r, i+1 == len(kept)); err != nil {
			return err
		}
	}
	if r.next < st.Next {
		s.missing(l, &r, st.Next, st.Last)
	}
	l.next = max(r.next, st.Next)
	l.last = max(l.last, r.sequence, l.next-1)
	if r.until != 0 {
		l.until = r.until
	}
	if !clean && (known || len(kept) > 0) {
		now := time.Now().UnixNano()
		l.last = saturated(l.last, crashMargin)
		s.book(l, Gap{Lane: l.name, Reason: Crash, First: saturated(r.sequence, 1), Last: l.last, Since: l.until, Until: now, More: true})
	}
	return nil
}

// recovery is how far the entries of a lane have been found.
type recovery struct {
	next     uint64
	sequence uint64
	until    int64
	done     uint64 // below it everything was acked, and is no loss
}

// missing books the entries from r.next to before ordinal, whose sequences end at last.
func (s *Spool) missing(l *lane, r *recovery, ordinal, last uint64) {
	if from := max(r.next, r.done); last > l.acked && from < ordinal {
		g := Gap{Lane: l.name, Reason: Corrupt, First: max(r.sequence, l.acked) + 1, Last: last, Since: r.until, Count: ordinal - from}
		l.recovered = saturated(l.recovered, g.Count)
		s.book(l, g)
	}
	r.next, r.sequence = ordinal, max(r.sequence, last)
}

// take reads a segment whose entries are before ordinal and sequence.
func (s *Spool) take(w *window, l *lane, g *segment, ordinal, sequence uint64, r *recovery, newest bool) error {
	f, err := s.files.Open(g.name)
	if err != nil {
		return unlessDamage(err)
	}
	last := w.scan(g, f, ordinal, sequence, l.acked)
	if g.end > g.ordinal {
		r.next, r.sequence, r.until = g.end, last.sequence, last.time
	}
	if g.end == g.ordinal {
		f.Close()
		_ = s.files.Remove(g.name)
		return nil
	}
	s.bytes += g.bytes
	if newest {
		s.trim(g, f) // a torn end, and space taken ahead
	}
	f.Close()
	l.segments = append(l.segments, g)
	if l.queued == 0 {
		l.oldest = g.live.since
	}
	l.queued += g.live.count
	l.recovered += g.live.count
	return nil
}
