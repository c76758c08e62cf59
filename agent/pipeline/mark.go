package pipeline

import (
	"errors"
	"syscall"

	"github.com/seawall-security/seawall/internal/event"
)

// maxMarked is the size of the kernel's map.
const maxMarked = 16384

// Mark has the kernel follow what a process does from now on; a refusal is booked. The
// process may have ended while its event waited here, or as its mark was set: its exit,
// which comes later in the ring, unmarks it.
func (p *Pipeline) Mark(k event.Key, reasons event.Tree) {
	if p.options.Marks == nil {
		return
	}
	if p.options.Processes.Ended(k) {
		p.ledger.markRefused(syscall.ESRCH)
		return
	}
	if len(p.marked) >= maxMarked {
		p.forgetMarks()
	}
	if err := p.options.Marks.Mark(k, reasons); err != nil {
		p.ledger.markRefused(err)
		return
	}
	p.ledger.marks.Add(1)
	p.marked[k] = struct{}{}
}

// followVisit has the kernel follow who came into a container past its runtime, as it
// does by itself who came through it. Children that were born before their parent was
// marked are, when something is seen of them.
func (p *Pipeline) followVisit(ev *event.Event) {
	if ev.Session == nil || !ev.Session.ByNamespace || ev.Tree.Has(event.TreeEntered) {
		return
	}
	ev.Tree |= event.TreeEntered
	switch x := ev.Payload.(type) {
	case *event.Exit:
		return
	case *event.Fork:
		p.Mark(x.Child, event.TreeEntered)
	}
	p.Mark(ev.Actor, event.TreeEntered)
}

// forgetMarks drops the marks of processes that nobody remembers: their exit was lost. If
// all are remembered, one mark goes, so that following never ends for good.
func (p *Pipeline) forgetMarks() {
	for k := range p.marked {
		if p.options.Processes.Lookup(k) == nil {
			p.unmark(k)
		}
	}
	for k := range p.marked {
		if len(p.marked) < maxMarked {
			return
		}
		p.unmark(k)
	}
}

func (p *Pipeline) unmark(k event.Key) {
	if _, ok := p.marked[k]; ok {
		delete(p.marked, k)
		p.options.Marks.Unmark(k)
	}
}

// refusal is why a mark was not set.
type refusal uint8

const (
	refusedFull  refusal = iota // the kernel's map is full
	refusedGone                 // the process has ended
	refusedError                // anything else
	refusals
)

func (r refusal) String() string { return [...]string{"full", "gone", "error"}[r] }

func (l *ledger) markRefused(err error) {
	why := refusedError
	switch {
	case errors.Is(err, syscall.E2BIG):
		why = refusedFull
	case errors.Is(err, syscall.ESRCH):
		why = refusedGone
	}
	l.marksRefused[why].Add(1)
}
