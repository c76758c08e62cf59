package container

import "github.com/seawall-security/seawall/internal/event"

// Candidate finds the container that a cgroup's path claims, whether or not a runtime has
// confirmed it yet; not ok: the cgroup belongs to no container, or the claim was refuted.
// It allocates nothing.
func (t *Table) Candidate(cgroup uint64) (event.Home, bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	e, seen := t.cgroups[cgroup]
	if !seen {
		return nil, false
	}
	rec := e.rec.effective()
	if rec.state != Pending && rec.state != Known {
		return nil, false
	}
	return &rec.home, true
}

// Unseen reports whether nobody can tell what a cgroup is: it was not seen made, nor found
// when the hierarchy was walked.
func (t *Table) Unseen(cgroup uint64) bool {
	_, state := t.Lookup(cgroup)
	return state == Unseen
}

// home is a record as the place that processes come from. It is part of the record and
// so keeps it, off the table's books, for as long as a process of it is remembered: a
// process that got out may outlive its container by any time.
type home struct {
	table *Table
	rec   *record
	// sample is a cgroup whose events wait for the record's word.
	sample uint64
}

// ID is as the path claims it.
func (h *home) ID() string { return h.rec.Candidate.ID }

// Container is for the pipeline, like Lookup.
func (h *home) Container() (c *event.Container, pending bool) {
	h.table.mu.RLock()
	defer h.table.mu.RUnlock()
	rec := h.rec.effective()
	return rec.container, rec.state == Pending
}

// Cgroup is one that Changed names when the record is resolved.
func (h *home) Cgroup() uint64 {
	h.table.mu.RLock()
	defer h.table.mu.RUnlock()
	return h.sample
}

// Settle decides what a cgroup is by what is known now, for an event that cannot wait any
// longer: a container that a runtime's own process made has its id; a path that only
// claims to be one is the host's. A runtime may still give the container its name later.
func (t *Table) Settle(cgroup uint64) *event.Container {
	for range maxDepth {
		q, pending := t.pendingAt(cgroup)
		if !pending {
			break
		}
		t.settle(q.rec, t.held(q))
	}
	c, _ := t.Lookup(cgroup)
	return c
}

func (t *Table) pendingAt(cgroup uint64) (question, bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	e, ok := t.cgroups[cgroup]
	if !ok {
		return question{}, false
	}
	rec := e.rec.effective()
	if rec.state != Pending {
		return question{}, false
	}
	return rec.question(), true
}

// held tells whether a runtime's monitor holds the processes of a cgroup that nobody saw
// made.
func (t *Table) held(q question) bool {
	return q.maker == makerUnseen && q.Hint != HintPlain && t.options.Hierarchy != nil &&
		t.options.Hierarchy.heldByMonitor(q.Path)
}
