package spool

import (
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

const gapClass = 200

// booker appends an entry to the high lane for each gap, as an agent does.
type booker struct {
	mu   sync.Mutex
	told []Gap
}

func (b *booker) on(s *Spool, g Gap) {
	b.mu.Lock()
	b.told = append(b.told, g)
	b.mu.Unlock()
	last, _ := s.LastSequence(high)
	_ = s.Append(high, Entry{Sequence: last + 1, Class: gapClass, Data: []byte(g.Reason.String())})
}

// A gap is told until what OnGap appended is durable: no power cut makes a loss silent.
func TestGapsSurvivePowerCuts(t *testing.T) {
	seen := 0
	for cut := 1; cut < 60; cut++ {
		synctest.Test(t, func(t *testing.T) {
			d := newDisk(t, uint64(cut))
			var b booker
			o := small(d)
			o.MaxBytes, o.OnGap = 4*minSegmentBytes, b.on
			s := mustOpen(t, "", o)
			ctx, cancel := power(t.Context(), d)
			defer cancel()
			d.mu.Lock()
			d.cutAt = d.ops + cut
			d.mu.Unlock()
			durable := uint64(0)
			for n := uint64(1); ctx.Err() == nil; n++ {
				if err := s.Append(low, Entry{Sequence: n, Time: int64(n), Data: numbered(n, 3000)}); err != nil {
					t.Fatal(err)
				}
				if s.Sync(ctx) == nil {
					durable = n
				}
			}
			s.Close()

			o.files = d.after
			s = mustOpen(t, "", o)
			// Telling takes room, which may cost another entry, which is told in turn.
			time.Sleep(3 * tellInterval) // the bubble's clock
			mustSync(t, s)
			synctest.Wait()
			for _, g := range b.told {
				if g.Reason == Corrupt {
					t.Errorf("what was evicted is told as damage: %+v", g)
				}
			}
			// Each durable entry is there, or covered by a gap that an entry tells of.
			got := held(s, low)
			b.mu.Lock()
			defer b.mu.Unlock()
			for n := uint64(1); n <= durable; n++ {
				if !slices.Contains(got, n) {
					seen++
					if !slices.ContainsFunc(b.told, func(g Gap) bool { return g.Lane == low && g.First <= n && n <= g.Last && g.Count > 0 }) {
						t.Errorf("entry %d is gone and no gap tells it: %+v", n, b.told)
					}
				}
			}
			s.Close()
		})
	}
	if seen == 0 {
		t.Error("nothing was evicted")
	}
}

// While a gap is being told it is still in the saved state.
func TestGapIsSavedWhileItIsTold(t *testing.T) {
	d := newDisk(t, 1)
	o := small(d)
	o.MaxBytes = 3 * minSegmentBytes
	saved := make(chan []Gap, 1)
	o.OnGap = func(s *Spool, _ Gap) { // on the goroutine that saves
		if err := s.saveState(false); err != nil {
			t.Error(err)
		}
		select {
		case saved <- loadState(d).Gaps:
		default:
		}
	}
	s := mustOpen(t, "", o)
	fill(t, s, low, upTo(1, 4)...)
	if g := <-saved; len(g) != 1 || g[0].Reason != Evicted {
		t.Errorf("saved are %+v", g)
	}
}

func TestGapThatCouldNotBeBookedIsToldAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDisk(t, 1)
		lost := newGaps()
		o := small(d)
		o.MaxBytes = 4 * minSegmentBytes
		refused := false
		open, closing := context.WithCancel(t.Context())
		defer closing()
		o.OnGap = func(s *Spool, g Gap) {
			if !refused { // Close begins while a gap is being told
				refused = true
				s.mu.Lock()
				s.closed = true
				s.mu.Unlock()
				close(s.stop)
				closing() // Close would end who waits for the disk
				return
			}
			lost.on(s, g)
		}
		s := mustOpen(t, "", o)
		for n := uint64(1); n <= 8; n++ {
			_ = s.Append(low, Entry{Sequence: n, Data: numbered(n, 3000)})
			_ = s.Sync(open)
		}
		<-s.done
		if err := s.finish(); err != nil {
			t.Error(err)
		}
		s.owner.Close()
		s = mustOpen(t, "", o)
		if g := lost.wait(t, Evicted, 1)[0]; g.First != 1 {
			t.Errorf("%+v", g)
		}
		s.Close()
	})
}

func TestGapsAreBounded(t *testing.T) {
	s := &Spool{options: Options{OnGap: func(*Spool, Gap) {}}, wake: make(chan struct{}, 1)}
	s.lanes = []*lane{{name: high}, {name: low, rank: 1}}
	want := map[Lane]uint64{}
	for n := range uint64(10000) {
		l := s.lanes[n%2]
		g := Gap{Lane: l.name, Reason: Corrupt, First: n + 1, Last: n + 1, Count: 1, Classes: map[uint8]uint64{uint8(n): 1}}
		s.book(l, g)
		want[l.name]++
	}
	if len(s.gaps) > keptGaps {
		t.Errorf("%d gaps are kept", len(s.gaps))
	}
	got := map[Lane]uint64{}
	for _, g := range s.gaps {
		got[g.Lane] += g.Count
	}
	if got[high] != want[high] || got[low] != want[low] {
		t.Errorf("%v of %v", got, want)
	}
	st := &state{Gaps: s.gaps}
	for i := range st.Gaps { // the longest there can be
		for class := range 256 {
			st.Gaps[i].Classes[uint8(class)] = 1 << 60
		}
	}
	b, err := encodeState(st)
	if err != nil {
		t.Fatal(err)
	}
	if back, err := decodeState(b); err != nil || len(back.Gaps) != len(st.Gaps) || back.Gaps[0].Count != st.Gaps[0].Count {
		t.Errorf("%v", err)
	}
}
