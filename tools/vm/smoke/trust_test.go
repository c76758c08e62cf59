package smoke

import (
	"slices"
	"testing"

	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

// What the lowest rung says of each hook beside the event: it looks at the end of calls,
// where the outcome is known, and of some it has only the caller's own text. mprotect it
// sees at its beginning, while the protection before is still there.
var (
	outcomeKnown = []string{"process_namespace", "file_open", "file_rename", "file_unlink", "file_chmod",
		"network_connect", "network_accept", "memory_map"}
	callersText = []string{"file_rename", "file_unlink", "file_chmod", "network_connect"}
)

// checkTrust compares how much an event says it can be believed with what its rung promises.
func (c *check) checkTrust(t *testing.T, s *step, e *sensorv1.Event) {
	t.Helper()
	hook := nameOf(e.GetKind())
	low := c.rungs[hook] == "syscall"
	known := low && slices.Contains(outcomeKnown, hook)
	text := low && (slices.Contains(callersText, hook) || e.GetOpen().GetFailed())
	if e.GetResultKnown() != known || e.GetUserMemory() != text {
		t.Errorf("%q at %s: result_known %v, user_memory %v; want %v, %v", describe(e), c.rungs[hook],
			e.GetResultKnown(), e.GetUserMemory(), known, text)
	}
	if !known {
		return
	}
	result, right := e.GetResult(), false
	switch {
	case e.GetOpen().GetFailed():
		right = result == -13
	case e.GetOpen() != nil, e.GetAccept() != nil: // a descriptor
		right = result >= 0
	case e.GetMap() != nil:
		right = uint64(result) == e.GetMap().GetAddress()
	case e.GetConnect() != nil:
		right = result == s.result
	default:
		right = result == 0
	}
	if !right {
		t.Errorf("%q: result %d", describe(e), result)
	}
}

// checkReport compares an event with what the actor says of itself.
func (c *check) checkReport(t *testing.T, own report, e *sensorv1.Event) {
	t.Helper()
	if int(e.GetProcess().GetPid()) != own.PID {
		return // of a child
	}
	// A process exits with whichever of its threads is the last.
	if own.TID != 0 && e.GetExit() == nil && e.GetTid() != own.TID {
		t.Errorf("%q: thread %d, want %d", describe(e), e.GetTid(), own.TID)
	}
	if m := e.GetProtect(); m != nil {
		// The upper rungs tell of the mapping that holds the page.
		begin, end := m.GetAddress(), m.GetAddress()+m.GetLengthBytes()
		exact := begin == own.Address && end == own.Address+own.Length
		if begin > own.Address || end < own.Address+own.Length || (c.rungs["memory_protect"] == "syscall" && !exact) {
			t.Errorf("%q: %#x to %#x, want %#x and %d bytes", describe(e), begin, end, own.Address, own.Length)
		}
	}
	// They see mmap before there is an address.
	if m := e.GetMap(); m != nil && c.rungs["memory_map"] == "syscall" && (m.GetAddress() != own.Address || m.GetLengthBytes() != own.Length) {
		t.Errorf("%q: %#x and %d bytes, want %#x and %d", describe(e), m.GetAddress(), m.GetLengthBytes(), own.Address, own.Length)
	}
	if k := e.GetCgroupCreate(); k != nil && !slices.ContainsFunc(c.seen.events, func(e *sensorv1.Event) bool {
		return e.GetCgroupRemove().GetId() == k.GetId()
	}) {
		t.Errorf("cgroup %d was made and another one removed", k.GetId())
	}
}

// checkBirth follows an actor from its parent, the guest's part of this test, which ran
// before the agent, through fork and exec.
func (c *check) checkBirth(t *testing.T, s *step, done *performed) {
	t.Helper()
	var fork, exec *sensorv1.Event
	for _, e := range c.seen.events {
		if int(e.GetFork().GetChild().GetPid()) == done.PID {
			fork = e
		}
		if exec == nil && e.GetExec() != nil && int(e.GetProcess().GetPid()) == done.PID {
			exec = e
		}
	}
	if fork == nil || exec == nil {
		t.Fatalf("fork %v, exec %v", fork, exec)
	}
	parent, child, p := fork.GetProcess(), fork.GetFork().GetChild(), exec.GetProcess()
	if int(parent.GetPid()) != c.Driver || parent.GetName() != "smoke.test" || !slices.Equal(parent.GetArgs(), []string{"/bin/smoke.test", "guest"}) {
		t.Errorf("forked by %v", parent)
	}
	if child.GetId() != p.GetId() || child.GetParentId() != parent.GetId() || p.GetParentId() != parent.GetId() || child.GetName() != "smoke.test" {
		t.Errorf("%s of %s was forked, %s of %s executed", child.GetId(), child.GetParentId(), p.GetId(), p.GetParentId())
	}
	if before := exec.GetExec().GetBefore(); before.GetId() != p.GetId() || before.GetName() != "smoke.test" {
		t.Errorf("before the exec it ran %v", before)
	}
	space, host := p.GetNamespaces(), parent.GetNamespaces()
	if space.GetMount() == 0 || space.GetPid() == 0 || space.GetNet() == 0 || space.GetUser() == 0 || space.GetUts() == 0 ||
		space.GetIpc() == 0 || space.GetCgroup() == 0 || space.GetMount() != host.GetMount() || !p.GetHostMountNamespace() {
		t.Errorf("namespaces %v, the parent's %v", space, host)
	}
	owner := p.GetCredentials()
	if p.GetFilename() != s.Argv[0] || p.GetCwd() != "/root" || p.GetTty() != "" || p.GetNsPid() != p.GetPid() ||
		owner.GetUid() != s.User || owner.GetEgid() != s.User || exec.GetUid() != s.User || (owner.GetCapEffective() != 0) != (s.User == 0) {
		t.Errorf("executed as %q in %q at %q by %v", p.GetFilename(), p.GetCwd(), p.GetTty(), owner)
	}
	if born, at := p.GetStartTime().AsTime(), p.GetExecTime().AsTime(); at.Before(born) || exec.GetTime().AsTime().Sub(at).Abs() > clockError {
		t.Errorf("born at %v, executed at %v, event at %v", born, at, exec.GetTime().AsTime())
	}
}
