package spool

import (
	"slices"
	"syscall"
	"testing"
)

// fill appends entries of some 3 KiB, so that each takes a segment, and makes them durable.
func fill(t *testing.T, s *Spool, lane Lane, sequences ...uint64) {
	t.Helper()
	for _, n := range sequences {
		if err := s.Append(lane, Entry{Sequence: n, Time: int64(n), Class: uint8(n % 2), Data: numbered(n, 3000)}); err != nil {
			t.Fatal(err)
		}
		mustSync(t, s)
	}
}

// held is which sequences of a lane are on disk.
func held(s *Spool, lane Lane) (got []uint64) {
	l, _ := s.lane(lane)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, g := range l.segments {
		got = append(got, upTo(g.live.first, g.live.last)...)
	}
	return got
}

func wantHeld(t *testing.T, s *Spool, lane Lane, want []uint64) {
	t.Helper()
	if got := held(s, lane); !slices.Equal(got, want) {
		t.Errorf("%s holds %v, want %v", lane, got, want)
	}
	checkBooks(t, s)
}

func TestLowerLanesGoFirst(t *testing.T) {
	lost := newGaps()
	o := small(newDisk(t, 1))
	o.MaxBytes, o.OnGap = 8*minSegmentBytes, lost.on
	s := mustOpen(t, "", o)
	fill(t, s, low, upTo(1, 6)...)
	fill(t, s, high, 1, 2)
	wantHeld(t, s, low, upTo(1, 6))
	fill(t, s, high, 3, 4, 5)
	wantHeld(t, s, low, upTo(4, 6))
	wantHeld(t, s, high, upTo(1, 5))
	// The low lane costs itself only, also when that is all it has.
	fill(t, s, low, upTo(7, 20)...)
	wantHeld(t, s, low, upTo(18, 20))
	fill(t, s, high, 6, 7, 8)
	wantHeld(t, s, low, nil)
	wantHeld(t, s, high, upTo(1, 8))
	// Nothing lower is left: what outranks is not cut for it, and loses its own oldest.
	if err := s.Append(low, Entry{Sequence: 21, Time: 21}); err != nil {
		t.Fatal(err)
	}
	if err := s.Sync(t.Context()); err == nil {
		t.Error("an entry that was dropped is durable")
	}
	wantHeld(t, s, low, nil)
	wantHeld(t, s, high, upTo(1, 8))
	fill(t, s, high, 9)
	wantHeld(t, s, high, upTo(2, 9))

	st := checkBooks(t, s)
	if st.Lanes[0].Dropped[Evicted] != 1 || st.Lanes[1].Dropped[Evicted] != 21 {
		t.Errorf("%+v", st.Lanes)
	}
	s.Close()
	total := Gap{Lane: low, Reason: Evicted}
	reopened := newGaps()
	o.OnGap = reopened.on
	mustOpen(t, "", o)
	reopened.wait(t, Evicted, 1) // what was not told before Close is told now
	for _, g := range append(lost.of(Evicted), reopened.of(Evicted)...) {
		if g.Lane == low {
			total.merge(g)
		} else if g.First != 1 || g.Last != 1 || g.Count != 1 {
			t.Errorf("%+v", g)
		}
	}
	if total.First != 1 || total.Last != 21 || total.Since != 1 || total.Until != 21 ||
		total.Count != 21 || total.Classes[0] != 11 || total.Classes[1] != 10 {
		t.Errorf("%+v", total)
	}
}

func TestEvictionPassesTheReaderBy(t *testing.T) {
	o := small(newDisk(t, 1))
	o.Lanes, o.MaxBytes = []Lane{low}, 4*minSegmentBytes
	s := mustOpen(t, "", o)
	fill(t, s, low, upTo(1, 4)...)
	r := mustReader(t, s, low)
	for range 2 {
		if _, err := r.Next(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	fill(t, s, low, upTo(5, 7)...) // evicts 1 to 3: two of them read, none acked
	e, err := r.Next(t.Context())
	if err != nil || e.Sequence != 4 {
		t.Errorf("entry %d, %v", e.Sequence, err)
	}
	if err := r.Ack(2); err != nil {
		t.Error(err)
	}
	st := checkBooks(t, s).Lanes[0]
	if st.Dropped[Evicted] != 3 || st.Acked != 0 || st.Queued != 4 {
		t.Errorf("%+v", st)
	}
	if err := r.Ack(4); err != nil {
		t.Error(err)
	}
	if st := checkBooks(t, s).Lanes[0]; st.Acked != 1 || st.Queued != 3 {
		t.Errorf("%+v", st)
	}
}

func TestASmallerBoundHoldsFromTheStart(t *testing.T) {
	o := small(newDisk(t, 1))
	s := mustOpen(t, "", o)
	fill(t, s, low, upTo(1, 20)...)
	fill(t, s, high, upTo(1, 4)...)
	s.Close()
	o.MaxBytes = 6 * minSegmentBytes
	s = mustOpen(t, "", o)
	wantHeld(t, s, low, []uint64{19, 20})
	wantHeld(t, s, high, upTo(1, 4))
}

// An entry that was evicted while it was being read is booked as lost, and so not given.
func TestEvictionWhileReading(t *testing.T) {
	o := small(newDisk(t, 1))
	o.Lanes, o.MaxBytes = []Lane{low}, 4*minSegmentBytes
	s := mustOpen(t, "", o)
	fill(t, s, low, 1)
	r := mustReader(t, s, low)
	if ready, err := r.position(); !ready || err != nil {
		t.Fatal(ready, err)
	}
	if _, _, err := r.fetch(r.segment.durable); err != nil { // in the reader's buffer
		t.Fatal(err)
	}
	fill(t, s, low, upTo(2, 6)...)
	if e, given, err := r.entry(); given || err != nil {
		t.Errorf("entry %d was evicted and is given; %v", e.Sequence, err)
	}
	checkBooks(t, s)
}

// A disk that somebody else has filled must not stop a spool that is being read.
func TestSpoolGoesOnInItsOwnSpace(t *testing.T) {
	d := newDisk(t, 1)
	s := mustOpen(t, "", small(d))
	r := mustReader(t, s, high)
	fill(t, s, high, 1)
	d.mu.Lock()
	d.space, d.greedy = d.used(), true
	d.mu.Unlock()
	for n := uint64(1); n < 50; n++ {
		if e, err := r.Next(t.Context()); err != nil || e.Sequence != n {
			t.Fatal(e.Sequence, err)
		}
		if err := r.Ack(n); err != nil {
			t.Fatal(err)
		}
		fill(t, s, high, n+1)
	}
	if st := checkBooks(t, s); st.Lanes[0].Dropped[Unwritable] != 0 || st.Failures != 0 {
		t.Errorf("%+v", st)
	}
}

// A full disk costs lower lanes their segments before a higher one loses anything.
func TestFullDiskCostsLowerLanesFirst(t *testing.T) {
	d := newDisk(t, 1)
	s := mustOpen(t, "", small(d))
	fill(t, s, low, upTo(1, 10)...)
	d.mu.Lock()
	d.space, d.greedy = d.used(), true
	d.mu.Unlock()
	fill(t, s, high, upTo(1, 8)...)
	wantHeld(t, s, high, upTo(1, 8))
	if got := held(s, low); len(got) > 4 || got[len(got)-1] != 10 {
		t.Errorf("%v", got)
	}
	if st := checkBooks(t, s); st.Lanes[0].Dropped[Unwritable] != 0 {
		t.Errorf("%+v", st)
	}
}

func TestFilesThatCannotBeRemovedAreTriedAgain(t *testing.T) {
	d := newDisk(t, 1)
	refuse := true
	d.fail = func(op operation, _ int) error {
		if refuse && (op == opRemove || op == opRename) {
			return syscall.EIO
		}
		return nil
	}
	o := small(d)
	o.Lanes = []Lane{low}
	s := mustOpen(t, "", o)
	r := mustReader(t, s, low)
	fill(t, s, low, upTo(1, 10)...)
	for range 10 {
		if _, err := r.Next(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.Ack(10); err != nil {
		t.Fatal(err)
	}
	s.Close()
	d.mu.Lock()
	refuse = false
	d.mu.Unlock()
	s = mustOpen(t, "", o)
	if names, _ := d.List(); len(names) > 2 {
		t.Errorf("%v", names)
	}
	checkBooks(t, s)
}
