package spool

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
)

const perSegment = 10 // entries of 300 bytes in one block

// segmented fills the low lane of a folder with this many segments and closes it.
func segmented(t *testing.T, dir string, segments int) []string {
	t.Helper()
	s := mustOpen(t, dir, small(nil))
	for n := range uint64(segments * perSegment) {
		if err := s.Append(low, Entry{Sequence: n + 1, Time: int64(n + 1), Data: numbered(n+1, 370)}); err != nil {
			t.Fatal(err)
		}
	}
	mustSync(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	names, err := filepath.Glob(filepath.Join(dir, "*"+segmentSuffix))
	if err != nil || len(names) != segments {
		t.Fatalf("%d segments, want %d; %v", len(names), segments, err)
	}
	return names
}

// sequences reads what there is of entries that segmented made.
func sequences(t *testing.T, s *Spool) (got []uint64) {
	t.Helper()
	r := mustReader(t, s, low)
	defer r.Close()
	for {
		ready, err := r.position()
		if err != nil || !ready {
			return got
		}
		e, given, err := r.entry()
		if err != nil {
			t.Fatal(err)
		}
		if given {
			if string(e.Data) != string(numbered(e.Sequence, 370)) || e.Time != int64(e.Sequence) {
				t.Fatalf("entry %d is not what was appended", e.Sequence)
			}
			got = append(got, e.Sequence)
		}
	}
}

func rewrite(t *testing.T, name string, change func([]byte) []byte) {
	t.Helper()
	b, err := os.ReadFile(name)
	if err == nil {
		err = os.WriteFile(name, change(b), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestDamageCostsAGapAndNotMore(t *testing.T) {
	const size = entryHeaderBytes + 370
	third := headerBytes + 2*size // the third entry
	damages := map[string]struct {
		keep   int // entries before the damage
		change func([]byte) []byte
	}{
		"bit of data":    {2, func(b []byte) []byte { b[third+100] ^= 1; return b }},
		"bit of length":  {2, func(b []byte) []byte { b[third+4] ^= 1; return b }},
		"huge length":    {2, func(b []byte) []byte { b[third+6] = 0xff; return b }},
		"bit of class":   {2, func(b []byte) []byte { b[third+7] ^= 1; return b }},
		"bit of time":    {2, func(b []byte) []byte { b[third+20] ^= 1; return b }},
		"zeroed":         {2, func(b []byte) []byte { clear(b[third:]); return b }},
		"truncated":      {2, func(b []byte) []byte { return b[:third+50] }},
		"cut at entry":   {2, func(b []byte) []byte { return b[:third] }},
		"all zero":       {0, func(b []byte) []byte { clear(b); return b }},
		"empty":          {0, func([]byte) []byte { return nil }},
		"short header":   {0, func(b []byte) []byte { return b[:40] }},
		"bit of header":  {0, func(b []byte) []byte { b[60] ^= 1; return b }},
		"foreign":        {0, func([]byte) []byte { return []byte("#!/bin/sh\necho this is no segment at all\n") }},
		"of the future":  {0, func(b []byte) []byte { b[8]++; return b }},
		"of the past":    {0, func(b []byte) []byte { b[8]--; return b }},
		"other ordinals": {0, func(b []byte) []byte { b[56] += 100; return b }},
	}
	const segments = 4
	for name, damage := range damages {
		for at := range segments {
			t.Run(fmt.Sprintf("%s in %d", name, at+1), func(t *testing.T) {
				dir := t.TempDir()
				rewrite(t, segmented(t, dir, segments)[at], damage.change)
				first := uint64(at*perSegment + damage.keep + 1)
				checkDamage(t, dir, segments, first, uint64((at+1)*perSegment))
			})
		}
	}
}

// What was acked is not lost with the rest of its segment.
func TestDamageAmongAckedEntries(t *testing.T) {
	const size = entryHeaderBytes + 370
	for _, test := range []struct{ acked, damaged, lost uint64 }{
		{0, 3, 8}, {2, 3, 8}, {3, 3, 7}, {6, 3, 4}, {9, 3, 1}, {6, 9, 2},
	} {
		dir := t.TempDir()
		names := segmented(t, dir, 2)
		s := mustOpen(t, dir, small(nil))
		r := mustReader(t, s, low)
		for range max(1, test.acked) {
			if _, err := r.Next(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if err := r.Ack(test.acked); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		rewrite(t, names[0], func(b []byte) []byte { b[headerBytes+(test.damaged-1)*size+100] ^= 1; return b })
		g := newGaps()
		o := small(nil)
		o.OnGap = g.on
		s = mustOpen(t, dir, o)
		got := g.wait(t, Corrupt, 1)
		if len(got) != 1 || got[0].Count != test.lost || got[0].Last != perSegment || got[0].First != max(test.acked, test.damaged-1)+1 {
			t.Errorf("entry %d is damaged, %d are acked: %+v", test.damaged, test.acked, got)
		}
		checkBooks(t, s)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// checkDamage opens a damaged folder, twice: the gap is the same as long as something
// before it is not acked, and what is appended after the damage is found too.
func checkDamage(t *testing.T, dir string, segments int, first, last uint64) {
	t.Helper()
	want := slices.Concat(upTo(1, first-1), upTo(last+1, uint64(segments*perSegment)))
	next := uint64(segments*perSegment) + 1
	for range 2 {
		lost := newGaps()
		o := small(nil)
		o.OnGap = lost.on
		s := mustOpen(t, dir, o)
		if got := sequences(t, s); !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
		dropped := last - first + 1
		if first == 1 && next > uint64(segments*perSegment)+1 {
			dropped = 0 // nothing is before: the lane begins after it now
		}
		var g []Gap
		if dropped > 0 {
			g = lost.wait(t, Corrupt, 1)
		}
		if dropped > 0 && (len(g) != 1 || g[0].First != first || g[0].Last != last || g[0].Count != last-first+1 || g[0].Lane != low) {
			t.Errorf("gaps %+v, want %d to %d", g, first, last)
		}
		if len(g) == 1 && first > 1 && g[0].Since != int64(first-1) {
			t.Errorf("since %d", g[0].Since)
		}
		if st := checkBooks(t, s).Lanes[1]; st.Dropped[Corrupt] != dropped || st.Recovered != uint64(segments*perSegment) && next < 42 {
			t.Errorf("%+v", st)
		}
		if l, _ := s.LastSequence(low); l != next-1 {
			t.Errorf("last sequence %d, want %d", l, next-1)
		}
		if err := s.Append(low, Entry{Sequence: next, Time: int64(next), Data: numbered(next, 370)}); err != nil {
			t.Fatal(err)
		}
		want = append(want, next)
		next++
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestMissingFileIsAGap(t *testing.T) {
	for at := range 4 {
		dir := t.TempDir()
		if err := os.Remove(segmented(t, dir, 4)[at]); err != nil {
			t.Fatal(err)
		}
		checkDamage(t, dir, 4, uint64(at*perSegment+1), uint64((at+1)*perSegment))
	}
}

// What was acked before the damage is not told as lost.
func TestDamageToWhatWasAckedIsNoLoss(t *testing.T) {
	dir := t.TempDir()
	names := segmented(t, dir, 4)
	s := mustOpen(t, dir, small(nil))
	r := mustReader(t, s, low)
	for range 15 {
		if _, err := r.Next(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.Ack(15); err != nil {
		t.Fatal(err)
	}
	s.Close()
	if _, err := os.Stat(names[0]); !os.IsNotExist(err) {
		t.Errorf("the acked segment is there: %v", err)
	}
	// A power cut may bring it back.
	rewrite(t, names[1], func(b []byte) []byte {
		b[headerBytes+30] ^= 1
		return b
	})
	lost := newGaps()
	o := small(nil)
	o.OnGap = lost.on
	s = mustOpen(t, dir, o)
	if got := sequences(t, s); !slices.Equal(got, upTo(21, 40)) {
		t.Errorf("%v", got)
	}
	if g := lost.wait(t, Corrupt, 1)[0]; g.First != 16 || g.Last != 20 {
		t.Errorf("%+v", g)
	}
}

// damage changes a file of the disk behind the spool's back.
func (d *disk) damage(name string, change func([]byte)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	change(d.names[name].data)
}

func TestDamageWhileReading(t *testing.T) {
	for _, written := range []bool{false, true} {
		d := newDisk(t, 1)
		lost := newGaps()
		o := small(d)
		o.OnGap = lost.on
		s := mustOpen(t, "", o)
		for n := range uint64(25) {
			if err := s.Append(low, Entry{Sequence: n + 1, Time: int64(n + 1), Class: uint8(n % 2), Data: numbered(n+1, 370)}); err != nil {
				t.Fatal(err)
			}
		}
		mustSync(t, s)
		r := mustReader(t, s, low)
		// The middle segment, or the one that is being written.
		name, first, end := s.lanes[1].segments[1].name, uint64(14), uint64(20)
		if written {
			name, first, end = s.lanes[1].segments[2].name, 24, 25
		}
		for range (first - 1) / perSegment * perSegment { // the reader's buffer ends here
			if _, err := r.Next(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		d.damage(name, func(b []byte) { b[headerBytes+3*(entryHeaderBytes+370)+50] ^= 1 })
		for n := (first-1)/perSegment*perSegment + 1; n < first; n++ {
			if e, err := r.Next(t.Context()); err != nil || e.Sequence != n {
				t.Fatal(e.Sequence, err)
			}
		}
		for n := uint64(26); n < 40; n++ {
			if err := s.Append(low, Entry{Sequence: n, Time: int64(n), Data: numbered(n, 370)}); err != nil {
				t.Fatal(err)
			}
		}
		for n := end + 1; n < 40; n++ {
			e, err := r.Next(t.Context())
			if n == end+1 && err == nil {
				mustSync(t, s)
			}
			if err != nil || e.Sequence != n {
				t.Fatal(e.Sequence, n, err)
			}
		}
		g := lost.wait(t, Corrupt, 1)[0]
		if g.First != first || g.Last != end || g.Count != end-first+1 || g.Classes[0]+g.Classes[1] != g.Count || g.Until != int64(end) {
			t.Errorf("%+v", g)
		}
		if err := r.Ack(39); err != nil {
			t.Error(err)
		}
		if st := checkBooks(t, s).Lanes[1]; st.Acked != 39-g.Count || st.Queued != 0 {
			t.Errorf("%+v", st)
		}
		s.Close()
	}
}

// The reader finds damage in a segment while the next entries are on their way into it:
// they are written again, elsewhere.
func TestDamageDuringACommit(t *testing.T) {
	d := newDisk(t, 1)
	s := mustOpen(t, "", small(d))
	mustAppend(t, s, low, upTo(1, 5)...)
	mustSync(t, s)
	r := mustReader(t, s, low)
	wantNext(t, r, 1, 2, 3)
	l := s.lanes[1]
	g, found := l.segments[0], false
	d.mu.Lock()
	d.fail = func(op operation, _ int) error {
		if op == opSync && !found {
			found = true
			s.mu.Lock()
			l.cut(s, g, 4)
			s.mu.Unlock()
		}
		return nil
	}
	d.mu.Unlock()
	mustAppend(t, s, low, upTo(6, 10)...)
	mustSync(t, s)
	r.Close()
	if got := rest(t, s, low); !slices.Equal(got, []uint64{1, 2, 3, 6, 7, 8, 9, 10}) {
		t.Errorf("%v", got)
	}
	if st := checkBooks(t, s); st.Lanes[1].Dropped[Corrupt] != 2 {
		t.Errorf("%+v", st.Lanes[1])
	}
}

// Too many open files, and the like, is no reason to give entries up.
func TestReadErrorsThatPassCostNothing(t *testing.T) {
	d := newDisk(t, 1)
	s := mustOpen(t, "", small(d))
	mustAppend(t, s, low, upTo(1, 5)...)
	mustSync(t, s)
	r := mustReader(t, s, low)
	d.mu.Lock()
	d.fail = func(op operation, _ int) error {
		if op == opRead {
			return syscall.ENOMEM
		}
		return nil
	}
	d.mu.Unlock()
	if _, err := r.Next(t.Context()); err == nil {
		t.Error("no error")
	}
	d.mu.Lock()
	d.fail = nil
	d.mu.Unlock()
	wantNext(t, r, upTo(1, 5)...)
}
