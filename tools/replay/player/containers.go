package player

import (
	"github.com/seawall-security/seawall/agent/container"
	"github.com/seawall-security/seawall/internal/event"
)

// containers answers as the agent's table did when the recording was made: a
// cgroup is Pending until the line that names its container, Known from there
// on, and the host's if no line names it.
type containers struct {
	claims  map[uint64]string // container id by cgroup, for all that will be named
	known   map[uint64]*event.Container
	changed []uint64
}

func newContainers(r *Recording) *containers {
	c := &containers{claims: make(map[uint64]string), known: make(map[uint64]*event.Container)}
	for _, entry := range r.entries {
		if entry.Container != nil {
			c.claims[entry.Container.CgroupID] = entry.Container.ID
		}
	}
	return c
}

// name takes a line of the recording.
func (c *containers) name(named *event.Container) {
	c.known[named.CgroupID] = named
	c.changed = append(c.changed, named.CgroupID)
}

// Born and Gone change nothing: what a cgroup is stands in the recording.
func (c *containers) Born(uint64, string, *event.Process) {}
func (c *containers) Gone(uint64)                         {}

func (c *containers) Lookup(cgroup uint64) (*event.Container, container.State) {
	if named, ok := c.known[cgroup]; ok {
		return named, container.Known
	}
	if _, ok := c.claims[cgroup]; ok {
		return nil, container.Pending
	}
	return nil, container.Host
}

func (c *containers) Candidate(cgroup uint64) (event.Home, bool) {
	if _, ok := c.claims[cgroup]; !ok {
		return nil, false
	}
	return home{c, cgroup}, true
}

// Locate: a recording leaves no cgroup unseen.
func (c *containers) Locate(uint64, uint32) (event.Home, bool) { return nil, true }

type home struct {
	containers *containers
	cgroup     uint64
}

func (h home) ID() string     { return h.containers.claims[h.cgroup] }
func (h home) Cgroup() uint64 { return h.cgroup }
func (h home) Container() (c *event.Container, pending bool) {
	c, state := h.containers.Lookup(h.cgroup)
	return c, state == container.Pending
}

func (c *containers) Changed(ids []uint64) ([]uint64, bool) {
	ids = append(ids, c.changed...)
	c.changed = c.changed[:0]
	return ids, false
}

// Settle: what the recording does not name was the host's.
func (c *containers) Settle(cgroup uint64) *event.Container { return c.known[cgroup] }
