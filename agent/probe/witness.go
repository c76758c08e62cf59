package probe

import (
	"sync"
	"sync/atomic"

	"github.com/seawall-security/seawall/internal/event"
)

// witness watches the records for those the self-test provoked. The reader's goroutine
// calls note; while no test runs that costs one load.
type witness struct {
	// own is the agent's process number as the kernel counts it, whatever its pid
	// namespace; set before Read.
	own uint32

	active  atomic.Bool
	mu      sync.Mutex
	changed chan struct{} // closed and renewed by note
	seen    [event.KindMax]bool
}

// note remembers the kind of a record that the agent provoked: the programs mark its own
// acts; forks and cgroups are told by who made them, execs and ends by whose child it was.
func (w *witness) note(record []byte) {
	if !w.active.Load() {
		return
	}
	h := headOf(record)
	if h == nil {
		return
	}
	kind := event.Kind(h.Kind)
	var ours bool
	switch kind {
	case event.KindProcessFork, event.KindCgroupCreate, event.KindCgroupRemove:
		ours = h.TGID == w.own
	case event.KindProcessExec, event.KindProcessExit:
		ours = h.ParentTGID == w.own
	default:
		ours = kind < event.KindMax && event.Flags(h.Flags).Has(event.SelfTest)
	}
	if !ours {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.active.Load() || w.seen[kind] {
		return
	}
	w.seen[kind] = true
	close(w.changed)
	w.changed = make(chan struct{})
}

func (w *witness) begin() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seen, w.changed = [event.KindMax]bool{}, make(chan struct{})
	w.active.Store(true)
}

func (w *witness) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.active.Store(false)
}

// saw reports whether a record of the kind came, and a channel that closes at the next.
func (w *witness) saw(kind event.Kind) (bool, <-chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.seen[kind], w.changed
}
