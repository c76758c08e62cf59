package spool

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestEntriesComeBackInOrderAndOnlyOnce(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "spool")
	s := mustOpen(t, dir, small(nil))
	mustAppend(t, s, high, upTo(1, 100)...)
	mustAppend(t, s, low, 5, 7, 1000)
	mustSync(t, s)
	r := mustReader(t, s, high)
	wantNext(t, r, upTo(1, 100)...)
	if err := r.Ack(60); err != nil {
		t.Fatal(err)
	}
	if err := r.Ack(101); !errors.Is(err, ErrUnread) {
		t.Errorf("ack of what was not read: %v", err)
	}
	mustAppend(t, s, high, upTo(101, 120)...)
	checkBooks(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	lost := newGaps()
	o := small(nil)
	o.OnGap = lost.on
	s = mustOpen(t, dir, o)
	if got := rest(t, s, high); !slices.Equal(got, upTo(61, 120)) {
		t.Errorf("after restart: %v", got)
	}
	if got := rest(t, s, low); !slices.Equal(got, []uint64{5, 7, 1000}) {
		t.Errorf("after restart: %v", got)
	}
	if last, _ := s.LastSequence(low); last != 1000 {
		t.Errorf("last sequence %d", last)
	}
	st := checkBooks(t, s)
	if st.Lanes[0].Recovered != 60 || st.Lanes[0].Queued != 60 || st.Lanes[0].Oldest != entry(high, 61).Time {
		t.Errorf("%+v", st.Lanes[0])
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if len(lost.all) != 0 {
		t.Errorf("gaps after clean ends: %v", lost.all)
	}
}

func TestLastSequenceOutlivesItsEntries(t *testing.T) {
	dir := t.TempDir()
	for range 3 {
		s := mustOpen(t, dir, small(nil))
		last, err := s.LastSequence(high)
		if err != nil {
			t.Fatal(err)
		}
		mustAppend(t, s, high, last+1, last+2)
		mustSync(t, s)
		r := mustReader(t, s, high)
		wantNext(t, r, last+1, last+2)
		if err := r.Ack(last + 2); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	s := mustOpen(t, dir, small(nil))
	if last, _ := s.LastSequence(high); last != 6 {
		t.Errorf("last sequence %d", last)
	}
	if st := s.Stats(); st.Segments != 0 {
		t.Errorf("%d segments of acked entries", st.Segments)
	}
}

func TestOneOwner(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir, small(nil))
	if _, err := Open(dir, small(nil)); !errors.Is(err, ErrOwned) || !strings.Contains(err.Error(), dir) {
		t.Errorf("second owner: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	mustOpen(t, dir, small(nil))
}

func TestAppendRefuses(t *testing.T) {
	lost := newGaps()
	o := small(newDisk(t, 1))
	o.OnGap, o.MaxBytes = lost.on, 2<<20
	s := mustOpen(t, "", o)
	mustAppend(t, s, high, 5)
	for _, sequence := range []uint64{0, 4, 5} {
		if err := s.Append(high, Entry{Sequence: sequence}); !errors.Is(err, ErrSequence) {
			t.Errorf("sequence %d after 5: %v", sequence, err)
		}
	}
	if err := s.Append("other", Entry{Sequence: 1}); !errors.Is(err, ErrLane) {
		t.Errorf("unknown lane: %v", err)
	}
	if err := s.Append(high, Entry{Sequence: 6, Class: 9, Data: make([]byte, MaxEntryBytes+1)}); !errors.Is(err, ErrTooLarge) {
		t.Errorf("large entry: %v", err)
	}
	if g := lost.wait(t, Oversized, 1)[0]; g.First != 6 || g.Count != 1 || g.Classes[9] != 1 || g.Lane != high {
		t.Errorf("%+v", g)
	}
	if err := s.Append(high, Entry{Sequence: 7, Data: make([]byte, MaxEntryBytes)}); err != nil {
		t.Errorf("the largest entry: %v", err)
	}
	mustSync(t, s)
	r := mustReader(t, s, high)
	wantNext(t, r, 5)
	if e, err := r.Next(t.Context()); err != nil || len(e.Data) != MaxEntryBytes {
		t.Errorf("the largest entry: %d bytes, %v", len(e.Data), err)
	}
	if err := r.Ack(7); err != nil {
		t.Fatal(err)
	}
	checkBooks(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Append(high, Entry{Sequence: 8}); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

func TestOptionsAreChecked(t *testing.T) {
	lanes := []Lane{high, low}
	for name, o := range map[string]Options{
		"no lanes":     {},
		"lane is path": {Lanes: []Lane{"../x"}},
		"lane twice":   {Lanes: []Lane{low, low}},
		"long name":    {Lanes: []Lane{Lane(strings.Repeat("x", maxLaneName+1))}},
		"no room":      {Lanes: lanes, MaxBytes: 2 * DefaultSegmentBytes},
		"segments":     {Lanes: lanes, SegmentBytes: 100},
		"memory":       {Lanes: lanes, MaxPendingBytes: chunkBytes},
		"delay":        {Lanes: lanes, CommitDelay: -1},
	} {
		o.files = newDisk(t, 1)
		if s, err := Open("", o); err == nil {
			s.Close()
			t.Errorf("%s: no error", name)
		}
	}
}

func TestCommitDelayIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := mustOpen(t, "", small(newDisk(t, 1)))
		r := mustReader(t, s, low)
		synctest.Wait()
		before := s.Stats().Syncs
		started := time.Now()
		for n := range uint64(10) {
			mustAppend(t, s, low, n+1)
			time.Sleep(time.Millisecond) // the bubble's clock, not ours
		}
		wantNext(t, r, 1)
		if took := time.Since(started); took != DefaultCommitDelay {
			t.Errorf("durable after %v", took)
		}
		if n := s.Stats().Syncs - before; n != 1 {
			t.Errorf("%d fsyncs", n)
		}
		s.Close()
	})
}

// TestFirstLaneIsUrgent: after a pause an entry of the first lane goes at once, what follows
// within the delay shares one fsync.
func TestFirstLaneIsUrgent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := mustOpen(t, "", small(newDisk(t, 1)))
		defer s.Close()
		r := mustReader(t, s, high)
		for burst := range uint64(3) {
			time.Sleep(time.Second) // the bubble's clock, not ours
			synctest.Wait()
			before, started := s.Stats().Syncs, time.Now()
			for n := range uint64(5) {
				mustAppend(t, s, high, 5*burst+n+1)
				synctest.Wait()
				if n == 0 {
					wantNext(t, r, 5*burst+1)
					if took := time.Since(started); took != 0 {
						t.Errorf("burst %d: the first is durable after %v", burst, took)
					}
				}
				time.Sleep(time.Millisecond)
			}
			for n := range uint64(4) {
				wantNext(t, r, 5*burst+n+2)
			}
			if took := time.Since(started); took != time.Millisecond+DefaultCommitDelay {
				t.Errorf("burst %d: the rest is durable after %v", burst, took)
			}
			if n := s.Stats().Syncs - before; n != 2 {
				t.Errorf("burst %d: %d fsyncs", burst, n)
			}
		}
	})
}

func TestNextWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := mustOpen(t, "", small(newDisk(t, 1)))
		r := mustReader(t, s, low)
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if _, err := r.Next(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
		if _, err := s.Reader(low); !errors.Is(err, ErrReader) {
			t.Errorf("second reader: %v", err)
		}
		ended := make(chan error, 1)
		go func() { _, err := r.Next(t.Context()); ended <- err }()
		synctest.Wait()
		r.Close()
		if err := <-ended; !errors.Is(err, ErrClosed) {
			t.Errorf("reader closed: %v", err)
		}
		if err := r.Ack(1); !errors.Is(err, ErrClosed) {
			t.Errorf("reader closed: %v", err)
		}
		r = mustReader(t, s, low)
		go func() { _, err := r.Next(t.Context()); ended <- err }()
		synctest.Wait()
		s.Close()
		if err := <-ended; !errors.Is(err, ErrClosed) {
			t.Errorf("spool closed: %v", err)
		}
	})
}

func TestReaderBeginsAgainAtTheFirstUnacked(t *testing.T) {
	s := mustOpen(t, "", small(newDisk(t, 1)))
	mustAppend(t, s, high, upTo(1, 200)...)
	mustSync(t, s)
	for from := uint64(1); from < 200; from += 30 {
		r := mustReader(t, s, high)
		wantNext(t, r, upTo(from, 200)...)
		if err := r.Ack(from + 29); err != nil && from+29 <= 200 {
			t.Fatal(err)
		}
		r.Close()
		checkBooks(t, s)
	}
}

func TestUnackedEntriesAreBounded(t *testing.T) {
	s := mustOpen(t, "", Options{Lanes: []Lane{low}, files: newDisk(t, 1)})
	for n := range uint64(MaxUnacked + 1) {
		if err := s.Append(low, Entry{Sequence: n + 1}); err != nil {
			t.Fatal(err)
		}
	}
	mustSync(t, s)
	r := mustReader(t, s, low)
	for range MaxUnacked {
		if _, err := r.Next(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := r.Next(t.Context()); !errors.Is(err, ErrUnacked) {
		t.Errorf("%v", err)
	}
	if err := r.Ack(1); err != nil {
		t.Fatal(err)
	}
	if e, err := r.Next(t.Context()); err != nil || e.Sequence != MaxUnacked+1 {
		t.Errorf("%d %v", e.Sequence, err)
	}
}

func TestWhatIsNotOursIsLeftAlone(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"notes", "detections-1-1.segment", "x-00000000000000000001-1.segment"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, (&header{lane: high, id: 3, sequence: 3}).fileName())); err != nil {
		t.Fatal(err)
	}
	s := mustOpen(t, dir, small(nil))
	mustAppend(t, s, high, 1)
	mustSync(t, s)
	if got := rest(t, s, high); len(got) != 1 {
		t.Errorf("%v", got)
	}
	if st := s.Stats(); st.Foreign != 1 {
		t.Errorf("%d segments of foreign lanes", st.Foreign)
	}
	s.Close()
	for _, name := range []string{"notes", "detections-1-1.segment", "x-00000000000000000001-1.segment"} {
		if b, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(b) != name {
			t.Errorf("%s: %q %v", name, b, err)
		}
	}
}
