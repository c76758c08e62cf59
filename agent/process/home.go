package process

import "github.com/seawall-security/seawall/internal/event"

// A cgroup is where a process is, and whoever may write a cgroup.procs changes that. Where
// it comes from nobody can change: its home is the container it was born in, by fork inside
// or by entry through the runtime, and children have their creator's. So a process that
// leaves its container's cgroup, or its namespaces too, stays known for that container's,
// while the runtime and its monitors, an administrator who joins a container's namespaces
// by hand, and services of the host in mount namespaces of their own have no home. A home
// is left only by entry into another container: one that runs in the first.

// candidate is the container that a cgroup claims to be; nil: none.
func (t *Table) candidate(cgroup uint64) event.Home {
	if t.opt.Candidate == nil {
		return nil
	}
	if home, ok := t.opt.Candidate(cgroup); ok {
		return home
	}
	return nil
}

// birthplace is the container that p is inside of. A runtime's own processes are in its
// cgroup for a moment too, on their way to its namespaces: they are not inside.
func (t *Table) birthplace(p *event.Process) event.Home {
	if p.HostMount || p.Namespaces.Mount == 0 {
		return nil
	}
	return t.candidate(p.CgroupID)
}

// homeUnder is the home of a process that was not seen being born: what it is inside of,
// else the home of its parent, which may be nil.
func (t *Table) homeUnder(p *event.Process, parent *snapshot) event.Home {
	if home := t.birthplace(p); home != nil || parent == nil {
		return home
	}
	return parent.Home
}
