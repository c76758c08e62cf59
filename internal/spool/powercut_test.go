package spool

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// life is what the test knows about a spool over several power cuts.
type life struct {
	t        *testing.T
	random   *rand.Rand
	disk     *disk
	gaps     *gaps
	bounded  bool // MaxBytes is small
	faulty   bool // writes and fsyncs fail now and then
	appended map[Lane]map[uint64]bool
	recent   map[Lane][]uint64        // appended since the last power cut
	promised map[Lane]map[uint64]bool // Sync returned, and not acked since
	acked    map[Lane]uint64
	read     map[Lane]uint64
}

func newLife(t *testing.T, seed uint64) *life {
	l := &life{
		t: t, random: rand.New(rand.NewPCG(seed, 2)), disk: newDisk(t, seed), gaps: newGaps(),
		acked: map[Lane]uint64{}, read: map[Lane]uint64{},
		appended: map[Lane]map[uint64]bool{high: {}, low: {}}, promised: map[Lane]map[uint64]bool{high: {}, low: {}},
	}
	l.bounded, l.faulty = l.random.IntN(3) == 0, l.random.IntN(3) == 0
	return l
}

func (l *life) open() *Spool {
	o := small(l.disk)
	o.OnGap = l.gaps.on
	if l.bounded {
		o.MaxBytes = int64(3+l.random.IntN(8)) * minSegmentBytes
	}
	l.disk.noAlloc = l.random.IntN(4) == 0
	return mustOpen(l.t, "", o)
}

func (l *life) fail(operation, int) error {
	switch l.disk.random.IntN(60) { // the disk's mutex is held
	case 0:
		return syscall.EIO
	case 1:
		return syscall.ENOSPC
	}
	return nil
}

// run uses the spool until the power goes.
func (l *life) run(s *Spool) {
	ctx, cancel := power(l.t.Context(), l.disk)
	defer cancel()
	l.disk.mu.Lock()
	l.disk.cutAt = l.disk.ops + 1 + l.random.IntN(400)
	if l.faulty {
		l.disk.fail = l.fail
	}
	l.disk.mu.Unlock()

	l.recent = map[Lane][]uint64{}
	next := map[Lane]uint64{}
	readers := map[Lane]*Reader{}
	for _, lane := range []Lane{high, low} {
		last, err := s.LastSequence(lane)
		if err != nil {
			l.t.Fatal(err)
		}
		for n := range l.appended[lane] {
			if n > last {
				l.t.Errorf("%s: sequence %d was used, the last known is %d", lane, n, last)
			}
		}
		next[lane] = last
		readers[lane] = mustReader(l.t, s, lane)
	}
	for ctx.Err() == nil {
		lane := []Lane{high, low}[l.random.IntN(2)]
		switch what := l.random.IntN(10); {
		case what < 6:
			for range 1 + l.random.IntN(30) {
				next[lane] += 1 + uint64(l.random.IntN(2))
				mustAppend(l.t, s, lane, next[lane])
				l.appended[lane][next[lane]] = true
				l.recent[lane] = append(l.recent[lane], next[lane])
			}
		case what < 8:
			l.sync(ctx, s)
		case what == 8:
			l.ack(ctx, s, readers[lane])
		default:
			time.Sleep(time.Duration(l.random.IntN(200)) * time.Millisecond) // the bubble's clock
		}
	}
	s.Close()
	l.disk = l.disk.after
}

func (l *life) sync(ctx context.Context, s *Spool) {
	switch err := s.Sync(ctx); {
	case err == nil:
		for lane, all := range l.recent {
			for _, n := range all {
				if n > l.acked[lane] {
					l.promised[lane][n] = true
				}
			}
		}
	case !errors.Is(err, ErrLost) && ctx.Err() == nil:
		l.t.Error(err)
	}
}

// ack reads a few entries that are there, and acks some of them.
func (l *life) ack(ctx context.Context, s *Spool, r *Reader) {
	ended, cancel := context.WithCancel(ctx)
	cancel()
	lane := r.lane.name
	for range l.random.IntN(60) {
		ready, err := r.position()
		if err != nil {
			l.t.Fatal(err)
		}
		if !ready {
			break
		}
		e, err := r.Next(ended)
		if err != nil {
			break
		}
		if !l.appended[lane][e.Sequence] || !same(e, entry(lane, e.Sequence)) {
			l.t.Errorf("%s: entry %d was never appended like that", lane, e.Sequence)
		}
		l.read[lane] = e.Sequence
	}
	if n := l.read[lane]; n > 0 {
		n -= min(n, uint64(l.random.IntN(10)))
		if err := r.Ack(n); err != nil && !errors.Is(err, ErrUnread) {
			l.t.Fatal(err)
		}
		l.acked[lane] = max(l.acked[lane], n)
		for p := range l.promised[lane] {
			if p <= n {
				delete(l.promised[lane], p)
			}
		}
	}
}

// check compares what is found with what was promised.
func (l *life) check(s *Spool) {
	synctest.Wait()
	for _, lane := range []Lane{high, low} {
		got := rest(l.t, s, lane)
		for _, n := range got {
			if !l.appended[lane][n] {
				l.t.Errorf("%s: entry %d was never appended", lane, n)
			}
		}
		for n := range l.promised[lane] {
			if _, found := slices.BinarySearch(got, n); found {
				continue
			}
			if !(l.bounded || l.faulty) || !l.gaps.covers(lane, n) {
				l.t.Errorf("%s: entry %d was promised and is gone (acked %d, found %d, bounded %v, faulty %v)", lane, n, l.acked[lane], len(got), l.bounded, l.faulty)
			}
			delete(l.promised[lane], n) // told once
		}
		l.read[lane] = 0
	}
	if !l.bounded && !l.faulty {
		if g := l.gaps.of(Corrupt); len(g) > 0 {
			l.t.Errorf("a power cut is told as damage: %+v", g)
		}
	}
	checkBooks(l.t, s)
}

func TestPowerCutLosesNothingThatWasPromised(t *testing.T) {
	rounds := 400
	if testing.Short() {
		rounds = 50
	}
	for seed := range uint64(rounds) {
		synctest.Test(t, func(t *testing.T) {
			l := newLife(t, seed)
			for range 4 {
				s := l.open()
				l.check(s)
				l.run(s)
			}
			s := l.open()
			l.check(s)
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}
