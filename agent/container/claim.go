package container

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
