package pipeline

import (
	"time"

	"github.com/seawall-security/seawall/internal/event"
)

// pen holds events of cgroups whose container is not known yet, in the order they came.
// It owns its events.
type pen struct {
	limit int
	wait  time.Duration
	count int
	piles map[uint64]*pile
	order []uint64 // cgroups with a pile, oldest first
}

type pile struct {
	since  time.Time
	events []*event.Event
}

func newPen(limit int, wait time.Duration) pen {
	return pen{limit: limit, wait: wait, piles: make(map[uint64]*pile)}
}

func (p *pen) empty() bool { return p.count == 0 }
func (p *pen) full() bool  { return p.count >= p.limit }

func (p *pen) holds(cgroup uint64) bool {
	if p.count == 0 {
		return false
	}
	_, ok := p.piles[cgroup]
	return ok
}

func (p *pen) put(cgroup uint64, ev *event.Event, now time.Time) {
	held, ok := p.piles[cgroup]
	if !ok {
		held = &pile{since: now}
		p.piles[cgroup] = held
		p.order = append(p.order, cgroup)
	}
	held.events = append(held.events, ev)
	p.count++
}

// take removes and returns the events of a cgroup.
func (p *pen) take(cgroup uint64) []*event.Event {
	held := p.piles[cgroup]
	delete(p.piles, cgroup)
	for i, id := range p.order {
		if id == cgroup {
			p.order = append(p.order[:i], p.order[i+1:]...)
			break
		}
	}
	p.count -= len(held.events)
	return held.events
}

func (p *pen) oldest() uint64 { return p.order[0] }

// overdue names the oldest cgroup if it has waited long enough.
func (p *pen) overdue(now time.Time) (cgroup uint64, ok bool) {
	if len(p.order) == 0 || now.Sub(p.piles[p.order[0]].since) < p.wait {
		return 0, false
	}
	return p.order[0], true
}

// cgroups appends all cgroups that wait, oldest first.
func (p *pen) cgroups(ids []uint64) []uint64 { return append(ids, p.order...) }
