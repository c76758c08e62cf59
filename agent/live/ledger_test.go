package live

import (
	"fmt"
	"testing"

	"github.com/seawall-security/seawall/agent/pipeline"
	"github.com/seawall-security/seawall/agent/probe"
	"github.com/seawall-security/seawall/internal/event"
)

// books are both parts of the ledger at one moment.
type books struct {
	kernel map[event.Kind]probe.KindCount
	agent  pipeline.Ledger
	rings  [2]probe.RingCount
}

func (w *world) books() (books, error) {
	b := books{kernel: map[event.Kind]probe.KindCount{}}
	rows, err := w.sensor.Ledger()
	for _, row := range rows {
		b.kernel[row.Kind] = row
	}
	b.agent, b.rings = w.stages.Ledger(), w.sensor.Rings()
	return b, err
}

// open reads the books between two records.
func (w *world) open(t testing.TB) (b books) {
	t.Helper()
	w.until(t, "books are read", func() bool {
		var err error
		b, err = w.books()
		return err == nil
	})
	return b
}

func (b books) read(k event.Kind) pipeline.Count {
	for _, c := range b.agent.Kinds {
		if c.Kind == k {
			return c
		}
	}
	return pipeline.Count{}
}

// dropped sums what the rings of a kind had no room for.
func (b books) dropped(ring probe.Ring) (n uint64) {
	for kind, row := range b.kernel {
		if ringOf(kind) == ring {
			n += row.DroppedRing
		}
	}
	return n
}

func ringOf(k event.Kind) probe.Ring {
	switch k {
	case event.KindProcessFork, event.KindProcessExec, event.KindProcessExit, event.KindProcessNamespace,
		event.KindCgroupCreate, event.KindCgroupRemove:
		return probe.Decisive
	}
	return probe.Bulk
}

// agreements is how often each line of the books has to be seen balanced. The host
// goes on while they are read: a hook that is half way through makes a line wrong for a
// moment, hardly ever right by chance, never so often.
const agreements = 3

// balance waits until every line of the ledger has balanced:
//
//	seen    = filtered + emitted + dropped     (kernel, per kind)
//	emitted = read                             (kernel to agent, per kind)
//	read    = self-test + delivered + penned   (agent, per kind)
//	missing = dropped                          (sequence numbers, per ring)
//
// and nothing was refused by the decoder.
func (w *world) balance(t testing.TB) {
	t.Helper()
	agreed := map[string]int{}
	last := map[string]string{}
	note := func(line string, left, right uint64) bool {
		if agreed[line] < agreements {
			if left == right {
				agreed[line]++
			}
			last[line] = fmt.Sprintf("%d != %d", left, right)
		}
		return agreed[line] >= agreements
	}
	err := w.idle(func() bool {
		b, err := w.books()
		if err != nil {
			return false
		}
		all := true
		for kind, row := range b.kernel {
			read := b.read(kind)
			all = note(kind.String()+": seen = filtered + emitted + dropped", row.Seen, row.Seen-uint64(row.Unbalanced())) && all
			all = note(kind.String()+": emitted = read", row.Emitted, read.Read) && all
			all = note(kind.String()+": read = self-test + delivered + penned", read.Read,
				read.SelfTest+read.Delivered+uint64(read.Penned)) && all
		}
		for _, ring := range b.rings {
			all = note(ring.Ring.String()+" ring: missing = dropped", ring.Missing, b.dropped(ring.Ring)) && all
		}
		return all
	})
	if err != nil {
		for line, n := range agreed {
			if n < agreements {
				t.Errorf("%s: balanced %d times of %d, last %s", line, n, agreements, last[line])
			}
		}
		for line, found := range last {
			if agreed[line] == 0 {
				t.Errorf("%s: never, last %s", line, found)
			}
		}
	}
	b := w.open(t)
	for reason, n := range b.agent.Refused {
		if n > 0 {
			t.Errorf("%d records were refused: %s", n, reason)
		}
	}
	for kind, row := range b.kernel {
		if row.DroppedScratch > 0 {
			t.Errorf("%s: %d dropped for want of scratch", kind, row.DroppedScratch)
		}
	}
	for program, n := range w.sensor.Missed() {
		t.Errorf("the kernel did not run %s %d times", program, n)
	}
}
