package audit

import (
	"compress/gzip"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/seawall-security/seawall/internal/audit"
)

// server writes a log as an API server or logrotate does.
type server struct {
	t         testing.TB
	dir       string
	written   int
	rotations int
}

func newServer(t testing.TB) *server { return &server{t: t, dir: t.TempDir()} }

func (s *server) path() string { return filepath.Join(s.dir, "audit.log") }

func (s *server) append(text string) {
	s.t.Helper()
	f, err := os.OpenFile(s.path(), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	s.check(err)
	_, err = f.WriteString(text)
	s.check(err)
	s.check(f.Close())
}

func (s *server) check(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *server) write(n int) {
	s.t.Helper()
	var b strings.Builder
	for range n {
		b.WriteString(line(id(s.written)) + "\n")
		s.written++
	}
	s.append(b.String())
}

func id(n int) string { return fmt.Sprintf("id-%06d", n) }

// rotate gives the log another name.
func (s *server) rotate() string {
	s.t.Helper()
	s.rotations++
	name := filepath.Join(s.dir, fmt.Sprintf("audit-2026-11-22T%06d.log", s.rotations))
	s.check(os.Rename(s.path(), name))
	return name
}

// copyTruncate is logrotate's other way.
func (s *server) copyTruncate() {
	s.t.Helper()
	for n := s.rotations; n > 0; n-- {
		s.check(os.Rename(fmt.Sprintf("%s.%d", s.path(), n), fmt.Sprintf("%s.%d", s.path(), n+1)))
	}
	s.rotations++
	text, err := os.ReadFile(s.path())
	s.check(err)
	s.check(os.WriteFile(s.path()+".1", text, 0o600))
	s.check(os.Truncate(s.path(), 0))
}

// compress replaces a file by its compressed form.
func (s *server) compress(name string) {
	s.t.Helper()
	in, err := os.Open(name)
	s.check(err)
	out, err := os.Create(name + ".gz")
	s.check(err)
	z := gzip.NewWriter(out)
	_, err = io.Copy(z, in)
	s.check(err)
	s.check(z.Close())
	s.check(out.Close())
	s.check(in.Close())
	s.check(os.Remove(name))
}

func (w *world) pass(tail *Tail) {
	w.t.Helper()
	if err := tail.pass(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
}

// want says that all that was written came, once and in order.
func (w *world) want(s *server) {
	w.t.Helper()
	if len(w.ids) != s.written {
		w.t.Fatalf("%d of %d events came", len(w.ids), s.written)
	}
	for i, got := range w.ids {
		if got != id(i) {
			w.t.Fatalf("%s came at place %d", got, i)
		}
	}
}

func TestTailReadsWhatIsWritten(t *testing.T) {
	w, s := newWorld(t), newServer(t)
	tail := w.tail(s.path())
	w.pass(tail) // there is none yet
	s.write(3)
	w.pass(tail)
	w.want(s)
	half := line(id(3)) + "\n"
	s.append(half[:100])
	w.pass(tail)
	w.want(s)
	s.append(half[100:])
	s.written++
	s.write(1000) // several batches
	w.pass(tail)
	w.want(s)
	if got := w.count("seawall_collector_audit_events_total", map[string]string{"result": "unreadable"}); got != 0 {
		t.Errorf("%v unreadable", got)
	}
}

func TestTailFollowsRotation(t *testing.T) {
	for name, rotate := range map[string]func(*server){
		"renamed":             func(s *server) { s.rotate() },
		"renamed, compressed": func(s *server) { s.compress(s.rotate()) },
		"copied":              func(s *server) { s.copyTruncate() },
		"named by its date":   func(s *server) { s.check(os.Rename(s.rotate(), fmt.Sprintf("%s-202611%02d", s.path(), s.rotations))) },
	} {
		t.Run(name, func(t *testing.T) {
			w, s := newWorld(t), newServer(t)
			s.check(os.WriteFile(filepath.Join(s.dir, "audit-policy.yaml"), []byte("kind: Policy\n"), 0o600))
			tail := w.tail(s.path())
			s.write(5)
			w.pass(tail)
			s.write(5) // not read yet
			rotate(s)
			w.pass(tail) // no log at the moment, or an empty one
			for range 12 {
				s.write(3) // several at once, too
				rotate(s)
			}
			s.write(2)
			w.pass(tail)
			w.want(s)
			if n := w.count("seawall_collector_audit_holes_total", nil); n != 0 {
				t.Errorf("%v holes", n)
			}
			if n := w.count("seawall_collector_audit_events_total", map[string]string{"result": "unreadable"}); n != 0 {
				t.Errorf("%v unreadable", n)
			}
		})
	}
}

// Whatever happens between, every event comes: writes, rotations, compression, failures of
// the log, restarts. Doubles may come after a restart only.
func TestTailLosesNothing(t *testing.T) {
	for seed := range uint64(12) {
		random := rand.New(rand.NewPCG(seed, 1))
		w, s := newWorld(t), newServer(t)
		tail := w.tail(s.path())
		var rotated []string
		for range 60 {
			switch random.IntN(6) {
			case 0, 1:
				s.write(1 + random.IntN(900))
			case 2:
				if s.written > 0 && random.IntN(2) == 0 {
					if _, err := os.Stat(s.path()); err == nil {
						rotated = append(rotated, s.rotate())
					}
				}
			case 3:
				if len(rotated) > 0 {
					s.compress(rotated[0])
					rotated = rotated[1:]
				}
			case 4:
				w.failing(nil)
				if random.IntN(3) == 0 {
					w.failing(errFull)
				}
				if random.IntN(3) == 0 {
					w.restart()
				}
				tail = w.tail(s.path())
			default:
				_ = tail.pass(t.Context()) // while the log refuses
			}
		}
		w.failing(nil)
		tail = w.tail(s.path())
		w.pass(tail)
		slices.Sort(w.ids)
		if got := slices.Compact(w.ids); len(got) != s.written {
			t.Fatalf("seed %d: %d of %d events came", seed, len(got), s.written)
		}
	}
}

func TestTailPassesOverWhatItCannotRead(t *testing.T) {
	w, s := newWorld(t), newServer(t)
	tail := w.tail(s.path())
	s.write(2)
	s.append("no event\n\n" + strings.Repeat("x", audit.MaxEventBytes+2) + "\n" + `{"auditID":"x","stage":"Never"}` + "\r\n")
	s.write(2)
	w.pass(tail)
	w.want(s)
	s.append(`{"auditID":`)
	s.rotate()
	s.write(1)
	w.pass(tail)
	w.want(s)
	if got := w.count("seawall_collector_audit_events_total", map[string]string{"result": "unreadable"}); got != 4 {
		t.Errorf("%v unreadable", got)
	}
}

// A file that is gone before it was read is said to be, once.
func TestTailSaysWhatIsGone(t *testing.T) {
	w, s := newWorld(t), newServer(t)
	tail := w.tail(s.path())
	s.write(2)
	w.pass(tail)
	s.write(2)
	s.check(os.Remove(s.rotate()))
	w.pass(tail) // it may be on its way to another name
	if n := w.count("seawall_collector_audit_holes_total", nil); n != 0 {
		t.Errorf("%v holes before there is another file", n)
	}
	s.write(1)
	w.pass(tail)
	w.pass(tail)
	if n := w.count("seawall_collector_audit_holes_total", nil); n != 1 {
		t.Errorf("%v holes", n)
	}
	if len(w.ids) != 3 || w.ids[2] != id(4) {
		t.Errorf("%v came", w.ids)
	}
}
