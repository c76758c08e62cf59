package pipeline

import (
	"github.com/seawall-security/seawall/agent/container"
	"github.com/seawall-security/seawall/internal/event"
)

// whose tells which container an event belongs to; nil: the host. wait names the cgroup
// whose container has to be known first, and is 0 where all is decided.
//
// The cgroup comes first: a container's is that container's. Where it is the host's, or
// was not seen, the process's lineage decides, because a process can leave its cgroup and
// its namespaces, but not where it comes from. With locate, an unseen cgroup of a process
// without a home is asked for in procfs.
func (p *Pipeline) whose(ev *event.Event, locate bool) (c *event.Container, wait uint64) {
	c, state := p.options.Containers.Lookup(ev.CgroupID)
	switch state {
	case container.Known:
		return c, 0
	case container.Pending:
		return nil, ev.CgroupID
	}
	if ev.Process != nil && ev.Process.Home != nil {
		c, wait = p.at(ev.Process.Home)
		if c != nil {
			p.ledger.byLineage.Add(1)
		}
		if c != nil || wait != 0 {
			return c, wait
		}
	}
	if state != container.Unseen {
		return nil, 0
	}
	if locate {
		if in, ok := p.options.Containers.Locate(ev.CgroupID, ev.Actor.TGID); ok {
			if in == nil {
				return nil, 0
			}
			return p.at(in)
		}
	}
	return nil, ev.CgroupID
}

// at is the container of a home. Events that wait for it go first.
func (p *Pipeline) at(home event.Home) (c *event.Container, wait uint64) {
	c, pending := home.Container()
	if pending || c != nil && !p.pen.empty() && p.pen.holds(home.Cgroup()) {
		return nil, home.Cgroup()
	}
	return c, 0
}

// settle is at for an event that cannot wait any longer.
func (p *Pipeline) settle(home event.Home) *event.Container {
	c, pending := home.Container()
	if pending {
		return p.options.Containers.Settle(home.Cgroup())
	}
	return c
}

// decide is whose for an event that cannot wait any longer. A process in a cgroup that
// nobody can tell is a container's if its mount namespace is not the host's: rules for
// containers hold for it, though nobody knows which container it is.
func (p *Pipeline) decide(ev *event.Event) *event.Container {
	c, wait := p.whose(ev, false)
	if wait == 0 {
		return c
	}
	if c = p.options.Containers.Settle(wait); c != nil {
		return c
	}
	if c, wait = p.whose(ev, false); wait == 0 {
		return c
	}
	if q := ev.Process; q == nil || q.HostMount || q.Namespaces.Mount == 0 {
		return nil
	}
	if p.stranger == nil || p.stranger.CgroupID != ev.CgroupID {
		p.stranger = &event.Container{Runtime: container.RuntimeUnknown, Name: "unknown", CgroupID: ev.CgroupID}
	}
	p.ledger.strangers.Add(1)
	return p.stranger
}
