package spool

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
)

const (
	high Lane = "detections"
	low  Lane = "telemetry"
)

// small is a spool of two lanes with segments of one block.
func small(d files) Options {
	return Options{Lanes: []Lane{high, low}, MaxBytes: 1 << 20, SegmentBytes: minSegmentBytes, files: d}
}

func mustOpen(t testing.TB, dir string, o Options) *Spool {
	t.Helper()
	s, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// entry makes the one entry that lane has with that sequence.
func entry(lane Lane, sequence uint64) Entry {
	random := rand.New(rand.NewPCG(sequence, uint64(len(lane))))
	data := make([]byte, random.IntN(300))
	for i := range data {
		data[i] = byte(random.Uint32())
	}
	return Entry{Sequence: sequence, Time: int64(sequence) * 1000, Class: uint8(sequence % 3), Data: data}
}

func same(a, b Entry) bool {
	return a.Sequence == b.Sequence && a.Time == b.Time && a.Class == b.Class && string(a.Data) == string(b.Data)
}

func mustAppend(t testing.TB, s *Spool, lane Lane, sequences ...uint64) {
	t.Helper()
	for _, n := range sequences {
		if err := s.Append(lane, entry(lane, n)); err != nil {
			t.Fatal(err)
		}
	}
}

func mustSync(t testing.TB, s *Spool) {
	t.Helper()
	if err := s.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func mustReader(t testing.TB, s *Spool, lane Lane) *Reader {
	t.Helper()
	r, err := s.Reader(lane)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

func upTo(from, to uint64) (n []uint64) {
	for ; from <= to; from++ {
		n = append(n, from)
	}
	return n
}

// wantNext reads these sequences and compares the entries.
func wantNext(t testing.TB, r *Reader, sequences ...uint64) {
	t.Helper()
	for _, n := range sequences {
		e, err := r.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if !same(e, entry(r.lane.name, n)) {
			t.Fatalf("entry %d, want %d: %v", e.Sequence, n, e)
		}
	}
}

// rest reads what there is without waiting.
func rest(t testing.TB, s *Spool, lane Lane) []uint64 {
	t.Helper()
	r, err := s.Reader(lane)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	got := []uint64{}
	for {
		ready, err := r.position()
		if err != nil {
			t.Fatal(err)
		}
		if !ready {
			return got
		}
		e, err := r.Next(ended)
		if err != nil {
			if errors.Is(err, context.Canceled) { // what was left could not be given
				continue
			}
			t.Fatal(err)
		}
		if !same(e, entry(lane, e.Sequence)) {
			t.Fatalf("entry %d is not what was appended", e.Sequence)
		}
		if len(got) > 0 && got[len(got)-1] >= e.Sequence {
			t.Fatalf("entry %d after %d", e.Sequence, got[len(got)-1])
		}
		got = append(got, e.Sequence)
	}
}

// gaps collects what OnGap is told.
type gaps struct {
	mu   sync.Mutex
	all  []Gap
	news chan struct{}
}

func newGaps() *gaps { return &gaps{news: make(chan struct{}, 1)} }

func (g *gaps) on(_ *Spool, gap Gap) {
	g.mu.Lock()
	g.all = append(g.all, gap)
	g.mu.Unlock()
	select {
	case g.news <- struct{}{}:
	default:
	}
}

// wait returns the gaps of a reason once there are n of them.
func (g *gaps) wait(t testing.TB, reason Reason, n int) []Gap {
	t.Helper()
	for {
		if found := g.of(reason); len(found) >= n {
			return found
		}
		select {
		case <-g.news:
		case <-t.Context().Done():
			t.Fatal("no gap was told")
		}
	}
}

func (g *gaps) of(reason Reason) (found []Gap) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, gap := range g.all {
		if gap.Reason == reason {
			found = append(found, gap)
		}
	}
	return found
}

// covers says whether some gap tells of the sequence.
func (g *gaps) covers(lane Lane, sequence uint64) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.ContainsFunc(g.all, func(gap Gap) bool {
		return gap.Lane == lane && gap.First <= sequence && sequence <= gap.Last
	})
}

// checkBooks asks for the sum that always holds, and for counts per class that add up.
func checkBooks(t testing.TB, s *Spool) Stats {
	t.Helper()
	st := s.Stats()
	for _, l := range st.Lanes {
		dropped := uint64(0)
		for n := range maps.Values(l.Dropped) {
			dropped += n
		}
		if l.Appended+l.Recovered != l.Acked+l.Queued+dropped {
			t.Errorf("%s: %d appended + %d recovered ≠ %d acked + %d queued + %d dropped %v",
				l.Lane, l.Appended, l.Recovered, l.Acked, l.Queued, dropped, l.Dropped)
		}
	}
	if st.Bytes > s.options.MaxBytes {
		t.Errorf("%d bytes of %d", st.Bytes, s.options.MaxBytes)
	}
	if st.PendingBytes > int64(s.options.MaxPendingBytes) {
		t.Errorf("%d bytes pending of %d", st.PendingBytes, s.options.MaxPendingBytes)
	}
	return st
}

// power is a context that ends when d has none.
func power(ctx context.Context, d *disk) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		select {
		case <-d.dead:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}

func numbered(sequence uint64, size int) []byte {
	b := make([]byte, max(size, 8))
	binary.LittleEndian.PutUint64(b, sequence)
	return b
}

var _ io.Closer = (*Spool)(nil)
var _ fmt.Stringer = Reason(0)
