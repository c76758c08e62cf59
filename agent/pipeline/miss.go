package pipeline

import (
	"time"

	"github.com/seawall-security/seawall/agent/container"
	"github.com/seawall-security/seawall/internal/event"
)

// Missed is why something is not told, or not whole.
type Missed uint8

const (
	// Nameless: an entry into a container goes on without the container's name, or has waited
	// for it for longer than warnAfter and may yet get it.
	Nameless Missed = iota
	// Unread: a record of the kernel could not be read.
	Unread
)

const (
	// warnAfter is how long an entry waits for its container's name before somebody is told
	// that there is one. The pen may be told to keep it longer than the collector waits (4 s).
	warnAfter = time.Second
	// unreadSpan is above what passes between a hook and the reading of its record.
	unreadSpan = time.Second
)

func (p *Pipeline) missed(why Missed, class event.Kind, since, until time.Time) {
	if p.options.Missed != nil {
		p.options.Missed(why, class, since, until)
	}
}

// unread books a record that may have been any.
func (p *Pipeline) unread() {
	now := p.options.Now()
	p.missed(Unread, event.KindProcessExec, now.Add(-unreadSpan), now)
}

// nameless books an entry whose container has no name as it goes on.
func (p *Pipeline) nameless(ev *event.Event) {
	c := ev.Container
	if ev.EnteredHome != nil {
		c = ev.EnteredContainer
	}
	if c == nil || c.Runtime == container.RuntimeUnknown {
		p.missed(Nameless, ev.Kind, ev.Wall, ev.Wall)
	}
}

// urgent events are entries into containers that run. The first program of a container often
// waits for a runtime that is still busy with it, and nobody takes it for an exec.
func urgent(ev *event.Event) bool { return ev.Entry && (ev.Session == nil || !ev.Session.Init) }

// warn tells of urgent events that wait, once each.
func (p *Pipeline) warn(now time.Time) {
	for _, held := range p.pen.piles {
		for len(held.entered) > 0 && now.Sub(held.entered[0].came) >= warnAfter {
			ev := held.entered[0].ev
			held.entered, held.warned = held.entered[1:], held.warned+1
			p.missed(Nameless, ev.Kind, ev.Wall, ev.Wall)
		}
	}
}
