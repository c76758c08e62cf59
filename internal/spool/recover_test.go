package spool

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestDamagedStateCostsAcksOnly(t *testing.T) {
	for name, change := range map[string]func([]byte) []byte{
		"gone":     nil,
		"empty":    func([]byte) []byte { return nil },
		"zeroed":   func(b []byte) []byte { clear(b); return b },
		"cut":      func(b []byte) []byte { return b[:20] },
		"not JSON": func(b []byte) []byte { b[slotHeader] ^= 1; b[slotBytes+slotHeader] ^= 1; return b },
		"length":   func(b []byte) []byte { b[11] = 0xff; b[slotBytes+11] = 0xff; return b },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			segmented(t, dir, 3)
			state := filepath.Join(dir, stateName)
			if change == nil {
				if err := os.Remove(state); err != nil {
					t.Fatal(err)
				}
			} else {
				rewrite(t, state, change)
			}
			lost := newGaps()
			o := small(nil)
			o.OnGap = lost.on
			s := mustOpen(t, dir, o)
			if got := sequences(t, s); !slices.Equal(got, upTo(1, 30)) {
				t.Errorf("%v", got)
			}
			// What the last moment before held nobody knows any more.
			if g := lost.wait(t, Crash, 1)[0]; g.Lane != low || g.First != 31 || !g.More {
				t.Errorf("%+v", g)
			}
			if last, _ := s.LastSequence(low); last < 30+crashMargin {
				t.Errorf("last sequence %d", last)
			}
		})
	}
	t.Run("one slot", func(t *testing.T) {
		dir := t.TempDir()
		segmented(t, dir, 3)
		for slot := range 2 {
			rewrite(t, filepath.Join(dir, stateName), func(b []byte) []byte { b[slot*slotBytes+slotHeader] ^= 1; return b })
			if st := loadStateOf(t, dir); st.Generation == 0 {
				t.Errorf("damage to slot %d costs the other", slot)
			}
			rewrite(t, filepath.Join(dir, stateName), func(b []byte) []byte { b[slot*slotBytes+slotHeader] ^= 1; return b })
		}
	})
}

func loadStateOf(t *testing.T, dir string) *state {
	t.Helper()
	f, err := openFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	return loadState(f)
}

// After a failed fsync the same entries are in two segments; the later one is right.
func TestLaterSegmentReplacesEntries(t *testing.T) {
	for _, from := range []uint64{1, 4} {
		d := newDisk(t, 1)
		plant := func(id, first, last uint64) {
			h := header{lane: low, id: id, ordinal: first, sequence: first, salt: id}
			b := h.encode()
			for n := first; n <= last; n++ {
				at := len(b)
				e := entry(low, n)
				e.Class = uint8(id)
				b = appendEntry(b, e)
				seal(seed(h.salt), b[at:])
			}
			d.names[h.fileName()] = &inode{data: b, dirty: map[int]bool{}}
		}
		plant(1, 1, 6)
		plant(2, from, 9)
		s := mustOpen(t, "", small(d))
		r := mustReader(t, s, low)
		for n := uint64(1); n <= 9; n++ {
			want := uint8(1)
			if n >= from {
				want = 2
			}
			if e, err := r.Next(t.Context()); err != nil || e.Sequence != n || e.Class != want {
				t.Fatalf("%d of segment %d, want %d; %v", e.Sequence, e.Class, n, err)
			}
		}
		if st := checkBooks(t, s).Lanes[1]; st.Recovered != 9 || st.Dropped[Corrupt] != 0 {
			t.Errorf("%+v", st)
		}
	}
}
