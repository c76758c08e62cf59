package process

import (
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/seawall-security/seawall/internal/event"
)

func (n *node) seed(k, parent event.Key, entered bool, argv ...string) {
	n.parents[k] = parent
	image := n.image(k, argv...)
	image.Filename = "" // the task iterator does not know it
	n.table.Seed(n.event(k, event.KindProcessSeed, &event.Exec{Image: image, Entered: entered}))
}

func TestSeedsInAnyOrder(t *testing.T) {
	n := newNode(t, nil)
	n.containers[podCgroup] = podID
	key := func(tgid uint32) event.Key { return event.Key{TGID: tgid, Start: event.Boot(tgid) * second} }
	for _, k := range []event.Key{key(30), key(31), key(40)} {
		n.cgroups[k], n.mounts[k] = podCgroup, podMount
	}
	n.seed(key(31), key(30), false, "/bin/worker")
	n.seed(key(40), key(20), true, "/bin/sh")
	n.seed(key(30), key(20), true, "/bin/server")
	n.seed(key(20), key(1), false, "/usr/bin/containerd-shim-runc-v2")
	n.seed(key(1), event.Key{}, false, "/sbin/init")
	n.table.Seeded()

	p := n.open(key(31)).Process
	n.want("lineage", lineage(p), []string{"server", "containerd-shim-runc-v2", "init"})
	n.want("exec time", p.ExecTime.IsZero(), true)
	n.want("session of the server", []any{p.Session.Root, p.Session.Init, p.Session.Time, p.Session.Args},
		[]any{key(30), true, wall(key(30).Start), []string{"/bin/server"}})
	exec := n.open(key(40)).Session
	n.want("session of the later entry", []any{exec.Root, exec.Init}, []any{key(40), false})
	n.want("host", n.open(key(20)).Session == nil, true)
	n.want("unknown", n.table.Stats().Unknown, uint64(0))
}

func TestSeedsHaveTheMarksTheKernelWouldHaveGiven(t *testing.T) {
	n := newNode(t, func(o *Options) {
		o.Marks = map[string]event.Tree{"nginx": event.TreeWebServer, "gunicorn": event.TreeWebServer}
	})
	n.containers[podCgroup] = podID
	key := func(tgid uint32) event.Key { return event.Key{TGID: tgid, Start: event.Boot(tgid) * second} }
	for _, k := range []event.Key{key(30), key(31), key(32), key(40), key(41)} {
		n.cgroups[k], n.mounts[k] = podCgroup, podMount
	}
	n.seed(key(32), key(31), false, "/bin/sh", "-c", "id")
	n.seed(key(31), key(30), false, "/usr/sbin/nginx")
	n.seed(key(30), key(20), true, "/usr/sbin/nginx")
	n.seed(key(20), event.Key{}, false, "/usr/bin/containerd-shim-runc-v2")
	n.seed(key(40), key(20), true, "/bin/bash")
	n.seed(key(41), key(40), false, "/usr/bin/python3", "/usr/bin/gunicorn")
	n.table.Seeded()
	for _, want := range []struct {
		name string
		key  event.Key
		tree event.Tree
	}{
		{"shim", key(20), 0},
		{"server", key(30), event.TreeWebServer},
		{"its worker", key(31), event.TreeWebServer},
		{"its worker's shell", key(32), event.TreeWeb},
		{"entered from outside", key(40), event.TreeEntered},
		{"a server that is a script", key(41), event.TreeEntered | event.TreeWebServer},
	} {
		n.want(want.name, n.table.Lookup(want.key).Tree, want.tree)
	}
}

func TestSeedWhoseParentIsGone(t *testing.T) {
	n := newNode(t, nil)
	k := event.Key{TGID: 9, Start: 9 * second}
	n.seed(k, event.Key{TGID: 8, Start: 8 * second}, false, "/bin/left")
	n.table.Seeded()
	p := n.open(k).Process
	n.want("parent", []any{p.Parent == nil, p.ParentKey.TGID}, []any{true, uint32(8)})
}

// The hooks may be attached before the iterator runs: the ring then tells of forks
// and execs that the seed has already seen.
func TestEventsOlderThanTheSeed(t *testing.T) {
	n := newNode(t, nil)
	sh, child := event.Key{TGID: 10, Start: second}, event.Key{TGID: 11, Start: 2 * second}
	n.seed(sh, event.Key{}, false, "/bin/sh")
	n.seed(child, event.Key{TGID: 1, Start: 1}, false, "/bin/id")
	n.table.Seeded()
	ev := n.apply(n.event(sh, event.KindProcessFork, &event.Fork{Child: child, ChildParent: sh}))
	n.want("program stays, creator comes", []any{ev.Payload.(*event.Fork).ChildProcess.Name, lineage(n.table.Lookup(child))},
		[]any{"id", []string{"sh"}})
}

func TestSeedingAgainRepairsTheUnknown(t *testing.T) {
	n := newNode(t, nil)
	k := event.Key{TGID: 10, Start: second}
	n.want("unknown", n.open(k).Process.Unknown, true)
	n.seed(k, event.Key{}, false, "/bin/sh")
	n.table.Seeded()
	n.want("known", n.open(k).Process.Name, "sh")
}

func TestSeedingAgainFindsNoSecondInit(t *testing.T) {
	n, shim := podNode(t)
	n.enterPod(shim, 510, podCgroup, podMount, true, "/bin/server")
	k := event.Key{TGID: 600, Start: n.clock}
	n.cgroups[k], n.mounts[k] = podCgroup, podMount
	n.seed(k, shim, true, "/bin/sh")
	n.table.Seeded()
	n.want("session", []any{n.open(k).Session.Root, n.open(k).Session.Init}, []any{k, false})
}

func TestSeedReadsArgumentsOfTheSameProcessOnly(t *testing.T) {
	root := fixture(t, map[string]string{
		"10/stat": statText(10, 1, "a) b (c", 123), "10/cmdline": "nginx: worker\x00\x00\x00\x00",
		"11/stat": statText(11, 1, "other", 500), "11/cmdline": "other\x00",
	})
	n := newNode(t, func(o *Options) { o.Proc = root })
	for _, k := range []event.Key{{TGID: 10, Start: 1_239_999_999}, {TGID: 11, Start: 5_010_000_000}, {TGID: 12, Start: 1}} {
		n.table.Seed(n.event(k, event.KindProcessSeed, &event.Exec{Image: event.Image{File: event.File{Path: "/usr/sbin/nginx"}}}))
	}
	n.table.Seeded()
	p := n.table.Lookup(event.Key{TGID: 10, Start: 1_239_999_999})
	n.want("args", []any{p.Args, p.ArgsBytes, p.ArgsCut}, []any{[]string{"nginx: worker"}, uint32(13), false})
	reused := n.table.Lookup(event.Key{TGID: 11, Start: 5_010_000_000})
	n.want("number in use by another", []any{reused.Args, reused.ArgsCut}, []any{[]string(nil), true})
	n.want("counted", n.table.Stats().ArgsUnreadable, uint64(2))
}

// A process can make reads of its argv hang; the agent must start all the same.
func TestArgumentsThatNeverCome(t *testing.T) {
	files := map[string]string{}
	for _, tgid := range []string{"10", "11", "12", "13", "14", "15"} {
		files[tgid+"/stat"] = statText(10, 1, "hang", 100)
	}
	root := fixture(t, files)
	var pipes []string
	for tgid := range uint32(6) {
		pipe := root + "/" + number(10+tgid) + "/cmdline"
		if err := syscall.Mkfifo(pipe, 0o600); err != nil {
			t.Fatal(err)
		}
		pipes = append(pipes, pipe)
	}
	n := newNode(t, func(o *Options) { o.Proc = root })
	begin := time.Now()
	for tgid := range uint32(6) {
		k := event.Key{TGID: 10 + tgid, Start: second}
		n.table.Seed(n.event(k, event.KindProcessSeed, &event.Exec{Image: event.Image{File: event.File{Path: "/x"}}}))
	}
	n.table.Seeded()
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("seeding took %v", took)
	}
	n.want("known without arguments", n.table.Lookup(event.Key{TGID: 15, Start: second}).ArgsCut, true)
	n.want("hanging", n.table.proc.reading.Load(), int32(argsStuck))
	n.want("counted", n.table.Stats().ArgsUnreadable, uint64(6))
	for _, pipe := range pipes[:argsStuck] { // lets the readers go
		w, err := os.OpenFile(pipe, os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		w.Close()
	}
}

func coarseFixture(t testing.TB) string {
	return fixture(t, map[string]string{
		"1/stat": statText(1, 0, "systemd", 1), "1/status": "Uid:\t0\t0\t0\t0\n", "1/cmdline": "/sbin/init\x00",
		"1/exe": "->/lib/systemd/systemd", "1/ns/mnt": "->mnt:[4026531841]",
		"20/stat": statText(20, 1, "shim", 2000), "20/status": "NStgid:\t20\n", "20/cmdline": "shim\x00",
		"20/exe": "->/usr/bin/containerd-shim-runc-v2", "20/ns/mnt": "->mnt:[4026531841]",
		"30/stat": statText(30, 20, "nginx", 3000), "30/cmdline": "nginx\x00-g\x00", "30/exe": "->/usr/sbin/nginx (deleted)",
		"30/status": "Uid:\t33\t34\t35\t36\nGid:\t1\t2\t3\t4\nNStgid:\t30\t1\nCapPrm:\t00000000000000ff\nCapEff:\t000000000000000f\n",
		"30/cwd":    "->/srv", "30/ns/mnt": "->mnt:[4026532500]", "30/ns/net": "->net:[77]",
		"30/fd/0": "->/dev/null", "30/fd/1": "->pipe:[5]", "30/fd/2": "->socket:[6]",
		"self": "->30", "40/stat": "torn",
	})
}

func coarseNode(t testing.TB) *node {
	root := coarseFixture(t)
	n := newNode(t, func(o *Options) {
		o.Proc = root
		o.CgroupOf = func(tgid uint32) (uint64, bool) { return map[uint32]uint64{30: podCgroup}[tgid], true }
	})
	n.containers[podCgroup] = podID
	if err := n.table.SeedProcfs(); err != nil {
		t.Fatal(err)
	}
	n.table.Seeded()
	return n
}

func TestProcfsSeedsAreCoarseUntilTheKernelNamesThem(t *testing.T) {
	n := coarseNode(t)
	n.want("coarse", n.table.Stats().Coarse, int64(3))
	n.want("an exact key, even an equal one, finds none", n.table.Lookup(event.Key{TGID: 30, Start: 30 * second}) == nil, true)

	k := event.Key{TGID: 30, Start: 30*second + 9_999_999}
	shim := event.Key{TGID: 20, Start: 20*second + 1}
	n.parents[k], n.mounts[k], n.cgroups[k] = shim, podMount, podCgroup
	p := n.open(k).Process
	n.want("exact", []any{p.Coarse, p.Key, p.ID, p.ParentKey, p.Unknown}, []any{false, k, event.ProcessID(bootID, k), shim, false})
	n.want("parent is exact too", []any{p.Parent.Key, p.Parent.Coarse}, []any{shim, false})
	n.want("its parent is not", []any{p.Parent.Parent.Coarse, p.Parent.ParentKey == p.Parent.Parent.Key}, []any{true, true})
	n.want("facts", []any{p.Name, p.Args, p.CWD, p.Exe.Deleted, p.NSPID, p.TTY, p.HostMount, p.Namespaces.Net},
		[]any{"nginx", []string{"nginx", "-g"}, "/srv", true, uint32(1), "pts/0", false, uint32(77)})
	n.want("credentials", p.Credentials, event.Credentials{UID: 33, EUID: 34, SUID: 35, GID: 1, EGID: 2, SGID: 3, CapEffective: 15, CapPermitted: 255})
	n.want("stdio", p.Stdio == [3]event.Stdio{{Kind: event.StdioDevice}, {Kind: event.StdioPipe, Inode: 5}, {Kind: event.StdioSocket, Inode: 6}}, true)
	n.want("session", []any{p.Session.ContainerID, p.Session.Init}, []any{podID, true})
	n.want("counts", []any{n.table.Stats().Coarse, n.table.Stats().Upgraded, n.table.Stats().Live}, []any{int64(1), uint64(2), int64(3)})
}

func TestCoarseSeedIsNeverAnotherProcess(t *testing.T) {
	for name, start := range map[string]event.Boot{"next tick": 30*second + tick, "tick before": 30*second - 1} {
		t.Run(name, func(t *testing.T) {
			n := coarseNode(t)
			n.table.opt.Proc, n.table.proc.root = "/nonexistent", "/nonexistent"
			p := n.open(event.Key{TGID: 30, Start: start}).Process
			n.want("unknown", []any{p.Unknown, p.Name, p.Coarse}, []any{true, "", false})
			n.want("upgraded", n.table.Stats().Upgraded, uint64(0))
		})
	}
}

func TestReusedNumberRemovesTheCoarseSeed(t *testing.T) {
	n := coarseNode(t)
	init := event.Key{TGID: 1, Start: tick}
	n.open(init)
	child := n.fork(init, 30)
	n.want("child", n.open(child).Process.Name, "systemd")
	n.want("stale", []any{n.table.Stats().StaleCoarse, n.table.Stats().Coarse}, []any{uint64(1), int64(1)})
}

func TestUnknownProcessIsRepairedOnce(t *testing.T) {
	root := coarseFixture(t)
	n := newNode(t, func(o *Options) { o.Proc = root })
	k := event.Key{TGID: 30, Start: 30*second + 5}
	n.mounts[k] = podMount
	ev := n.open(k)
	n.want("repaired", []any{ev.Process.Unknown, ev.Process.Name, ev.Process.Comm, ev.Process.Key}, []any{false, "nginx", "task", k})
	other := event.Key{TGID: 20, Start: 21 * second}
	n.want("another process has the number", n.open(other).Process.Unknown, true)
	n.want("counts", []uint64{n.table.Stats().Unknown, n.table.Stats().Repaired}, []uint64{2, 1})
}

func TestRepairsAreBounded(t *testing.T) {
	n := newNode(t, nil)
	n.table.now = n.clock + second // event time stands still
	n.table.repair.take(n.table.now)
	for i := range uint32(1000) {
		n.open(event.Key{TGID: 100 + i, Start: 1})
	}
	refused := n.table.Stats().RepairsRefused
	if most := uint64(repairBurst / repairFloor); refused < 1000-most {
		t.Errorf("%d of 1000 refused, at most %d may be tried", refused, most)
	}
	n.clock += 10 * second
	n.open(event.Key{TGID: 5000, Start: 1})
	n.want("allowed again", n.table.Stats().RepairsRefused, refused)
}

func TestOwnProcessFromProcfs(t *testing.T) {
	host, err := ReadNamespaces("/proc", uint32(os.Getpid()))
	if err != nil {
		t.Fatal(err)
	}
	table := New(Options{BootID: bootID, HostNamespaces: host, Wall: wall})
	if err := table.SeedProcfs(); err != nil {
		t.Fatal(err)
	}
	table.Seeded()
	e := table.coarse[uint32(os.Getpid())]
	if e == nil {
		t.Fatal("own process is not among the seeds")
	}
	p := &e.now.Process
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if p.Exe.Path != exe || len(p.Args) != len(os.Args) || !p.HostMount || p.Parent == nil || p.Parent.Key.TGID != uint32(os.Getppid()) {
		t.Errorf("own process is %+v", p)
	}
	length := 0
	for _, arg := range os.Args {
		length += len(arg) + 1
	}
	if now, err := table.proc.stat(uint32(os.Getpid())); err != nil || now.args != uint32(length) {
		t.Errorf("argv of %d bytes (%v), want %d", now.args, err, length)
	}
}

// A mark that comes later is the one that the kernel would have given had it been there:
// to whom runs the program, and to whom descends from it.
func TestMarksThatComeLaterFindWhoRuns(t *testing.T) {
	n := newNode(t, func(o *Options) { o.Marks = map[string]event.Tree{"curl": event.TreeDownload} })
	key := func(tgid uint32) event.Key { return event.Key{TGID: tgid, Start: event.Boot(tgid) * second} }
	n.seed(key(1), event.Key{}, false, "/sbin/init")
	n.seed(key(20), key(1), false, "/usr/sbin/ourwebd")
	n.seed(key(21), key(20), false, "/usr/sbin/ourwebd")
	n.seed(key(22), key(21), false, "/bin/sh")
	n.seed(key(30), key(1), false, "/usr/bin/curl")
	n.seed(key(40), key(1), false, "/bin/cat", "/etc/hostname")
	n.table.Seeded()

	marked := map[event.Key]event.Tree{}
	set := func(marks map[string]event.Tree) map[event.Key]event.Tree {
		clear(marked)
		n.table.SetMarks(marks, func(k event.Key, tree event.Tree) { marked[k] = tree })
		return marked
	}
	both := map[string]event.Tree{"curl": event.TreeDownload, "ourwebd": event.TreeWebServer}
	n.want("new", set(both), map[event.Key]event.Tree{
		key(20): event.TreeWebServer, key(21): event.TreeWebServer, key(22): event.TreeWeb})
	n.want("nothing new", set(both), map[event.Key]event.Tree{})
	n.want("taken back", set(nil), map[event.Key]event.Tree{})
	n.want("again", set(map[string]event.Tree{"curl": event.TreeDownload}), map[event.Key]event.Tree{key(30): event.TreeDownload})
}
