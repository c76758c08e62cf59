package container

import "github.com/seawall-security/seawall/internal/event"

// Candidate tells the id that a cgroup's path claims, whether or not a runtime has
// confirmed it yet; not ok: the cgroup belongs to no container, or the claim was refuted.
func (t *Table) Candidate(cgroup uint64) (containerID string, ok bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	e, seen := t.cgroups[cgroup]
	if !seen {
		return "", false
	}
	rec := e.rec.effective()
	return rec.ID, rec.state == Pending || rec.state == Known
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
