package process

import (
	"unsafe"

	"github.com/seawall-security/seawall/internal/event"
)

const (
	// maxDepth bounds the ancestors that hang on one snapshot. A process that forks
	// and exits for ever would otherwise keep every dead ancestor alive.
	maxDepth = 64
	// keptAncestors are what a chain is cut to: as many as a detection shows.
	keptAncestors = 16
)

// snapshot is a published process and the table's book-keeping about it: the
// bytes it holds count against Limits.Bytes until neither an entry nor another
// snapshot of the table refers to it.
type snapshot struct {
	event.Process
	parent *snapshot
	// outer is the session that a visit to another container interrupts, left the visit
	// that ended last.
	outer, left *event.Session
	depth       int // ancestors above
	refs        int
	bytes       int
}

// publish hangs s below parent (nil: none) and counts it, with one reference
// that belongs to the caller.
func (t *Table) publish(s, parent *snapshot) *snapshot {
	s.refs = 1
	s.bytes = size(&s.Process)
	t.bytes += s.bytes
	s.hang(parent)
	return s
}

// hang links s to the process that made it. s must not have a parent yet and,
// unless it is fresh, not have left the table.
func (s *snapshot) hang(parent *snapshot) {
	s.parent, s.Parent, s.depth = parent, nil, 0
	if parent != nil {
		s.Parent = &parent.Process
		s.depth = parent.depth + 1
		parent.refs++
	}
}

// replace makes s the entry's snapshot; the entry takes the caller's reference.
func (t *Table) replace(e *entry, s *snapshot, at event.Boot) {
	old := e.now
	e.now, e.born = s, at
	t.release(old)
}

// release gives one reference back and with the last one the bytes, upwards.
func (t *Table) release(s *snapshot) {
	for ; s != nil; s = s.parent {
		s.refs--
		if s.refs > 0 {
			return
		}
		t.bytes -= s.bytes
	}
}

// above returns the snapshot of e that a new process is hung below; nil for nil.
// A chain that has reached its bound is cut first, once for all coming children.
func (t *Table) above(e *entry) *snapshot {
	if e == nil {
		return nil
	}
	if e.now.depth >= maxDepth {
		t.shorten(e)
	}
	return e.now
}

// shorten publishes e's process anew over copies of its nearest ancestors, so
// that a child has keptAncestors above it and the rest can go.
func (t *Table) shorten(e *entry) {
	var chain [keptAncestors]*snapshot
	n := 0
	for s := e.now; s != nil && n < len(chain); s = s.parent {
		chain[n] = s
		n++
	}
	var top *snapshot
	for n--; n >= 0; n-- {
		lower := t.publish(&snapshot{Process: chain[n].Process, outer: chain[n].outer, left: chain[n].left}, top)
		t.release(top) // from here on lower holds it
		top = lower
	}
	t.replace(e, top, e.born)
	t.count.shortened.Add(1)
}

// size estimates what a snapshot keeps alive beside its parent. Text that forks
// share is counted for each of them: the estimate may be high, hardly low.
func size(p *event.Process) int {
	const place = int(unsafe.Sizeof(snapshot{})+unsafe.Sizeof(entry{})) + 2*mapSlot
	n := place + len(p.ID) + len(p.Comm) + len(p.Exe.Path) + len(p.CWD) + len(p.Filename) + len(p.TTY)
	n += cap(p.Args) * int(unsafe.Sizeof(""))
	for _, word := range p.Args {
		n += len(word) + 1
	}
	if o := p.Exe.Origin; o != nil && o.Process != nil {
		n += int(unsafe.Sizeof(*o)+unsafe.Sizeof(*o.Process)) + len(o.Process.ID) + len(o.Process.Exe.Path)
	}
	return n
}

// mapSlot is about what one entry of the index maps costs at their usual load.
const mapSlot = 64
