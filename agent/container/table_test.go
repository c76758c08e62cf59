package container

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seawall-security/seawall/internal/event"
)

// clock is a time that tests move.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

func newTestTable(o Options) (*Table, *clock) {
	c := &clock{at: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	o.Now = c.now
	table := NewTable(o)
	table.reachable(true)
	return table, c
}

var (
	runc      = &event.Process{Name: "runc", HostMount: true}
	shell     = &event.Process{Name: "sh", HostMount: true}
	container = event.Container{ID: hexID, Runtime: RuntimeContainerd, RuntimeNamespace: "moby", Name: "web"}
)

const dockerPath = "/docker/" + hexID

func expectState(t *testing.T, table *Table, id uint64, want State, containerID string) {
	t.Helper()
	c, state := table.Lookup(id)
	got := ""
	if c != nil {
		got = c.ID
	}
	if state != want || got != containerID {
		t.Errorf("cgroup %d is %v %q, want %v %q", id, state, got, want, containerID)
	}
}

func TestWithoutAWord(t *testing.T) {
	user := &event.Process{Name: "runc", HostMount: true, Credentials: event.Credentials{EUID: 1000}}
	shim := &event.Process{Name: "containerd-shim-runc-v2", HostMount: true}
	systemd := &event.Process{Name: "systemd", HostMount: true, Key: event.Key{TGID: 1}}
	deep := shim
	for range makerDepth {
		deep = &event.Process{Name: "sh", HostMount: true, Parent: deep}
	}
	tests := []struct {
		name string
		path string
		by   *event.Process
		want State
	}{
		{"runc", dockerPath, runc, Known},
		{"runc, two names", "/default/web1", runc, Known},
		{"below a shim", dockerPath, &event.Process{Name: "exe", HostMount: true, Parent: shim}, Known},
		{"far below a shim", dockerPath, &event.Process{Name: "sh", HostMount: true, Parent: deep}, Host},
		{"a shell", dockerPath, shell, Host},
		{"a shell, two names", "/default/web1", shell, Host},
		{"nobody was seen", dockerPath, nil, Host},
		{"an unknown process", dockerPath, &event.Process{Comm: "runc", Unknown: true, HostMount: true}, Host},
		{"runc of a container", dockerPath, &event.Process{Name: "runc"}, Host},
		{"runc of a user", dockerPath, user, Host},
		{"systemd, a scope", "/system.slice/docker-" + hexID + ".scope", systemd, Known},
		{"systemd, no scope", dockerPath, systemd, Host},
		{"a user's systemd", "/user.slice/libpod-" + hexID + ".scope", &event.Process{Name: "systemd", HostMount: true, Key: event.Key{TGID: 900}}, Host},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			table, clock := newTestTable(Options{})
			table.Born(10, tt.path, tt.by)
			expectState(t, table, 10, Pending, "")
			if wait := table.Tick(); wait != DefaultWait {
				t.Errorf("the next tick is in %v", wait)
			}
			expectState(t, table, 10, Pending, "")
			clock.add(DefaultWait)
			table.Tick()
			id := ""
			if tt.want == Known {
				c, _ := Parse(tt.path)
				id = c.ID
			}
			expectState(t, table, 10, tt.want, id)
			if changed, all := table.Changed(nil); !slices.Equal(changed, []uint64{10}) || all {
				t.Errorf("changed %v, all %v", changed, all)
			}
			if changed, all := table.Changed(nil); len(changed) != 0 || all {
				t.Errorf("changed again %v, all %v", changed, all)
			}
			c := table.Counts()
			if c.Unresolved != 0 || c.Unknown+c.Forged+c.Unclaimed != 1 {
				t.Errorf("counts are %+v", c)
			}
		})
	}
}

func TestWithoutARuntimeNothingWaits(t *testing.T) {
	table, clock := newTestTable(Options{})
	table.reachable(false)
	clock.add(DefaultWait + 1)
	table.Born(10, dockerPath, runc)
	table.Tick()
	expectState(t, table, 10, Known, hexID)
	if c, _ := table.Lookup(10); c.Runtime != RuntimeUnknown || c.CgroupPath != dockerPath || c.CgroupID != 10 {
		t.Errorf("container is %+v", c)
	}
}

func TestNamesComeLate(t *testing.T) {
	for _, by := range []*event.Process{runc, shell} {
		table, clock := newTestTable(Options{})
		table.Born(10, dockerPath, by)
		clock.add(DefaultWait)
		table.Tick()
		q, ok := table.candidateAt(dockerPath)
		if !ok {
			t.Fatal("the candidate was forgotten")
		}
		before, _ := table.Lookup(10)
		table.confirm(q.rec, container)
		if before != nil && before.Runtime != RuntimeUnknown {
			t.Error("a published container changed")
		}
		c, state := table.Lookup(10)
		if state != Known || c.Name != "web" {
			t.Errorf("it is %v %+v", state, c)
		}
		other := container
		other.ID = otherID
		table.confirm(q.rec, other)
		expectState(t, table, 10, Known, hexID)
	}
}

func TestNested(t *testing.T) {
	table, clock := newTestTable(Options{})
	table.Born(9, "/docker", runc)
	expectState(t, table, 9, Host, "")
	table.Born(10, dockerPath, runc)
	table.Born(11, dockerPath+"/init.scope", shell)
	q, _ := table.candidateAt(dockerPath)
	table.confirm(q.rec, container)
	if changed, _ := table.Changed(nil); !slices.Equal(changed, []uint64{10, 11}) {
		t.Errorf("changed %v", changed)
	}
	// What calls itself runc inside the container cannot make another one.
	inside := &event.Process{Name: "runc", HostMount: true, CgroupID: 10}
	inner := dockerPath + "/docker/" + otherID
	table.Born(12, inner, inside)
	table.Born(13, inner+"/below", inside)
	table.Born(14, dockerPath+"/late", inside)
	expectState(t, table, 12, Pending, "")
	expectState(t, table, 14, Known, hexID)
	clock.add(DefaultWait)
	table.Tick()
	expectState(t, table, 12, Known, hexID)
	expectState(t, table, 13, Known, hexID)
	if changed, _ := table.Changed(nil); !slices.Equal(changed, []uint64{12, 13}) {
		t.Errorf("changed %v", changed)
	}
}

func TestRefutedWhileTheOuterIsPending(t *testing.T) {
	table, clock := newTestTable(Options{})
	table.Born(12, dockerPath+"/"+otherID, shell) // the outer one's birth was lost
	clock.add(DefaultWait / 2)
	table.Born(10, dockerPath, runc)
	outer, _ := table.candidateAt(dockerPath)
	inner, _ := table.candidateAt(dockerPath + "/" + otherID)
	table.settle(inner.rec, false)
	expectState(t, table, 12, Pending, "")
	if changed, all := table.Changed(nil); len(changed) > 0 || all {
		t.Errorf("changed %v", changed)
	}
	table.confirm(outer.rec, container)
	expectState(t, table, 12, Known, hexID)
	if changed, _ := table.Changed(nil); !slices.Contains(changed, 12) || !slices.Contains(changed, 10) {
		t.Errorf("changed %v", changed)
	}
}

func TestGroupsOnTheWay(t *testing.T) {
	table, clock := newTestTable(Options{})
	table.Born(9, "/batch/jobs", runc)
	table.Born(10, "/batch/jobs/"+hexID, runc)
	clock.add(DefaultWait)
	table.Tick()
	expectState(t, table, 9, Host, "")
	expectState(t, table, 10, Known, hexID)
}

func TestRetention(t *testing.T) {
	table, clock := newTestTable(Options{})
	table.Born(10, dockerPath, runc)
	q, _ := table.candidateAt(dockerPath)
	table.confirm(q.rec, container)
	table.Gone(10)
	table.Gone(10)
	table.Gone(99)
	clock.add(DefaultRetention - 1)
	table.Tick()
	expectState(t, table, 10, Known, hexID)
	clock.add(1)
	table.Tick()
	expectState(t, table, 10, Unseen, "")
	if c := table.Counts(); c.Cgroups != 0 || c.Containers != 0 || c.Removed != 0 || c.Missed != 1 {
		t.Errorf("counts are %+v", c)
	}
}

func TestSamePathAgain(t *testing.T) {
	table, _ := newTestTable(Options{})
	table.Born(10, dockerPath, runc)
	q, _ := table.candidateAt(dockerPath)
	table.confirm(q.rec, container)
	table.Born(20, dockerPath, runc) // the end of 10 was lost
	expectState(t, table, 10, Known, hexID)
	expectState(t, table, 20, Pending, "")
	table.Born(15, dockerPath, nil) // a walk that read the tree before 20 was made
	expectState(t, table, 15, Unseen, "")
	expectState(t, table, 20, Pending, "")
	if n := table.Counts().Removed; n != 1 {
		t.Errorf("%d removed", n)
	}
}

func TestBirthAfterTheWalk(t *testing.T) {
	table, clock := newTestTable(Options{})
	table.Born(10, dockerPath, nil)
	table.Born(10, dockerPath, runc)
	clock.add(DefaultWait)
	table.Tick()
	expectState(t, table, 10, Known, hexID)
}

func TestExpected(t *testing.T) {
	table, _ := newTestTable(Options{})
	for _, path := range []string{"", "/", "rel", "/a.slice", "/a.slice/b.service", "/init.scope", "/" + strings.Repeat("x", maxPath)} {
		if table.expect(path, "web1") {
			t.Errorf("%q was taken", path)
		}
	}
	if !table.expect("/a/b/c", "web1") || !table.expect("/default/web2", "web2") {
		t.Error("a good path was not taken")
	}
	table.Born(10, "/a/b/c/d", runc)
	table.Born(11, "/a/b/cc", runc)
	q, ok := table.candidateAt("/a/b/c")
	if !ok || q.ID != "web1" || q.Hint != HintExpected {
		t.Errorf("candidate is %+v", q)
	}
	table.confirm(q.rec, event.Container{ID: "web1", Runtime: RuntimeContainerd})
	expectState(t, table, 10, Known, "web1")
	table.forget("/a/b/c")
	expectState(t, table, 10, Known, "web1")
	if n := table.Counts().Expected; n != 0 {
		t.Errorf("%d expected", n)
	}
}

func TestSeedAndRewalk(t *testing.T) {
	root := fixture(t, unifiedMounts, "0::/\n")
	h, err := FindHierarchy(root)
	if err != nil {
		t.Fatal(err)
	}
	make := func(path string) uint64 {
		t.Helper()
		if err := os.MkdirAll(filepath.Join(h.Mount, path), 0o755); err != nil {
			t.Fatal(err)
		}
		id, err := h.Lookup(path)
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	slice, box := make("/a.slice"), make(dockerPath)
	table, clock := newTestTable(Options{Hierarchy: h})
	if err := table.Seed(); err != nil {
		t.Fatal(err)
	}
	expectState(t, table, slice, Host, "")
	expectState(t, table, box, Pending, "")

	late := make("/b.slice")
	expectState(t, table, late, Unseen, "")
	select {
	case <-table.walk:
	default:
		t.Error("an unseen cgroup asks for no walk")
	}
	if err := os.Remove(filepath.Join(h.Mount, "/a.slice")); err != nil {
		t.Fatal(err)
	}
	if err := table.rewalk(false); err != nil {
		t.Fatal(err)
	}
	expectState(t, table, late, Host, "")
	if c := table.Counts(); c.Recovered != 2 || c.Removed != 1 || c.Walks != 2 {
		t.Errorf("counts are %+v", c)
	}

	odd := make("/some/odd/place")
	table.Born(odd, "/some/odd/place", nil)
	clock.add(DefaultWait)
	table.Tick()
	expectState(t, table, odd, Host, "")
	table.expect("/some/odd/place", "web1") // a runtime says it runs there: the group is filed anew
	if q, _ := table.candidateAt("/some/odd/place"); q.ID == "web1" {
		t.Error("a cgroup that belongs to a candidate was taken from it by its name alone")
	}
}

func TestRun(t *testing.T) {
	h, err := FindHierarchy(fixture(t, unifiedMounts, "0::/\n"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(h.Mount, "lost.slice"), 0o755); err != nil {
		t.Fatal(err)
	}
	lost, err := h.Lookup("/lost.slice")
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		notified := 0
		table := NewTable(Options{Hierarchy: h, Notify: func() { notified++ }})
		table.reachable(true)
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() {
			if err := table.Run(ctx); err != nil {
				t.Error(err)
			}
		})
		table.Born(1, dockerPath, runc)
		expectState(t, table, lost, Unseen, "")
		time.Sleep(walkInterval)
		synctest.Wait()
		expectState(t, table, lost, Host, "")
		time.Sleep(DefaultWait - walkInterval)
		synctest.Wait()
		expectState(t, table, 1, Known, hexID) // the tree does not have it: its end was lost as well
		time.Sleep(DefaultRetention + idleTick)
		cancel()
		running.Wait()
		expectState(t, table, 1, Unseen, "")
		if notified != 1 {
			t.Errorf("notified %d times", notified)
		}
	})
}

// TestWaitBeginsWithRun: hooks are attached between NewTable and Run, for longer than a
// candidate waits; a container that was there before still gets its runtime's word.
func TestWaitBeginsWithRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := NewTable(Options{})
		time.Sleep(2 * DefaultWait)
		table.Born(1, "/default/web1", nil) // as a walk of the tree finds it
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() {
			if err := table.Run(ctx); err != nil {
				t.Error(err)
			}
		})
		time.Sleep(DefaultWait - 1)
		synctest.Wait()
		expectState(t, table, 1, Pending, "")
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		expectState(t, table, 1, Host, "")
		cancel()
		running.Wait()
	})
}

// TestHeldByMonitor is the case of a node whose runtime cannot be asked and
// whose containers were there before.
func TestHeldByMonitor(t *testing.T) {
	root := fixture(t, unifiedMounts, "0::/\n")
	h, err := FindHierarchy(root)
	if err != nil {
		t.Fatal(err)
	}
	process := func(pid, parent int, exe, cgroup string) {
		t.Helper()
		dir := fmt.Sprintf("%s/proc/%d", root, pid)
		write(t, dir+"/stat", fmt.Sprintf("%d (a) b) S %d 1 1", pid, parent))
		write(t, dir+"/cgroup", "0::"+cgroup+"\n")
		if err := os.Symlink(exe, dir+"/exe"); err != nil {
			t.Fatal(err)
		}
	}
	process(20, 1, "/usr/bin/conmon", "/machine.slice/libpod-conmon-"+hexID+".scope")
	process(21, 20, "/bin/sh", "/x")
	process(22, 21, "/bin/sh", "/x")
	process(30, 1, "/tmp/conmon", dockerPath) // in a container itself
	process(31, 30, "/bin/sh", "/x")
	for path, pids := range map[string]string{
		"/held/container": "22\n21\n", "/orphan": "22\n", "/fake": "31\n", "/empty": "", "/dead": "999\n",
	} {
		write(t, filepath.Join(h.Mount, path, "cgroup.procs"), pids)
	}
	for path, want := range map[string]bool{"/held": true, "/orphan": false, "/fake": false, "/empty": false, "/dead": false, "/none": false} {
		if got := h.heldByMonitor(path); got != want {
			t.Errorf("%s: %v", path, got)
		}
	}
}

func TestLookupAllocatesNothing(t *testing.T) {
	table, _ := newTestTable(Options{})
	table.Born(9, "/a.slice", runc)
	table.Born(10, dockerPath, runc)
	q, _ := table.candidateAt(dockerPath)
	table.confirm(q.rec, container)
	table.Born(11, "/docker/"+otherID, runc)
	ids := make([]uint64, 0, 8)
	table.Changed(nil)
	for _, id := range []uint64{0, 9, 10, 11, 12} {
		if n := testing.AllocsPerRun(100, func() { table.Lookup(id); table.Changed(ids) }); n != 0 {
			t.Errorf("cgroup %d: %v allocations", id, n)
		}
	}
}

func BenchmarkLookup(b *testing.B) {
	table, _ := newTestTable(Options{})
	for i := range uint64(1000) {
		table.Born(i+1, fmt.Sprintf("/docker/%064x", i), runc)
	}
	b.ReportAllocs()
	for i := uint64(0); b.Loop(); i++ {
		table.Lookup(i%1000 + 1)
	}
}
