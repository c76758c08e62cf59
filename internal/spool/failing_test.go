package spool

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// failing makes an operation of d fail while on is set.
func failing(d *disk, on *atomic.Bool, failed error, ops ...operation) {
	d.fail = func(op operation, _ int) error {
		if on.Load() && slices.Contains(ops, op) {
			return failed
		}
		return nil
	}
}

func TestFailingDisk(t *testing.T) {
	for name, ops := range map[string][]operation{
		"fsync":            {opSync},
		"fsync of folder":  {opSyncDir},
		"write":            {opWrite},
		"create":           {opCreate, opRename},
		"space":            {opAllocate, opCreate, opWrite, opRename},
		"fsync and remove": {opSync, opRemove, opTruncate},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := newDisk(t, 1)
				var on atomic.Bool
				failing(d, &on, syscall.EIO, ops...)
				lost := newGaps()
				o := small(d)
				o.OnGap = lost.on
				s := mustOpen(t, "", o)
				mustAppend(t, s, high, upTo(1, 10)...)
				mustSync(t, s)
				on.Store(true)
				mustAppend(t, s, high, upTo(11, 60)...) // into a new segment too
				mustAppend(t, s, low, upTo(1, 60)...)
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				if err := s.Sync(ctx); !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, syscall.EIO) {
					t.Errorf("Sync of a failing disk: %v", err)
				}
				if st := checkBooks(t, s); !errors.Is(st.Failing, syscall.EIO) || st.Failures < 10 || st.Failures > 200 {
					t.Errorf("%d failures in a minute, %v", st.Failures, st.Failing)
				}
				if got := rest(t, s, low); len(got) != 0 {
					t.Errorf("not durable, and given: %v", got)
				}
				on.Store(false)
				mustSync(t, s)
				for range 2 {
					if got := rest(t, s, high); !slices.Equal(got, upTo(1, 60)) {
						t.Errorf("%v", got)
					}
					if got := rest(t, s, low); !slices.Equal(got, upTo(1, 60)) {
						t.Errorf("%v", got)
					}
					if st := checkBooks(t, s); st.Failing != nil {
						t.Error(st.Failing)
					}
					// What is on disk, and not what the page cache holds.
					d.mu.Lock()
					d.cut()
					d.mu.Unlock()
					s.Close()
					o.files = d.after
					s = mustOpen(t, "", o)
					d = d.after
				}
				if g := slices.Concat(lost.of(Corrupt), lost.of(Unwritable), lost.of(Evicted)); len(g) != 0 {
					t.Errorf("nothing was lost, told: %+v", g)
				}
				s.Close()
			})
		})
	}
}

func TestMemoryIsGivenUpByRank(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDisk(t, 1)
		var on atomic.Bool
		on.Store(true)
		failing(d, &on, syscall.ENOSPC, opCreate, opAllocate, opRename)
		lost := newGaps()
		o := small(d)
		o.OnGap, o.MaxBytes, o.MaxPendingBytes = lost.on, 32<<20, 4<<20
		s := mustOpen(t, "", o)
		send := func(lane Lane, from, to uint64) {
			for n := from; n <= to; n++ {
				if err := s.Append(lane, Entry{Sequence: n, Time: int64(n), Class: uint8(n % 2), Data: numbered(n, 1000)}); err != nil {
					t.Fatal(err)
				}
			}
		}
		send(high, 1, 1)
		send(low, 1, 1)
		time.Sleep(time.Second) // the bubble's clock: both lanes have failed
		send(high, 2, 2000)
		send(low, 2, 10000)
		send(high, 2001, 3000)
		st := checkBooks(t, s)
		if st.Lanes[0].Dropped[Unwritable] != 0 || st.Lanes[1].Dropped[Unwritable] == 0 || st.Lanes[1].Queued == 0 {
			t.Errorf("%+v", st.Lanes)
		}
		send(high, 3001, 6000)
		st = checkBooks(t, s)
		if st.Lanes[1].Queued != 0 || st.Lanes[0].Dropped[Unwritable] == 0 {
			t.Errorf("%+v", st.Lanes)
		}
		if got := lost.of(Unwritable); len(got) != 0 {
			t.Errorf("told while nothing can be written: %v", got)
		}

		on.Store(false)
		mustSync(t, s)
		told := lost.wait(t, Unwritable, 2)
		for _, g := range told {
			want := st.Lanes[0]
			if g.Lane == low {
				want = st.Lanes[1]
			}
			dropped := want.Dropped[Unwritable]
			if g.Count != dropped || g.First != 1 || g.Last != dropped || g.Since != 1 || g.Until != int64(dropped) ||
				g.Classes[0]+g.Classes[1] != dropped || g.Classes[0] != dropped/2 {
				t.Errorf("%+v, dropped %d", g, dropped)
			}
		}
		r := mustReader(t, s, high)
		for n := st.Lanes[0].Dropped[Unwritable] + 1; n <= 6000; n++ { // the newest are kept
			if e, err := r.Next(t.Context()); err != nil || e.Sequence != n {
				t.Fatal(e.Sequence, n, err)
			}
		}
		s.Close()
	})
}

// A disk that hangs with telemetry in its hands must not cost detections their memory.
func TestHangingDiskLeavesMemoryForDetections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &hanging{disk: newDisk(t, 1), release: make(chan struct{})}
		o := small(d)
		o.MaxBytes, o.SegmentBytes = 256<<20, 64<<20
		s := mustOpen(t, "", o)
		d.hang.Store(true)
		for n := uint64(1); n <= 20000; n++ {
			if err := s.Append(low, Entry{Sequence: n, Data: numbered(n, 1000)}); err != nil {
				t.Fatal(err)
			}
			if n == 2000 {
				synctest.Wait() // the writer has taken this much, and hangs
			}
		}
		d.release <- struct{}{}
		synctest.Wait() // now it has taken what it may of full memory, and hangs again
		for n := uint64(1); n <= 3000; n++ {
			if err := s.Append(high, Entry{Sequence: n, Data: numbered(n, 1000)}); err != nil {
				t.Fatal(err)
			}
		}
		if st := checkBooks(t, s); st.Lanes[0].Dropped[Unwritable] != 0 || st.Lanes[0].Queued != 3000 {
			t.Errorf("%+v", st.Lanes)
		}
		d.hang.Store(false)
		close(d.release)
		mustSync(t, s)
		checkBooks(t, s)
		s.Close()
	})
}

// hanging is a disk that does not answer for a while.
type hanging struct {
	*disk
	hang    atomic.Bool
	release chan struct{}
}

type hangingFile struct {
	file
	h *hanging
}

func (h *hanging) Create(name string) (file, error) {
	f, err := h.disk.Create(name)
	return &hangingFile{f, h}, err
}

func (f *hangingFile) Sync() error {
	if f.h.hang.Load() {
		<-f.h.release
	}
	return f.file.Sync()
}

func TestShortWritesAreErrors(t *testing.T) {
	d := newDisk(t, 1)
	s := mustOpen(t, "", small(d))
	cut := 3
	d.mu.Lock()
	d.short = func(_ operation, size int) int {
		if cut > 0 && size > 1 {
			cut--
			return size / 2
		}
		return size
	}
	d.mu.Unlock()
	mustAppend(t, s, high, upTo(1, 50)...)
	mustSync(t, s)
	if got := rest(t, s, high); !slices.Equal(got, upTo(1, 50)) {
		t.Errorf("%v", got)
	}
	if st := checkBooks(t, s); st.Failures == 0 {
		t.Error("nothing failed")
	}
}

func TestCloseBooksWhatItCannotWrite(t *testing.T) {
	d := newDisk(t, 1)
	var on atomic.Bool
	failing(d, &on, syscall.EIO, opCreate)
	lost := newGaps()
	o := small(d)
	o.OnGap = lost.on
	s := mustOpen(t, "", o)
	on.Store(true)
	mustAppend(t, s, high, upTo(1, 10)...)
	if err := s.Close(); !errors.Is(err, syscall.EIO) {
		t.Errorf("%v", err)
	}
	checkBooks(t, s)
	on.Store(false)
	s = mustOpen(t, "", o)
	if g := lost.wait(t, Unwritable, 1)[0]; g.First != 1 || g.Last != 10 || g.Count != 10 || g.Lane != high {
		t.Errorf("%+v", g)
	}
	if last, _ := s.LastSequence(high); last != 10 {
		t.Errorf("last sequence %d", last)
	}
}

// A folder that cannot be written can still be opened and read.
func TestOpenOnAFullDisk(t *testing.T) {
	d := newDisk(t, 1)
	s := mustOpen(t, "", small(d))
	mustAppend(t, s, high, upTo(1, 10)...)
	s.Close()
	var on atomic.Bool
	on.Store(true)
	failing(d, &on, syscall.ENOSPC, opCreate, opAllocate, opWrite)
	s = mustOpen(t, "", small(d))
	if got := rest(t, s, high); !slices.Equal(got, upTo(1, 10)) {
		t.Errorf("%v", got)
	}
	mustAppend(t, s, high, 11)
	on.Store(false)
	mustSync(t, s)
	// Killed: the state on disk says clean, the segment says later.
	d.mu.Lock()
	d.cut()
	d.mu.Unlock()
	s.Close()
	s = mustOpen(t, "", small(d.after))
	if got := rest(t, s, high); !slices.Equal(got, upTo(1, 11)) {
		t.Errorf("%v", got)
	}
}
