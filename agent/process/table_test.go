package process

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seawall-security/seawall/internal/event"
)

const (
	bootID    = "5e2b7f1c-0000-4000-8000-000000000001"
	hostMount = 4026531841
	podMount  = 4026532500
	second    = event.Boot(time.Second)
)

var bootWall = time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)

func wall(at event.Boot) time.Time { return bootWall.Add(time.Duration(at)) }

// node feeds a table with what a kernel would tell it.
type node struct {
	t          testing.TB
	table      *Table
	clock      event.Boot
	containers map[uint64]string
	// parents is the kernel's idea of who is whose parent.
	parents map[event.Key]event.Key
	mounts  map[event.Key]uint32
	cgroups map[event.Key]uint64
}

// home is a container by its id.
type home string

func (h home) ID() string                              { return string(h) }
func (h home) Container() (_ *event.Container, _ bool) { return &event.Container{ID: string(h)}, false }
func (h home) Cgroup() uint64                          { return 0 }

func newNode(t testing.TB, change func(*Options)) *node {
	n := &node{
		t: t, clock: 1000 * second, containers: map[uint64]string{},
		parents: map[event.Key]event.Key{}, mounts: map[event.Key]uint32{}, cgroups: map[event.Key]uint64{},
	}
	opt := Options{
		BootID:         bootID,
		HostNamespaces: event.Namespaces{Mount: hostMount, PID: 4026531836, Net: 4026531840},
		Wall:           wall,
		Candidate:      func(id uint64) (event.Home, bool) { c, ok := n.containers[id]; return home(c), ok },
		Proc:           filepath.Join(t.TempDir(), "no-procfs"),
	}
	if change != nil {
		change(&opt)
	}
	n.table = New(opt)
	return n
}

func (n *node) event(actor event.Key, kind event.Kind, p event.Payload) *event.Event {
	n.clock += event.Boot(time.Millisecond)
	mount := n.mounts[actor]
	if mount == 0 {
		mount = hostMount
	}
	return &event.Event{
		Header: event.Header{
			Kind: kind, Time: n.clock, Actor: actor, Parent: n.parents[actor], TID: actor.TGID,
			MountNS: mount, CgroupID: n.cgroups[actor], Comm: "task",
		},
		Payload: p,
	}
}

func (n *node) apply(ev *event.Event) *event.Event {
	n.table.Apply(ev)
	return ev
}

// image is a program as the kernel tells of it, in memory that is lent.
func (n *node) image(actor event.Key, argv ...string) event.Image {
	mount := n.mounts[actor]
	if mount == 0 {
		mount = hostMount
	}
	args := ""
	for _, a := range argv {
		args += a + "\x00"
	}
	return event.Image{
		File: event.File{Path: argv[0], Inode: 7, Device: 1}, Args: args, ArgsBytes: uint32(len(args)),
		CWD: "/", Filename: argv[0], NSPID: actor.TGID, Namespaces: event.Namespaces{Mount: mount, PID: 4026531836},
	}
}

func (n *node) exec(actor event.Key, argv ...string) *event.Event {
	return n.apply(n.event(actor, event.KindProcessExec, &event.Exec{Image: n.image(actor, argv...)}))
}

// enters is an exec that the kernel marks as an entry.
func (n *node) enters(actor event.Key, init bool, argv ...string) *event.Event {
	return n.apply(n.event(actor, event.KindProcessExec, &event.Exec{Image: n.image(actor, argv...), Entered: true, Init: init}))
}

func (n *node) fork(actor event.Key, child uint32) event.Key {
	k, _ := n.forkEvent(actor, child, actor)
	return k
}

func (n *node) forkEvent(actor event.Key, child uint32, parent event.Key) (event.Key, *event.Event) {
	k := event.Key{TGID: child, Start: n.clock}
	n.parents[k], n.mounts[k], n.cgroups[k] = parent, n.mounts[actor], n.cgroups[actor]
	return k, n.apply(n.event(actor, event.KindProcessFork, &event.Fork{
		Child: k, ChildParent: parent, ChildNSPID: child, ChildCgroupID: n.cgroups[k],
	}))
}

func (n *node) exit(actor event.Key) *event.Event {
	return n.apply(n.event(actor, event.KindProcessExit, &event.Exit{}))
}

func (n *node) open(actor event.Key) *event.Event {
	return n.apply(n.event(actor, event.KindFileOpen, &event.Open{}))
}

// started is a process of the host that was seen from its exec on.
func (n *node) started(tgid uint32, argv ...string) event.Key {
	k := event.Key{TGID: tgid, Start: n.clock}
	n.exec(k, argv...)
	return k
}

func (n *node) want(what string, got, want any) {
	n.t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		n.t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// lineage names the programs above a process, nearest first.
func lineage(p *event.Process) []string {
	var names []string
	p.Ancestors(func(a *event.Process) bool { names = append(names, a.Name); return true })
	return names
}

func TestEventsShowTheProgramThatActed(t *testing.T) {
	n := newNode(t, nil)
	sh := n.started(100, "/bin/sh", "-c", "curl x")
	child := n.fork(sh, 101)

	got := n.open(child).Process
	n.want("name after fork", got.Name, "sh")
	n.want("id", got.ID, event.ProcessID(bootID, child))
	n.want("parent", got.Parent.ID, event.ProcessID(bootID, sh))
	n.want("exec time after fork", got.ExecTime.IsZero(), true)

	ev := n.exec(child, "/usr/bin/curl", "-s", "")
	n.want("name", ev.Process.Name, "curl")
	n.want("args", ev.Process.Args, []string{"/usr/bin/curl", "-s", ""})
	n.want("exec time", ev.Process.ExecTime, wall(ev.Time))
	n.want("start", ev.Process.StartWall, wall(child.Start))
	n.want("before", ev.Payload.(*event.Exec).Before.Name, "sh")
	n.want("host mount", ev.Process.HostMount, true)
	n.want("lineage", lineage(ev.Process), []string{"sh"})

	n.exec(sh, "/bin/dash")
	n.want("lineage is as it was at the fork", lineage(n.open(child).Process), []string{"sh"})
	n.want("earlier snapshot", got.Name, "sh")
}

func TestLentTextIsCopied(t *testing.T) {
	n := newNode(t, nil)
	lent := []byte("/bin/evil\x00arg\x00/cwd/evil")
	view := lentString(lent)
	k := event.Key{TGID: 7, Start: n.clock}
	ev := n.event(k, event.KindProcessExec, &event.Exec{Image: event.Image{
		File: event.File{Path: view[:9]}, Args: view[:14], CWD: view[14:18], Filename: view[:9],
	}})
	ev.Comm = view[5:9]
	n.apply(ev)
	for i := range lent {
		lent[i] = 'X'
	}
	p := ev.Process
	n.want("text", []string{p.Exe.Path, p.Name, p.Args[1], p.CWD, p.Filename, p.Comm},
		[]string{"/bin/evil", "evil", "arg", "/cwd", "/bin/evil", "evil"})
}

func TestCloneParentKeepsBothParents(t *testing.T) {
	n := newNode(t, nil)
	shell := n.started(10, "/bin/sh")
	worker := n.fork(shell, 11)
	n.exec(worker, "/usr/bin/worker")
	sibling, ev := n.forkEvent(worker, 12, shell)
	child := ev.Payload.(*event.Fork).ChildProcess
	n.want("creator", child.Parent.Key, worker)
	n.want("kernel's parent", child.ParentKey, shell)
	n.want("lineage", lineage(n.open(sibling).Process), []string{"worker", "sh"})
}

func TestExecInThreadKeepsTheKey(t *testing.T) {
	n := newNode(t, nil)
	k := n.started(20, "/usr/bin/java")
	ev := n.event(k, event.KindProcessExec, &event.Exec{Image: n.image(k, "/bin/sh")})
	ev.TID = 25
	n.apply(ev)
	n.want("name", n.table.Lookup(k).Name, "sh")
	n.want("id", ev.Process.ID, event.ProcessID(bootID, k))
	n.want("live", n.table.Stats().Live, int64(1))
}

func TestPIDReuseNeverMixes(t *testing.T) {
	n := newNode(t, nil)
	init := n.started(1, "/sbin/init")
	first := n.fork(init, 50)
	n.exec(first, "/usr/bin/first")
	// The exit of first is lost; its number comes back.
	second := n.fork(init, 50)
	n.exec(second, "/usr/bin/second")

	n.want("new", n.open(second).Process.Name, "second")
	n.want("late event of the old one", n.open(first).Process.Name, "first")
	n.want("lost exits", n.table.Stats().LostExits, uint64(1))
	n.want("live", n.table.Stats().Live, int64(2))

	// An event of a process that was forgotten, or never known, under a number in use.
	stranger := event.Key{TGID: 50, Start: first.Start - 5}
	ev := n.open(stranger)
	n.want("stranger", []any{ev.Process.Unknown, ev.Process.Name}, []any{true, ""})
	n.want("stranger does not replace the live one", n.open(second).Process.Name, "second")
	n.want("live", n.table.Stats().Live, int64(2))
}

func TestExitedResolvesForTheGrace(t *testing.T) {
	n := newNode(t, func(o *Options) { o.Limits.Grace = 30 * time.Second })
	k := n.started(30, "/bin/true")
	ev := n.exit(k)
	n.want("exit shows the program", ev.Process.Name, "true")
	n.clock += 29 * second
	n.want("within", n.open(k).Process.Name, "true")
	n.clock += 2 * second
	n.want("after", n.open(k).Process.Unknown, true)
}

func TestLostForkIsSaidNotGuessed(t *testing.T) {
	n := newNode(t, nil)
	sh := n.started(40, "/bin/sh")
	lost := event.Key{TGID: 41, Start: n.clock}
	n.parents[lost] = sh
	ev := n.event(lost, event.KindFileOpen, &event.Open{})
	ev.Comm = "mystery"
	ev.UID, ev.EUID = 33, 33
	p := n.apply(ev).Process
	n.want("unknown", []any{p.Unknown, p.Comm, p.Name, p.ParentKey, p.Parent.Name, p.Credentials.UID},
		[]any{true, "mystery", "", sh, "sh", uint32(33)})
	n.want("same snapshot again", n.open(lost).Process == p, true)

	ev = n.exec(lost, "/usr/bin/id")
	n.want("exec makes it known", []any{ev.Process.Unknown, ev.Process.Name}, []any{false, "id"})
	n.want("before", ev.Payload.(*event.Exec).Before.Unknown, true)

	// Fork and first event both lost: the exec is the first that is heard.
	other := event.Key{TGID: 42, Start: n.clock}
	n.parents[other] = sh
	ev = n.exec(other, "/usr/bin/whoami")
	n.want("no program before", ev.Payload.(*event.Exec).Before == nil, true)
	n.want("lineage by the kernel's word", lineage(ev.Process), []string{"sh"})
	n.want("unknown, lost forks", []uint64{n.table.Stats().Unknown, n.table.Stats().LostForks}, []uint64{1, 2})
}

func TestForkReadAfterTheChildsExec(t *testing.T) {
	n := newNode(t, nil)
	sh := n.started(60, "/bin/sh")
	worker := n.fork(sh, 61)
	n.exec(worker, "/usr/bin/worker")
	child := event.Key{TGID: 62, Start: n.clock}
	n.parents[child] = sh // CLONE_PARENT: only the fork tells of worker
	n.exec(child, "/bin/id")
	ev := n.apply(n.event(worker, event.KindProcessFork, &event.Fork{Child: child, ChildParent: sh}))
	n.want("program stays", ev.Payload.(*event.Fork).ChildProcess.Name, "id")
	n.want("lineage", lineage(n.open(child).Process), []string{"worker", "sh"})
}

func TestNamespaces(t *testing.T) {
	n := newNode(t, nil)
	k := n.started(70, "/usr/bin/nsenter")
	move := func(tid uint32, flags event.Flags, result int64, after event.Namespaces) *event.Event {
		ev := n.event(k, event.KindProcessNamespace, &event.Namespace{After: after})
		ev.TID, ev.Flags, ev.Result = tid, flags, result
		return n.apply(ev)
	}
	ev := move(70, 0, 0, event.Namespaces{Mount: podMount, PID: 99, Net: 5})
	n.want("moved", []any{ev.Process.HostMount, ev.Process.Namespaces},
		[]any{false, event.Namespaces{Mount: podMount, PID: 4026531836, Net: 5}})
	n.want("host", ev.Payload.(*event.Namespace).Host.Mount, uint32(hostMount))
	n.mounts[k] = podMount

	ev = move(70, event.HasResult, -1, event.Namespaces{Mount: hostMount})
	n.want("a refused call moves nothing", ev.Process.HostMount, false)
	ev = move(71, 0, 0, event.Namespaces{Mount: hostMount})
	n.want("a thread's move is its own", ev.Process.HostMount, false)
	ev = move(70, 0, 0, event.Namespaces{Mount: hostMount})
	n.want("back", ev.Process.HostMount, true)
	n.mounts[k] = hostMount

	// A child cloned into a new mount namespace sends no namespace event.
	child := n.fork(k, 72)
	n.mounts[child] = podMount
	n.want("header tells", n.open(child).Process.HostMount, false)
}

func TestKernelItselfIsLeftAlone(t *testing.T) {
	n := newNode(t, nil)
	ev := n.open(event.Key{})
	n.want("process", ev.Process == nil, true)
	n.want("live", n.table.Stats().Live, int64(0))
}

func TestBounds(t *testing.T) {
	n := newNode(t, func(o *Options) { o.Limits = Limits{Live: 100, Dead: 10} })
	init := n.started(1, "/sbin/init")
	for i := range uint32(1000) {
		n.fork(init, 1000+i)
	}
	for i := range uint32(50) {
		n.exit(n.fork(init, 5000+i))
	}
	s := n.table.Stats()
	n.want("bounded", []bool{s.Live <= 100, s.Dead <= 10, s.EvictedLive > 800, s.EvictedDead == 40}, []bool{true, true, true, true})
	n.want("the busy one stays", n.open(init).Process.Name, "init")
	for n.table.live.length > 0 {
		n.table.remove(n.table.live.first)
	}
	for n.table.dead.length > 0 {
		n.table.remove(n.table.dead.first)
	}
	n.want("bytes", n.table.bytes, 0)
	n.want("maps", len(n.table.exact)+len(n.table.newest)+len(n.table.coarse), 0)
}

func TestBytesBoundHostileArguments(t *testing.T) {
	const limit = 4 << 20
	n := newNode(t, func(o *Options) { o.Limits.Bytes = limit })
	long := strings.Repeat("A", 8000)
	k := n.started(100, "/bin/sh")
	for i := range uint32(5000) {
		next := n.fork(k, 101+i)
		n.exec(next, "/bin/sh", long)
		n.exit(k)
		k = next
	}
	s := n.table.Stats()
	if s.Bytes > limit {
		t.Errorf("table holds %d bytes, bound is %d", s.Bytes, limit)
	}
	n.want("evicted dead", s.EvictedDead > 0, true)
	n.want("the last is whole", len(n.open(k).Process.Args), 2)
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// The bound is on an estimate; it is worth something only if the estimate is not low.
func TestBytesAreNotLessThanTheHeapTheyStandFor(t *testing.T) {
	table := newNode(t, nil).table
	before := heap()
	for i := range uint32(10_000) {
		table.Apply(&event.Event{
			Header: event.Header{Kind: event.KindProcessExec, Time: 5, Actor: event.Key{TGID: 1 + i, Start: 5}, Comm: "curl"},
			Payload: &event.Exec{Image: event.Image{
				File: event.File{Path: "/usr/bin/curl"}, CWD: "/srv", Filename: "curl", Args: "curl\x00-s\x00-o\x00/tmp/x\x00http://a/b\x00",
			}},
		})
	}
	real, counted := int64(heap())-int64(before), table.Stats().Bytes
	t.Logf("%d bytes counted, %d on the heap", counted, real)
	if real > counted*11/10 || counted > real*3/2 {
		t.Errorf("%d bytes counted, %d on the heap", counted, real)
	}
	runtime.KeepAlive(table)
}

func TestReforkerKeepsTheHeapBounded(t *testing.T) {
	n := newNode(t, nil)
	// Only the last keeps its ancestors: the grace must not hide what chains hold.
	n.table.opt.Limits.Dead = 1
	k := n.started(2, "/bin/bomb")
	before := heap()
	deepest := 0
	for i := range uint32(100_000) {
		ev := &event.Event{
			Header:  event.Header{Kind: event.KindProcessFork, Time: n.clock, Actor: k, TID: k.TGID, MountNS: hostMount},
			Payload: &event.Fork{Child: event.Key{TGID: 3 + i%30000, Start: n.clock}, ChildParent: k},
		}
		n.clock += 1000
		n.table.Apply(ev)
		ev.Kind, ev.Payload = event.KindProcessExit, &event.Exit{}
		n.table.Apply(ev)
		k = event.Key{TGID: 3 + i%30000, Start: n.clock - 1000}
		if i%997 == 0 {
			deepest = max(deepest, len(lineage(n.table.Lookup(k))))
		}
	}
	p := n.table.Lookup(k)
	if grown := int64(heap()) - int64(before); grown > 1<<20 {
		t.Errorf("heap grew by %d bytes", grown)
	}
	depth := len(lineage(p))
	if depth < keptAncestors || max(depth, deepest) > maxDepth {
		t.Errorf("%d ancestors, deepest %d; want %d to %d", depth, deepest, keptAncestors, maxDepth)
	}
	n.want("shortened", n.table.Stats().Shortened > 1000, true)
	runtime.KeepAlive(n)
}

func TestChildrenOfADeepProcessShareItsAncestors(t *testing.T) {
	n := newNode(t, nil)
	k := n.started(2, "/bin/deep")
	for i := range uint32(maxDepth) {
		k = n.fork(k, 3+i)
	}
	a, b := n.fork(k, 1000), n.fork(k, 1001)
	n.want("shortened once", n.table.Stats().Shortened, uint64(1))
	n.want("same parent", n.table.Lookup(a).Parent == n.table.Lookup(b).Parent, true)
	n.want("ancestors", len(lineage(n.table.Lookup(a))), keptAncestors)
	n.want("same identity", n.table.Lookup(a).Parent.ID, event.ProcessID(bootID, k))
}

func TestTTYNames(t *testing.T) {
	for device, want := range map[uint32]string{
		0: "", 136 << 20: "pts/0", 136<<20 | 300: "pts/300", 137<<20 | 1: "pts/257", 4<<20 | 1: "tty1",
		4<<20 | 64: "ttyS0", 5 << 20: "tty", 5<<20 | 1: "console", 204<<20 | 64: "204:64",
	} {
		if got := ttyName(device); got != want {
			t.Errorf("ttyName(%#x) = %q, want %q", device, got, want)
		}
	}
	if got := ttyName(kernelDevice(34816 + 3)); got != "pts/3" {
		t.Errorf("procfs 34819 is %q, want pts/3", got)
	}
}

func TestKnownProcessesCostNoAllocation(t *testing.T) {
	n := newNode(t, nil)
	k := n.started(80, "/usr/bin/nginx")
	n.started(81, "/usr/bin/other")
	for _, p := range []event.Payload{
		&event.Open{}, &event.Rename{}, &event.Unlink{}, &event.Chmod{}, &event.Flow{}, &event.Memory{}, &event.Cgroup{},
		&event.Namespace{After: event.Namespaces{Mount: hostMount}}, &event.Exit{},
	} {
		ev := n.event(k, event.KindFileOpen, p)
		ev.Comm = "renamed by prctl"
		before := n.table.Lookup(k)
		if got := testing.AllocsPerRun(100, func() { n.table.Apply(ev) }); got != 0 {
			t.Errorf("%T: %v allocations", p, got)
		}
		if ev.Process != before {
			t.Errorf("%T published another snapshot", p)
		}
	}
}

// fixture is a procfs with the given files; a value that begins with -> is a link.
func fixture(t testing.TB, files map[string]string) string {
	root := t.TempDir()
	for name, text := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		if target, ok := strings.CutPrefix(text, "->"); ok {
			err = os.Symlink(target, path)
		} else {
			err = os.WriteFile(path, []byte(text), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func statText(tgid, parent uint32, comm string, ticks uint64) string {
	return fmt.Sprintf("%d (%s) S %d %d %d 34816 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 %d 0 0\n", tgid, comm, parent, tgid, tgid, ticks)
}
