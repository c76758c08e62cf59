package capture

import (
	"slices"

	"github.com/seawall-security/seawall/agent/decode"
	"github.com/seawall-security/seawall/agent/recording"
	"github.com/seawall-security/seawall/internal/event"
)

// Selection says whose records make a recording.
type Selection struct {
	// Root is a process that was started during the capture, by number: it and all
	// its descendants are chosen. 0: none.
	Root uint32
	// Containers are chosen by id, with whatever happens in their cgroups.
	Containers []string
	// Outside is a process that chains of ancestors end below, such as the recorder.
	Outside uint32
	// Keep, if set, has to agree to each record of the chosen processes but their
	// forks, execs and exits. The event is lent.
	Keep func(*event.Event) bool
}

// picker finds the entries of a selection.
type picker struct {
	Selection
	log     *Log
	decoder decode.Decoder
	// cgroups are those of the chosen containers.
	cgroups map[uint64]bool
	chosen  map[event.Key]bool
	// above are ancestors of the chosen; only how they came to be is kept.
	above map[event.Key]bool
}

// pick returns the chosen entries in their order.
func (l *Log) pick(s Selection) []recording.Entry {
	p := &picker{Selection: s, log: l, cgroups: make(map[uint64]bool), chosen: make(map[event.Key]bool), above: make(map[event.Key]bool)}
	for _, e := range l.entries {
		if e.Container != nil && slices.Contains(s.Containers, e.Container.ID) {
			p.cgroups[e.Container.CgroupID] = true
		}
	}
	p.choose()
	p.climb()
	return p.entries()
}

// choose finds the processes that act in a chosen cgroup or descend from the root.
func (p *picker) choose() {
	for _, e := range p.log.entries {
		switch {
		case e.Container != nil || e.Ring == recording.Seed:
		case p.cgroups[e.head.CgroupID], p.Root != 0 && e.head.Actor.TGID == p.Root:
			p.chosen[e.head.Actor] = true
		}
		// A fork is reported before anything its child does.
		if !e.child.IsZero() && p.chosen[e.head.Actor] {
			p.chosen[e.child] = true
		}
	}
}

// climb finds the ancestors: makers by the forks that were seen, else parents by
// the kernel's word in the seed. The host's first process and what is outside
// say nothing about a scene.
func (p *picker) climb() {
	parents := make(map[event.Key]event.Key)
	for _, e := range p.log.entries {
		switch {
		case e.Container != nil:
		case !e.child.IsZero():
			parents[e.child] = e.head.Actor
		case e.Ring == recording.Seed:
			parents[e.head.Actor] = e.head.Parent
		}
		if e.head.Kind == event.KindCgroupCreate && p.cgroups[e.made] && !p.chosen[e.head.Actor] {
			p.above[e.head.Actor] = true
		}
	}
	var start []event.Key
	for k := range p.chosen {
		start = append(start, k)
	}
	for k := range p.above {
		start = append(start, k)
	}
	for _, k := range start {
		for at := parents[k]; at.TGID > 2 && at.TGID != p.Outside; at = parents[at] {
			if !p.chosen[at] {
				p.above[at] = true
			}
		}
	}
}

func (p *picker) entries() []recording.Entry {
	var picked []recording.Entry
	for _, e := range p.log.entries {
		if p.takes(&e) {
			picked = append(picked, e.Entry)
		}
	}
	return picked
}

func (p *picker) takes(e *entry) bool {
	if e.Container != nil {
		return p.cgroups[e.Container.CgroupID]
	}
	mine := func(k event.Key) bool { return p.chosen[k] || p.above[k] }
	switch e.head.Kind {
	case event.KindProcessSeed:
		return mine(e.head.Actor)
	case event.KindProcessFork:
		return mine(e.child) && mine(e.head.Actor)
	case event.KindProcessExec:
		return mine(e.head.Actor)
	case event.KindProcessExit:
		return p.chosen[e.head.Actor]
	case event.KindCgroupCreate, event.KindCgroupRemove:
		return p.cgroups[e.made]
	}
	// A runtime on its way into the container is chosen by what it becomes there;
	// what it did before belongs to the runtime.
	inside := len(p.cgroups) == 0 || p.cgroups[e.head.CgroupID] || p.Root != 0
	return p.chosen[e.head.Actor] && inside && (p.Keep == nil || p.Keep(p.decoded(e)))
}

// decoded is the record's event; it was decoded before without an error.
func (p *picker) decoded(e *entry) *event.Event {
	decoded, _ := p.decoder.Decode(e.Raw)
	return decoded
}
