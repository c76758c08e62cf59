package pipeline

import (
	"time"

	"github.com/seawall-security/seawall/internal/event"
)

// pen holds events of cgroups whose container is not known yet, in the order they came.
// It owns its events.
type pen struct {
	limits penLimits
	wait   time.Duration
	count  int
	weight event.Weight
	piles  map[uint64]*pile
	order  []uint64 // cgroups with a pile, oldest first
}

// penLimits bound what waits: how many events, and what they keep alive (an event holds
// its process and all its ancestors, whatever has become of them in the process table).
type penLimits struct{ events, bytes int }

// bound is one of a pen's limits.
type bound uint8

const (
	boundEvents bound = iota
	boundBytes
	bounds
)

func (b bound) String() string { return [...]string{"events", "bytes"}[b] }

type pile struct {
	since  time.Time
	events []*event.Event
	// entered are the urgent ones among them that wait to be warned of, oldest first, and warned
	// counts those that were; see Pipeline.warn.
	entered []entered
	warned  int
}

// entered is an urgent event that came into the pen.
type entered struct {
	ev   *event.Event
	came time.Time
}

func newPen(limits penLimits, wait time.Duration) pen {
	return pen{limits: limits, wait: wait, piles: make(map[uint64]*pile)}
}

func (p *pen) empty() bool { return p.count == 0 }

// over tells which limit is exceeded.
func (p *pen) over() (bound, bool) {
	switch {
	case p.count > p.limits.events:
		return boundEvents, true
	case p.count > 0 && p.weight.Bytes() > p.limits.bytes:
		return boundBytes, true
	}
	return 0, false
}

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
	if urgent(ev) {
		held.entered = append(held.entered, entered{ev, now})
	}
	p.count++
	p.weight.Add(ev)
}

// take removes and returns what is held of a cgroup.
func (p *pen) take(cgroup uint64) *pile {
	held := p.piles[cgroup]
	delete(p.piles, cgroup)
	for i, id := range p.order {
		if id == cgroup {
			p.order = append(p.order[:i], p.order[i+1:]...)
			break
		}
	}
	p.count -= len(held.events)
	for _, ev := range held.events {
		p.weight.Remove(ev)
	}
	return held
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
