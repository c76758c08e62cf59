package spool

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"testing"
	"time"
)

// BenchmarkAppend appends entries of 300 bytes to a real folder while somebody reads and
// acks, and waits for the disk once per 4 MiB, so that nothing is dropped. A reported
// fsync is what the group commits cost.
func BenchmarkAppend(b *testing.B) {
	const size = 300
	s := mustOpen(b, b.TempDir(), Options{Lanes: []Lane{high, low}})
	r := mustReader(b, s, low)
	done := make(chan error, 1)
	count := uint64(b.N)
	go func() {
		for {
			e, err := r.Next(b.Context())
			if err != nil {
				done <- err
				return
			}
			if e.Sequence%1000 == 0 || e.Sequence == count {
				if err := r.Ack(e.Sequence); err != nil || e.Sequence == count {
					done <- err
					return
				}
			}
		}
	}()
	e := Entry{Data: make([]byte, size)}
	b.SetBytes(size)
	b.ReportAllocs()
	b.ResetTimer()
	for n := range uint64(b.N) {
		e.Sequence, e.Time = n+1, int64(n)
		if err := s.Append(low, e); err != nil {
			b.Fatal(err)
		}
		if n%(4<<20/size) == 0 {
			mustSync(b, s)
		}
	}
	mustSync(b, s)
	if err := <-done; err != nil {
		b.Fatal(err)
	}
	st := checkBooks(b, s)
	if st.Lanes[1].Acked != uint64(b.N) {
		b.Fatalf("%+v", st.Lanes[1])
	}
	b.ReportMetric(st.SyncTime.Seconds()*1000/float64(st.Syncs), "ms/fsync")
	b.ReportMetric(float64(st.Syncs)/b.Elapsed().Seconds(), "fsyncs/s")
}

// BenchmarkSync is one entry at a time, each durable before the next: what one detection waits.
func BenchmarkSync(b *testing.B) {
	s := mustOpen(b, b.TempDir(), Options{Lanes: []Lane{high}})
	e := Entry{Data: make([]byte, 300)}
	for n := range uint64(b.N) {
		e.Sequence = n + 1
		if err := s.Append(high, e); err != nil {
			b.Fatal(err)
		}
		mustSync(b, s)
	}
}

// fullFolder makes a folder with this many bytes of entries.
func fullFolder(t testing.TB, dir string, size int64) (entries uint64) {
	t.Helper()
	s := mustOpen(t, dir, Options{Lanes: []Lane{low}, MaxBytes: 2 * size})
	e := Entry{Data: make([]byte, 300)}
	for n := size / (300 + entryHeaderBytes); n > 0; n-- {
		e.Sequence++
		if err := s.Append(low, e); err != nil {
			t.Fatal(err)
		}
		if n%10000 == 0 {
			mustSync(t, s)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return e.Sequence
}

// BenchmarkOpen opens a full spool: every entry is checked.
func BenchmarkOpen(b *testing.B) {
	dir := b.TempDir()
	entries := fullFolder(b, dir, DefaultMaxBytes)
	b.SetBytes(DefaultMaxBytes)
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		s := mustOpen(b, dir, Options{Lanes: []Lane{low}, MaxBytes: 2 * DefaultMaxBytes})
		if q := s.Stats().Lanes[0].Queued; q != entries {
			b.Fatalf("%d of %d entries", q, entries)
		}
		s.Close()
	}
}

func TestOpenOfAFullSpoolIsBoundedInMemory(t *testing.T) {
	size := int64(DefaultMaxBytes)
	if testing.Short() {
		size = 16 << 20
	}
	dir := t.TempDir()
	entries := fullFolder(t, dir, size)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	s := mustOpen(t, dir, Options{Lanes: []Lane{low}, MaxBytes: 2 * size})
	runtime.ReadMemStats(&after)
	if q := s.Stats().Lanes[0].Queued; q != entries {
		t.Errorf("%d of %d entries", q, entries)
	}
	if n := after.TotalAlloc - before.TotalAlloc; n > 1<<20 {
		t.Errorf("%d bytes to open %d", n, size)
	}
}

func TestAppendAndNextAllocateNothing(t *testing.T) {
	s := mustOpen(t, t.TempDir(), Options{Lanes: []Lane{high, low}, MaxPendingBytes: 16 << 20})
	e := Entry{Data: make([]byte, 300)}
	step := func() {
		e.Sequence++
		if err := s.Append(low, e); err != nil {
			t.Fatal(err)
		}
	}
	// Fill the list of idle chunks first.
	for range 6000 {
		step()
	}
	mustSync(t, s)
	if n := testing.AllocsPerRun(5000, step); n != 0 {
		t.Errorf("Append: %v allocations", n)
	}
	mustSync(t, s)
	r := mustReader(t, s, low)
	next := func() {
		e, err := r.Next(t.Context())
		if err == nil {
			err = r.Ack(e.Sequence)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	next()
	if n := testing.AllocsPerRun(5000, next); n != 0 {
		t.Errorf("Next and Ack: %v allocations", n)
	}
}

func Example() {
	dir, err := os.MkdirTemp("", "spool")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	s, err := Open(dir, Options{
		Lanes: []Lane{"detections", "telemetry"},
		OnGap: func(_ *Spool, g Gap) { fmt.Println("lost", g.Count, g.Reason) },
	})
	if err != nil {
		panic(err)
	}
	defer s.Close()
	last, _ := s.LastSequence("detections")
	_ = s.Append("detections", Entry{Sequence: last + 1, Time: time.Now().UnixNano(), Data: []byte("shell below a web server")})

	r, _ := s.Reader("detections")
	defer r.Close()
	e, _ := r.Next(context.Background()) // durable by now
	fmt.Println(e.Sequence, string(e.Data))
	_ = r.Ack(e.Sequence) // once the receiver has it on disk
	// Output: 1 shell below a web server
}
