package process

import (
	"testing"

	"github.com/seawall-security/seawall/internal/event"
)

const (
	otherCgroup = 9100
	otherID     = "beef"
	otherMount  = podMount + 100
	podNet      = 4026533000
)

// visited is a node with two containers.
func visited(t *testing.T) (n *node, shim, first, other event.Key) {
	n, shim = podNode(t)
	n.containers[otherCgroup] = otherID
	first = n.enterPod(shim, 510, podCgroup, podMount, true, "/bin/server").Actor
	other = n.enterPod(shim, 520, otherCgroup, otherMount, true, "/bin/other").Actor
	return n, shim, first, other
}

// setns is a process joining a mount namespace.
func (n *node) setns(k event.Key, mount uint32) *event.Event {
	n.t.Helper()
	n.mounts[k] = mount
	return n.apply(n.event(k, event.KindProcessNamespace, &event.Namespace{After: event.Namespaces{Mount: mount}}))
}

// wantVisit checks the event with which a visit begins.
func (n *node) wantVisit(ev *event.Event, container string) {
	n.t.Helper()
	if !ev.Entry || ev.EnteredHome == nil || ev.Session == nil {
		n.t.Fatalf("%s: entry %v into %v, session %+v", ev.Kind, ev.Entry, ev.EnteredHome, ev.Session)
	}
	n.want("container", ev.EnteredHome.ID(), container)
	n.want("session", ev.Session, &event.Session{
		ID: event.VisitID(bootID, ev.Actor, container), Root: ev.Actor, RootID: event.ProcessID(bootID, ev.Actor), Time: wall(ev.Time),
		ContainerID: container, Args: ev.Process.Args, ByNamespace: true,
	})
}

// wantNone checks that an event begins nothing, and which session it is of.
func (n *node) wantNone(ev *event.Event, session *event.Session) {
	n.t.Helper()
	if ev.Entry || ev.EnteredHome != nil || ev.Session != session {
		n.t.Errorf("%s: entry %v into %v, session %+v, not %+v", ev.Kind, ev.Entry, ev.EnteredHome, ev.Session, session)
	}
}

func TestVisitIsASession(t *testing.T) {
	n, _, _, _ := visited(t)
	admin := n.started(800, "/usr/bin/nsenter", "-t", "513", "-a", "sh")
	ev := n.setns(admin, podMount)
	n.wantVisit(ev, podID)
	session := ev.Session
	n.wantNone(n.setns(admin, podMount), session)
	n.wantNone(n.exec(admin, "/bin/sh"), session)
	child := n.fork(admin, 801)
	n.wantNone(n.exec(child, "/bin/cat"), session)
	n.want("home", homeOf(n.open(child).Process), "")
	n.want("visits", n.table.Stats().Visits, uint64(1))

	n.wantNone(n.setns(admin, hostMount), nil)
	n.wantNone(n.open(child), session)
	n.wantNone(n.setns(admin, podMount), session) // here it has been before
	n.wantVisit(n.setns(admin, otherMount), otherID)
	n.wantNone(n.setns(admin, hostMount), nil)
	n.want("visits", n.table.Stats().Visits, uint64(2))
}

// The event of the move may be lost, or of a thread that is not the leader.
func TestVisitIsSeenLate(t *testing.T) {
	n, _, _, _ := visited(t)
	moved := n.started(800, "/usr/bin/joiner")
	n.mounts[moved] = podMount
	n.wantVisit(n.open(moved), podID)

	threaded := n.started(810, "/usr/bin/threads")
	child := n.fork(threaded, 811)
	n.mounts[child] = podMount
	n.wantVisit(n.exec(child, "/bin/sh", "-c", "id"), podID)

	unseen := event.Key{TGID: 820, Start: n.clock}
	n.mounts[unseen] = podMount
	n.want("of one that was not seen starting", n.open(unseen).Entry, true)
}

func TestWhoIsNoVisitor(t *testing.T) {
	n, shim, first, _ := visited(t)
	session := n.open(first).Session

	n.wantNone(n.setns(first, hostMount), session) // it escapes, and is its container's still
	n.wantNone(n.setns(first, podMount), session)

	plugin := n.started(600, "/opt/cni/bin/bridge")
	n.wantNone(n.apply(n.event(plugin, event.KindProcessNamespace, &event.Namespace{After: event.Namespaces{Mount: hostMount, Net: podNet}})), nil)
	n.wantNone(n.setns(n.started(601, "/usr/lib/systemd/systemd-resolved"), 4026539999), nil)

	runc := n.fork(shim, 610)
	n.exec(runc, "/usr/bin/runc", "exec")
	stage := n.fork(runc, 611)
	n.exec(stage, "/memfd:runc_cloned:/proc/self/exe", "init")
	n.wantNone(n.setns(stage, podMount), nil)
	last := n.fork(stage, 612)
	n.cgroups[last] = podCgroup
	ev := n.enters(last, false, "/bin/sh")
	if !ev.Entry || ev.EnteredHome != nil || ev.Session.ByNamespace {
		t.Errorf("entry %v into %v, session %+v", ev.Entry, ev.EnteredHome, ev.Session)
	}
	n.want("visits", n.table.Stats().Visits, uint64(0))
}

// From a container that shares the host's pid namespace its neighbours can be entered.
func TestVisitorFromAnotherContainer(t *testing.T) {
	n, shim, _, other := visited(t)
	child := n.fork(other, 700)
	n.exec(child, "/usr/bin/nsenter")
	own := n.open(child).Session
	n.wantVisit(n.setns(child, podMount), podID)
	grandchild := n.fork(child, 701)
	n.wantNone(n.setns(child, otherMount), own) // back
	n.want("home", homeOf(n.open(child).Process), otherID)
	n.wantNone(n.setns(grandchild, otherMount), own)

	// A shell that came through the runtime is not the runtime, however near that is.
	entered := n.enterPod(shim, 720, otherCgroup, otherMount, false, "/bin/sh").Actor
	nsenter := n.fork(entered, 730)
	n.exec(nsenter, "/usr/bin/nsenter")
	n.wantVisit(n.setns(nsenter, podMount), podID)
	n.wantVisit(n.setns(entered, podMount), podID)
}

// In a container anybody can name a program as they like.
func TestRuntimeOfAContainer(t *testing.T) {
	n, _, _, other := visited(t)
	nested := n.fork(other, 700)
	n.exec(nested, "/usr/bin/runc") // came with the image
	n.wantNone(n.setns(nested, podMount), n.open(other).Session)
	fake := n.fork(other, 701)
	n.exec(fake, "/tmp/runc")
	n.wantVisit(n.setns(fake, podMount), podID)
}

// Numbers of namespaces are used again at once.
func TestContainerIsNotVisitedAfterItsEnd(t *testing.T) {
	n, shim, first, _ := visited(t)
	n.exit(first)
	n.wantNone(n.setns(n.started(800, "/usr/bin/nsenter"), podMount), nil)
	n.containers[9300] = "feed"
	n.enterPod(shim, 540, 9300, podMount, true, "/bin/next")
	n.wantVisit(n.setns(n.started(801, "/usr/bin/nsenter"), podMount), "feed")
	n.want("spaces", len(n.table.spaces), 2)
}

// The runtime's stage was not seen starting, so it looked like a visitor; then the kernel
// tells that its program entered.
func TestEntryThatLookedLikeAVisit(t *testing.T) {
	n, shim, _, _ := visited(t)
	stage := event.Key{TGID: 600, Start: n.clock}
	n.mounts[stage], n.cgroups[stage] = podMount, 1
	n.wantVisit(n.open(stage), podID)
	n.parents[stage], n.cgroups[stage] = shim, podCgroup
	ev := n.enters(stage, false, "/bin/sh")
	if s := ev.Session; !ev.Entry || s.ByNamespace || s.ID != event.SessionID(bootID, stage) {
		t.Errorf("entry %v, session %+v", ev.Entry, s)
	}
}

// A chain of ancestors that is cut keeps what a visit interrupts.
func TestVisitFarBelow(t *testing.T) {
	n, _, _, other := visited(t)
	k := n.fork(other, 700)
	n.exec(k, "/usr/bin/nsenter")
	own := n.open(k).Session
	session := n.setns(k, podMount).Session
	for i := range uint32(maxDepth + 2) {
		k = n.fork(k, 1000+i)
	}
	n.wantNone(n.exec(k, "/bin/sh"), session)
	n.wantNone(n.setns(k, otherMount), own)
}

// What looks like a first program below a container's own is none, and does not take the
// container's place with it.
func TestFirstProgramOfACgroupWithin(t *testing.T) {
	n, shim, first, _ := visited(t)
	n.containers[9301] = podID
	within := n.enterPod(shim, 540, 9301, podMount, true, "/bin/sh").Actor
	n.exit(within)
	n.wantVisit(n.setns(n.started(800, "/usr/bin/nsenter"), podMount), podID)
	n.exit(first)
	n.want("spaces", []int{len(n.table.spaces), len(n.table.firsts)}, []int{1, 1})
}

// The end of a container's first program was lost, and the number is another's.
func TestMountNamespaceOfAnotherContainer(t *testing.T) {
	n, shim, first, _ := visited(t)
	n.containers[9300] = "feed"
	next := n.enterPod(shim, 540, 9300, podMount, true, "/bin/next").Actor
	n.exit(first) // late
	n.wantVisit(n.setns(n.started(800, "/usr/bin/nsenter"), podMount), "feed")
	n.exit(next)
	n.want("spaces", []int{len(n.table.spaces), len(n.table.firsts)}, []int{1, 1})
}

func TestFirstProgramBecomesExact(t *testing.T) {
	n, _, first, _ := visited(t)
	exact := event.Key{TGID: first.TGID, Start: first.Start + 1}
	n.table.rename(first, exact)
	n.table.vacate(first)
	n.wantVisit(n.setns(n.started(800, "/usr/bin/nsenter"), podMount), podID)
	n.table.vacate(exact)
	n.wantNone(n.setns(n.started(801, "/usr/bin/nsenter"), podMount), nil)
}

func TestSeededVisit(t *testing.T) {
	n := newNode(t, nil)
	n.containers[podCgroup] = podID
	key := func(tgid uint32) event.Key { return event.Key{TGID: tgid, Start: event.Boot(tgid) * second} }
	n.cgroups[key(30)] = podCgroup
	for _, k := range []event.Key{key(10), key(11), key(12), key(30)} {
		n.mounts[k] = podMount
	}
	n.seed(key(12), key(11), false, "/bin/cat")
	n.seed(key(11), key(10), false, "/bin/sh")
	n.seed(key(10), key(1), false, "/usr/bin/nsenter", "-t", "30", "-m", "sh") // older than the container
	n.seed(key(30), key(20), true, "/bin/server")
	n.seed(key(20), key(1), false, "/usr/bin/containerd-shim-runc-v2")
	n.seed(key(1), event.Key{}, false, "/sbin/init")
	n.table.Seeded()
	for _, k := range []event.Key{key(10), key(11), key(12)} {
		s := n.open(k).Session
		if s == nil || !s.ByNamespace || s.Root != key(10) || s.ContainerID != podID {
			t.Errorf("%d has session %+v", k.TGID, s)
		}
	}
	n.want("leaves", n.setns(key(10), hostMount).Session == nil, true)
}

// inNet is a container's first program in a network of its own.
func (n *node) inNet(shim event.Key, tgid uint32, cgroup uint64, mount, net uint32) {
	first := n.fork(shim, tgid)
	n.mounts[first], n.cgroups[first] = mount, cgroup
	im := n.image(first, "/bin/server")
	im.Namespaces.Net = net
	n.apply(n.event(first, event.KindProcessExec, &event.Exec{Image: im, Entered: true, Init: true}))
}

func TestStreamFromOutsideIsAnEntry(t *testing.T) {
	n, shim := podNode(t)
	n.containers[otherCgroup] = otherID
	n.inNet(shim, 510, podCgroup, podMount, podNet)
	n.inNet(shim, 520, otherCgroup, otherMount, podNet) // of the same pod
	runtime := n.started(400, "/usr/bin/containerd")
	connect := func(k event.Key, kind event.Kind, net, socket uint32) *event.Event {
		return n.apply(n.event(k, kind, &event.Flow{Type: socket, Local: event.Address{Family: event.FamilyIPv4, NetNamespace: net}}))
	}
	ev := connect(runtime, event.KindNetworkConnect, podNet, socketStream)
	if !ev.Entry || ev.Session != nil || ev.EnteredHome == nil || ev.EnteredHome.ID() != podID {
		t.Errorf("entry %v into %v, session %v", ev.Entry, ev.EnteredHome, ev.Session)
	}
	inside := event.Key{TGID: 510, Start: 0}
	for k := range n.mounts {
		if k.TGID == 510 {
			inside = k
		}
	}
	escaped := n.fork(inside, 511)
	n.mounts[escaped] = hostMount
	n.open(escaped)
	private := n.fork(runtime, 401)
	n.mounts[private] = 4026539999
	n.open(private)
	for name, ev := range map[string]*event.Event{
		"of one that escaped":        connect(escaped, event.KindNetworkConnect, podNet, socketStream),
		"of a service":               connect(private, event.KindNetworkConnect, podNet, socketStream),
		"datagrams":                  connect(runtime, event.KindNetworkConnect, podNet, 2),
		"accepted":                   connect(runtime, event.KindNetworkAccept, podNet, socketStream),
		"within the host's":          connect(runtime, event.KindNetworkConnect, 4026531840, socketStream),
		"the kernel did not tell":    connect(runtime, event.KindNetworkConnect, 0, socketStream),
		"a network without a pod":    connect(runtime, event.KindNetworkConnect, podNet+1, socketStream),
		"the container's own stream": connect(inside, event.KindNetworkConnect, podNet, socketStream),
	} {
		if ev.Entry || ev.EnteredHome != nil {
			t.Errorf("%s: an entry into %v", name, ev.EnteredHome)
		}
	}

	entries := 0
	for range 2 * maxReached { // within one second, some milliseconds apart
		if connect(runtime, event.KindNetworkConnect, podNet, socketStream).Entry {
			entries++
		}
	}
	if s := n.table.Stats(); entries != maxReached-1 || s.Reaches != maxReached || s.ReachesOver != maxReached+1 {
		t.Errorf("%d entries, %d and %d counted", entries, s.Reaches, s.ReachesOver)
	}
	n.clock += second
	n.want("a second later", connect(runtime, event.KindNetworkConnect, podNet, socketStream).Entry, true)
}

func TestStreamsFromOutsideAllocateNothing(t *testing.T) {
	n, shim := podNode(t)
	n.inNet(shim, 510, podCgroup, podMount, podNet)
	k := n.started(400, "/usr/bin/containerd")
	ev := n.event(k, event.KindNetworkConnect, &event.Flow{Type: socketStream, Local: event.Address{NetNamespace: podNet}})
	if got := testing.AllocsPerRun(100, func() { n.table.Apply(ev) }); got > 0 {
		t.Errorf("%v allocations", got)
	}
}
