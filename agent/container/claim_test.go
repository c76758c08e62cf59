package container

import "testing"

// An event that cannot wait must neither be given to a container that somebody only
// claims to be, nor lose one that a runtime has made.
func TestSettleDecidesByWhatIsKnown(t *testing.T) {
	table, _ := newTestTable(Options{})
	table.Born(10, dockerPath, runc)
	table.Born(11, "/docker/"+otherID, shell)
	table.Born(12, "/jobs/nightly", nil)
	for _, id := range []uint64{10, 11, 12} {
		expectState(t, table, id, Pending, "")
	}
	if c := table.Settle(10); c == nil || c.ID != hexID || c.Runtime != RuntimeUnknown {
		t.Errorf("a runtime's container is %v", c)
	}
	for _, id := range []uint64{11, 12, 13} {
		if c := table.Settle(id); c != nil {
			t.Errorf("cgroup %d is %v", id, c)
		}
	}
	expectState(t, table, 11, Host, "")

	q, _ := table.candidateAt(dockerPath)
	table.confirm(q.rec, container) // the runtime's word came after all
	if c, _ := table.Lookup(10); c.Name != "web" {
		t.Errorf("%v", c)
	}
}
