package probe

import (
	"slices"
	"sync"

	"github.com/seawall-security/seawall/internal/event"
)

// witness watches the records for those the self-test provoked. The reader's goroutine
// calls note; while no test runs that costs one load.
type witness struct {
	mu      sync.Mutex
	active  bool
	changed chan struct{} // closed and renewed by note
	seen    []sighting
}

type sighting struct {
	kind event.Kind
	tgid uint32
}

// maxSightings bounds what a busy host can make the witness remember of a test that
// lasts a second.
const maxSightings = 4096

// watched are kinds the programs mark as the self-test's; of processes and cgroups the
// witness remembers who did what.
func (w *witness) note(record []byte) {
	h := headOf(record)
	if h == nil {
		return
	}
	kind := event.Kind(h.Kind)
	switch kind {
	case event.KindProcessFork, event.KindProcessExec, event.KindProcessExit,
		event.KindCgroupCreate, event.KindCgroupRemove:
	default:
		if event.Flags(h.Flags)&event.SelfTest == 0 {
			return
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.active || len(w.seen) >= maxSightings {
		return
	}
	s := sighting{kind, h.TGID}
	if slices.Contains(w.seen, s) {
		return
	}
	w.seen = append(w.seen, s)
	close(w.changed)
	w.changed = make(chan struct{})
}

func (w *witness) begin() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.active, w.seen, w.changed = true, nil, make(chan struct{})
}

func (w *witness) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.active, w.seen = false, nil
}

// saw reports whether all sightings came, and a channel that closes at the next one.
func (w *witness) saw(all []sighting) (bool, <-chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range all {
		if !slices.Contains(w.seen, s) {
			return false, w.changed
		}
	}
	return true, w.changed
}
