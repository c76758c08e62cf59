package audit

import (
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	collectorv1 "github.com/seawall-security/seawall/proto/collector/v1"
)

// chosen is an event whose id a client chose, the same and long for each: only its times
// tell it from others.
func chosen(n int) string {
	at := time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC).Add(time.Duration(n) * time.Microsecond).Format("2006-01-02T15:04:05.000000Z")
	return fmt.Sprintf(`{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"%s","stage":"ResponseComplete","requestURI":"/api","verb":"get","user":{},`+
		`"sourceIPs":["10.0.0.1"],"responseStatus":{"code":401},"requestReceivedTimestamp":"%s","stageTimestamp":"%s"}`, strings.Repeat("A", 300), at, at)
}

// taken are the numbers of the chosen events that are in the log.
func (w *world) taken() (numbers []int) {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, message := range w.batches {
		m := &collectorv1.LogMessage{}
		if err := proto.Unmarshal(message, m); err != nil {
			w.t.Fatal(err)
		}
		for _, e := range m.GetAudit().GetEvents() {
			numbers = append(numbers, int(e.StageTime.AsTime().Sub(time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC))/time.Microsecond))
		}
	}
	return numbers
}

// rotator writes a log and rotates it while it is read.
type rotator struct {
	*server
	random    *rand.Rand
	ended     []int // how much was written when each rotation was done
	rotations int
}

// keep is how many rotated files there are.
const keep = 6

func (r *rotator) lines(n int) {
	var b strings.Builder
	for range n {
		b.WriteString(chosen(r.written) + "\n")
		r.written++
	}
	text := b.String()
	if n > 0 && r.random.IntN(3) == 0 { // in two pieces
		cut := r.random.IntN(len(text))
		r.append(text[:cut])
		text = text[cut:]
	}
	r.append(text)
}

// pack compresses a file in pieces.
func (r *rotator) pack(name string) {
	text, err := os.ReadFile(name)
	r.check(err)
	out, err := os.Create(name + ".gz")
	r.check(err)
	z := gzip.NewWriter(out)
	for len(text) > 0 {
		n := min(len(text), 700)
		_, err = z.Write(text[:n])
		r.check(err)
		r.check(z.Flush())
		text = text[n:]
	}
	r.check(z.Close())
	r.check(out.Close())
	r.check(os.Remove(name))
}

// rename rotates as API servers do: the file gets its time as its name, then it is
// compressed, and the oldest goes.
func (r *rotator) rename() {
	name := func(n int) string { return filepath.Join(r.dir, fmt.Sprintf("audit-2026-11-22T%06d.log", n)) }
	r.check(os.Rename(r.path(), name(r.rotations)))
	if r.random.IntN(2) == 0 {
		r.append("") // it is there at once, and empty
	}
	if r.random.IntN(2) == 0 {
		r.pack(name(r.rotations))
	}
	for _, old := range []string{name(r.rotations - keep), name(r.rotations-keep) + ".gz"} {
		if err := os.Remove(old); err != nil && !errors.Is(err, fs.ErrNotExist) {
			r.check(err)
		}
	}
}

// number rotates as logrotate does, with copytruncate or without.
func (r *rotator) number(copied bool) {
	name := func(n int) string { return fmt.Sprintf("%s.%d", r.path(), n) }
	for n := keep; n > 0; n-- {
		for _, end := range []string{"", ".gz"} {
			if err := os.Rename(name(n)+end, name(n+1)+end); err != nil && !errors.Is(err, fs.ErrNotExist) {
				r.check(err)
			}
		}
	}
	for _, end := range []string{"", ".gz"} {
		if err := os.Remove(name(keep+1) + end); err != nil && !errors.Is(err, fs.ErrNotExist) {
			r.check(err)
		}
	}
	if !copied {
		r.check(os.Rename(r.path(), name(1)))
		r.append("")
	} else {
		text, err := os.ReadFile(r.path())
		r.check(err)
		out, err := os.Create(name(1))
		r.check(err)
		for len(text) > 0 {
			n := min(len(text), 500)
			_, err := out.Write(text[:n])
			r.check(err)
			text = text[n:]
		}
		r.check(out.Close())
		r.check(os.Truncate(r.path(), 0))
	}
	if _, err := os.Stat(name(2)); err == nil && r.random.IntN(2) == 0 {
		r.pack(name(2))
	}
}

// However often a log is rotated while it is read, each line comes once and in its order,
// nothing is taken for a loss, and who chooses the ids of his requests cannot hide any.
func TestTailReadsThroughRotations(t *testing.T) {
	const rotations = 300
	for name, rotate := range map[string]func(*rotator){
		"renamed":           (*rotator).rename,
		"numbered":          func(r *rotator) { r.number(false) },
		"copied, truncated": func(r *rotator) { r.number(true) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			r := &rotator{server: newServer(t), random: rand.New(rand.NewPCG(1, 2))}
			r.append("")
			tail := w.tail(r.path())
			var mu sync.Mutex // guards read, done and lost
			moved := sync.NewCond(&mu)
			read, done, lost := 0, false, false
			var writer sync.WaitGroup
			writer.Go(func() {
				for r.rotations = 0; r.rotations < rotations; r.rotations++ {
					for range 1 + r.random.IntN(3) {
						r.lines(r.random.IntN(4))
					}
					if r.rotations%3 > 0 || r.random.IntN(3) > 0 {
						r.lines(1) // else it may be empty
					}
					// What goes next was read, and something behind it: who keeps too few files loses some.
					mu.Lock()
					for n := len(r.ended) - keep + 1; n >= 0 && read <= r.ended[n] && !lost; {
						moved.Wait()
					}
					mu.Unlock()
					rotate(r)
					r.ended = append(r.ended, r.written)
				}
				r.lines(1)
				mu.Lock()
				done = true
				mu.Unlock()
			})
			passes, busy, idle := 0, 0, 0
			for last := false; !last; passes++ {
				mu.Lock()
				last = done
				mu.Unlock()
				if err := tail.pass(t.Context()); errors.Is(err, errMoves) {
					busy++
				} else if err != nil {
					t.Error(err)
				}
				w.mu.Lock()
				n := len(w.ids)
				w.mu.Unlock()
				mu.Lock()
				if idle++; n > read {
					idle = 0
				}
				// What does not come in so many passes does not come.
				read, lost = n, lost || idle > 20_000
				moved.Signal()
				mu.Unlock()
			}
			writer.Wait()
			w.pass(tail)
			got := w.taken()
			for i, n := range got {
				if i != n {
					t.Fatalf("line %d came at place %d", n, i)
				}
			}
			holes, repeated := w.count("seawall_collector_audit_holes_total", nil), w.count("seawall_collector_audit_events_total", map[string]string{"result": "repeated"})
			unreadable := w.count("seawall_collector_audit_events_total", map[string]string{"result": "unreadable"})
			if name == "copied, truncated" {
				repeated = 0 // a copy that was looked at while it was written may be read again: its events are known
			}
			if len(got) != r.written || holes+repeated+unreadable > 0 {
				t.Errorf("%d of %d lines; %v holes, %v lines read again, %v unreadable", len(got), r.written, holes, repeated, unreadable)
			}
			t.Logf("%d rotations, %d passes (%d gave up), %d lines", rotations, passes, busy, len(got))
		})
	}
}

// Files whose beginnings a client chose are told apart.
func TestTailTellsFilesThatBeginAlike(t *testing.T) {
	w := newWorld(t)
	r := &rotator{server: newServer(t), random: rand.New(rand.NewPCG(1, 2))}
	tail := w.tail(r.path())
	for range 5 {
		r.lines(50)
		w.pass(tail)
		r.lines(10)
		r.rotate()
		r.lines(3)
		w.pass(tail)
		w.pass(tail)
		if got := w.taken(); len(got) != r.written {
			t.Fatalf("%d of %d lines came", len(got), r.written)
		}
		r.rotate()
	}
}

// A position that an earlier version kept is read, with the file that it named.
func TestTailReadsEarlierPositions(t *testing.T) {
	w, s := newWorld(t), newServer(t)
	s.write(3)
	first := line(id(0)) + "\n"
	sum := sha256.Sum256([]byte(first)[:256])
	s.rotate()
	s.write(2)
	w.positions["file"] = Position{File: hex.EncodeToString(sum[:16]), Offset: int64(len(first))}
	tail := w.tail(s.path())
	w.pass(tail)
	if got := strings.Join(w.ids, " "); got != "id-000001 id-000002 id-000003 id-000004" {
		t.Error(got)
	}
	if n := w.count("seawall_collector_audit_holes_total", nil); n != 0 || !strings.HasPrefix(w.positions["file"].File, knownByLine) {
		t.Errorf("%v holes, %+v", n, w.positions["file"])
	}
}

// A file that lost its end, by whoever's hand, is a hole, and is read on from there.
func TestTailBehindTheEnd(t *testing.T) {
	w, s := newWorld(t), newServer(t)
	tail := w.tail(s.path())
	s.write(5)
	w.pass(tail)
	s.check(os.Truncate(s.path(), int64(2*len(line(id(0))+"\n"))))
	w.pass(tail)
	if n := w.count("seawall_collector_audit_holes_total", nil); n != 0 {
		t.Errorf("%v holes at the first look", n)
	}
	w.pass(tail)
	s.write(2)
	w.pass(tail)
	w.pass(tail)
	if n := w.count("seawall_collector_audit_holes_total", nil); n != 1 {
		t.Errorf("%v holes", n)
	}
	w.want(s)
}

// A compressed file that cannot be read is one hole, and what is behind it is read.
func TestTailPassesOverASpoiledFile(t *testing.T) {
	w, s := newWorld(t), newServer(t)
	tail := w.tail(s.path())
	s.write(2)
	w.pass(tail)
	spoiled := s.rotate() + ".gz"
	s.check(os.WriteFile(spoiled, []byte("no gzip"), 0o600))
	s.check(os.Remove(strings.TrimSuffix(spoiled, ".gz")))
	s.write(2)
	for range 5 {
		w.pass(tail)
	}
	w.want(s)
	if n := w.count("seawall_collector_audit_holes_total", nil); n == 0 || n > 2 {
		t.Errorf("%v holes", n)
	}
}

// Nothing is passed over because it cannot be read yet.
func TestTailWaitsForWhatItMayNotRead(t *testing.T) {
	w, s := newWorld(t), newServer(t)
	tail := w.tail(s.path())
	s.write(2)
	w.pass(tail)
	// A folder has no lines, and is there for everybody.
	blocked := s.rotate()
	s.write(1)
	s.check(os.Rename(blocked, blocked+".away"))
	s.check(os.Symlink(filepath.Join(s.dir, "nowhere"), blocked))
	_ = tail.pass(t.Context())
	s.check(os.Remove(blocked))
	s.check(os.Rename(blocked+".away", blocked))
	w.pass(tail)
	w.want(s)
}
