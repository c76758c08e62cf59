package process

import (
	"testing"

	"github.com/seawall-security/seawall/internal/event"
)

func homeOf(p *event.Process) string {
	if p.Home == nil {
		return ""
	}
	return p.Home.ID()
}

func (n *node) wantHome(what string, k event.Key, want string) {
	n.t.Helper()
	n.want(what, homeOf(n.open(k).Process), want)
}

func TestHomeIsWhereAProcessWasBorn(t *testing.T) {
	n, shim := podNode(t)
	init := n.enterPod(shim, 510, podCgroup, podMount, true, "/bin/server").Actor
	n.wantHome("the shim", shim, "")
	n.wantHome("the container's first", init, podID)

	n.cgroups[init] = 1 // it leaves the container's cgroup
	n.wantHome("outside", init, podID)
	n.mounts[init] = hostMount // and its mount namespace
	n.wantHome("escaped", init, podID)
	child := n.fork(init, 600)
	n.exec(child, "/usr/bin/containerd-shim-runc-v2")
	n.exit(init)
	n.wantHome("its child, whatever it is called", child, podID)
	n.wantHome("host", n.started(700, "/usr/bin/containerd"), "")
}

// Without a session: the runtime is not known by its name.
func TestBornInsideHasAHome(t *testing.T) {
	n, shim := podNode(t)
	stage := n.fork(shim, 510)
	n.cgroups[stage] = podCgroup
	first := n.fork(stage, 511)
	n.wantHome("a stage in the host's mount namespace", first, "")
	n.mounts[stage] = podMount
	n.wantHome("born inside", n.fork(stage, 512), podID)
	n.wantHome("the stage itself", stage, "")
}

func TestVisitorHasNoHome(t *testing.T) {
	n, _ := podNode(t)
	admin := n.started(800, "/usr/bin/nsenter")
	n.mounts[admin], n.cgroups[admin] = podMount, podCgroup
	n.enters(admin, false, "/bin/sh")
	n.wantHome("inside by hand", admin, "")
	n.mounts[admin], n.cgroups[admin] = hostMount, 1
	n.wantHome("back", admin, "")
}

func TestNestedContainerIsAHomeOfItsOwn(t *testing.T) {
	n, shim := podNode(t)
	outer := n.enterPod(shim, 510, podCgroup, podMount, true, "/usr/bin/containerd").Actor
	inner := n.fork(outer, 700)
	n.exec(inner, "/usr/bin/containerd-shim-runc-v2")
	n.wantHome("inner shim", inner, podID)
	app := n.enterPod(inner, 710, innerCgroup, podMount+1, true, "/app").Actor
	n.cgroups[app] = 1
	n.wantHome("inner container's", app, innerID)
	// A container's cgroup is not its home who merely goes there, nor his children's.
	n.cgroups[outer] = innerCgroup
	n.wantHome("in another's cgroup", n.fork(outer, 800), podID)
}

func TestHomeOfWhoWasNotSeenBeingBorn(t *testing.T) {
	n, shim := podNode(t)
	root := n.enterPod(shim, 510, podCgroup, podMount, true, "/bin/server").Actor
	stranger := func(tgid uint32, parent event.Key, mount uint32, cgroup uint64) event.Key {
		k := event.Key{TGID: tgid, Start: n.clock}
		n.parents[k], n.mounts[k], n.cgroups[k] = parent, mount, cgroup
		return k
	}
	n.wantHome("inside", stranger(600, shim, podMount, podCgroup), podID)
	n.wantHome("outside, below one from inside", stranger(601, root, podMount, 1), podID)
	n.wantHome("outside", stranger(602, shim, podMount, 1), "")
	n.wantHome("in its cgroup only", stranger(603, shim, hostMount, podCgroup), "")
	lost := stranger(604, root, hostMount, 1)
	n.want("exec whose fork was lost", homeOf(n.exec(lost, "/bin/sh").Process), podID)
}

func TestHomeOfSeeds(t *testing.T) {
	n := newNode(t, nil)
	n.containers[podCgroup] = podID
	key := func(tgid uint32) event.Key { return event.Key{TGID: tgid, Start: event.Boot(tgid) * second} }
	n.cgroups[key(30)], n.mounts[key(30)] = podCgroup, podMount
	n.seed(key(31), key(30), true, "/bin/escaped") // to the host's cgroup and mount namespace
	n.seed(key(30), key(20), true, "/bin/server")
	n.seed(key(20), event.Key{}, false, "/usr/bin/containerd-shim-runc-v2")
	n.table.Seeded()
	n.wantHome("shim", key(20), "")
	n.wantHome("inside", key(30), podID)
	n.wantHome("escaped before the agent came", key(31), podID)
}

// The child's exec came before its fork.
func TestAdoptedChildHasItsCreatorsHome(t *testing.T) {
	n, shim := podNode(t)
	root := n.enterPod(shim, 510, podCgroup, podMount, true, "/bin/server").Actor
	child := event.Key{TGID: 600, Start: n.clock}
	n.parents[child], n.cgroups[child] = shim, 1
	n.exec(child, "/bin/tool")
	n.wantHome("before", child, "")
	n.apply(n.event(root, event.KindProcessFork, &event.Fork{Child: child, ChildParent: root}))
	n.wantHome("after", child, podID)
}
