package container

import (
	"testing"

	"github.com/seawall-security/seawall/internal/event"
)

// place says in a word what Locate answers.
func place(in event.Home, ok bool) string {
	switch {
	case !ok:
		return "unseen"
	case in == nil:
		return "host"
	}
	c, pending := in.Container()
	switch {
	case pending:
		return "pending " + in.ID()
	case c == nil:
		return "refuted"
	}
	return "in " + c.ID
}

// A process that got out of its container may outlive it by any time.
func TestHomeOutlivesItsContainer(t *testing.T) {
	table, clock := newTestTable(Options{})
	table.Born(9, "/a.slice", runc)
	table.Born(10, dockerPath, runc)
	home, ok := table.Candidate(10)
	if !ok {
		t.Fatal("no candidate")
	}
	if got := place(home, ok); got != "pending "+hexID || home.Cgroup() != 10 {
		t.Errorf("at first %s of cgroup %d", got, home.Cgroup())
	}
	q, _ := table.candidateAt(dockerPath)
	table.confirm(q.rec, container)
	table.Gone(10)
	clock.add(DefaultRetention)
	table.Tick()
	expectState(t, table, 10, Unseen, "")
	if got := place(home, true); got != "in "+hexID {
		t.Errorf("at last %s", got)
	}
	if n := testing.AllocsPerRun(100, func() { home.Container(); home.Cgroup(); table.Candidate(9) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	for _, id := range []uint64{9, 10} {
		if _, ok := table.Candidate(id); ok {
			t.Errorf("cgroup %d is a candidate", id)
		}
	}
}

// What a container makes inside itself and no runtime knows is the container's still.
func TestRefutedHomeIsWhatEnclosesIt(t *testing.T) {
	table, clock := newTestTable(Options{})
	table.Born(10, dockerPath, runc)
	q, _ := table.candidateAt(dockerPath)
	table.confirm(q.rec, container)
	table.Born(11, dockerPath+"/"+otherID, shell)
	table.Born(12, "/docker/"+otherID, shell)
	inner, _ := table.Candidate(11)
	forged, _ := table.Candidate(12)
	clock.add(DefaultWait)
	table.Tick()
	if got := place(inner, true); got != "in "+hexID {
		t.Errorf("inner: %s", got)
	}
	if got := place(forged, true); got != "refuted" {
		t.Errorf("forged: %s", got)
	}
}
