package process

import (
	"strings"
	"testing"

	"github.com/seawall-security/seawall/internal/event"
)

const (
	podCgroup   = 9001
	innerCgroup = 9002
	podID       = "c0ffee"
	innerID     = "decaf"
)

// enterPod is what runc does: shim -> runc -> its first stage -> its second, which
// is made under CLONE_PARENT, moved to the container and runs the program.
func (n *node) enterPod(shim event.Key, first uint32, cgroup uint64, mount uint32, init bool, argv ...string) *event.Event {
	n.t.Helper()
	runc := n.fork(shim, first)
	n.exec(runc, "/usr/bin/runc", "exec")
	parent := n.fork(runc, first+1)
	n.exec(parent, "/memfd:runc_cloned:/proc/self/exe", "init")
	stage := n.fork(parent, first+2)
	last, _ := n.forkEvent(stage, first+3, runc)
	n.mounts[last], n.cgroups[last] = mount, cgroup
	n.parents[last] = shim // runc has ended: the shim adopts
	n.exit(runc)
	return n.enters(last, init, argv...)
}

func podNode(t *testing.T) (*node, event.Key) {
	n := newNode(t, nil)
	n.containers[podCgroup], n.containers[innerCgroup] = podID, innerID
	return n, n.started(500, "/usr/bin/containerd-shim-runc-v2", "-id", podID)
}

func TestEntryThroughTheRuntimeIsASession(t *testing.T) {
	n, shim := podNode(t)
	ev := n.enterPod(shim, 510, podCgroup, podMount, false, "/bin/sh", "-c", "exec id")
	root := ev.Actor
	n.want("session", ev.Session, &event.Session{
		ID: event.SessionID(bootID, root), Root: root, RootID: event.ProcessID(bootID, root), Time: wall(ev.Time),
		ContainerID: podID, Args: []string{"/bin/sh", "-c", "exec id"},
	})
	session := ev.Session

	ev = n.exec(root, "/usr/bin/id")
	n.want("an exec chain keeps it", ev.Session == session, true)
	n.want("another entry mark too", n.enters(root, false, "/usr/bin/id").Session == session, true)
	child := n.fork(root, 600)
	n.want("children inherit", n.open(child).Session == session, true)
	n.exit(root)
	n.want("also when the root is gone", n.exec(child, "/bin/nc").Process.Session == session, true)
	n.want("outside", n.open(shim).Session == nil, true)
	n.want("sessions", n.table.Stats().Sessions, uint64(1))
}

func TestExecID(t *testing.T) {
	const folder = "/run/containerd/io.containerd.runtime.v2.task/k8s.io/c0ffee/"
	long := strings.Repeat("a", maxExecID+1)
	for want, args := range map[string][]string{
		"0a1b":     {"runc", "--root", "/run/runc", "exec", "--process", "/tmp/p", "--detach", "--pid-file", folder + "0a1b.pid", podID},
		"":         {"runc", "exec", podID, "sh"},
		"my-shell": {"runc", "exec", "--pid-file", "my-shell.pid", podID},
		" ":        {"runc", "exec", podID, "--pid-file"},
		"  ":       {"runc", "exec", "--pid-file", folder + "0a1b", podID},
		"   ":      {"runc", "create", "--pid-file", folder + "init.pid", podID},
		"    ":     {"runc", "exec", "--pid-file", folder + long + ".pid", podID},
	} {
		n, shim := podNode(t)
		runc := n.fork(shim, 510)
		n.exec(runc, append([]string{"/usr/bin/runc"}, args[1:]...)...)
		k := n.fork(runc, 511)
		n.cgroups[k], n.mounts[k] = podCgroup, podMount
		n.want(strings.Join(args, " "), n.enters(k, false, "/bin/sh").Session.ExecID, strings.TrimSpace(want))
	}
}

func TestContainersOwnFirstProgram(t *testing.T) {
	n, shim := podNode(t)
	ev := n.enterPod(shim, 510, podCgroup, podMount, true, "/docker-entrypoint.sh")
	n.want("init", ev.Session.Init, true)
}

func TestTerminalOfASession(t *testing.T) {
	n, shim := podNode(t)
	k := n.fork(shim, 510)
	n.cgroups[k], n.mounts[k] = podCgroup, podMount
	im := n.image(k, "/bin/bash")
	im.TTY = 136<<20 | 2
	ev := n.apply(n.event(k, event.KindProcessExec, &event.Exec{Image: im, Entered: true}))
	n.want("tty", ev.Session.TTY, "pts/2")
}

func TestTwoEntriesAreTwoSessions(t *testing.T) {
	n, shim := podNode(t)
	a := n.enterPod(shim, 510, podCgroup, podMount, true, "/bin/server").Session
	b := n.enterPod(shim, 520, podCgroup, podMount, false, "/bin/sh").Session
	n.want("different", a.ID != b.ID, true)
	n.want("same container", a.ContainerID, b.ContainerID)
}

func TestNestedEntryStartsItsOwnSession(t *testing.T) {
	n, shim := podNode(t)
	outer := n.enterPod(shim, 510, podCgroup, podMount, true, "/usr/bin/containerd").Actor
	inner := n.fork(outer, 700)
	n.want("inner shim belongs to the outer session", n.exec(inner, "/usr/bin/containerd-shim-runc-v2").Session.ContainerID, podID)
	ev := n.enterPod(inner, 710, innerCgroup, podMount+1, true, "/app")
	n.want("inner", []any{ev.Session.ContainerID, ev.Session.Root}, []any{innerID, ev.Actor})
}

func TestServiceManagerInAContainerDoesNotEnter(t *testing.T) {
	n, shim := podNode(t)
	n.containers[9003] = podID // a cgroup below the container's
	systemd := n.enterPod(shim, 510, podCgroup, podMount, true, "/lib/systemd/systemd")
	service := n.fork(systemd.Actor, 600)
	n.cgroups[service] = 9003
	n.want("same session", n.enters(service, false, "/usr/sbin/sshd").Session == systemd.Session, true)
}

// With hostPID there is no pid namespace: orphans of a session go to the shim,
// and the kernel sees a process of another cgroup than its parent's.
func TestOrphanWithHostPIDStaysInItsSession(t *testing.T) {
	n, shim := podNode(t)
	root := n.enterPod(shim, 510, podCgroup, podMount, false, "/bin/sh")
	orphan := n.fork(root.Actor, 600)
	n.exit(root.Actor)
	n.parents[orphan] = shim
	ev := n.enters(orphan, false, "/usr/bin/miner")
	n.want("session", ev.Session == root.Session, true)
	n.want("creator", ev.Process.Parent.Name, "sh")
}

func TestNoSessionWithoutRuntimeOrContainer(t *testing.T) {
	n, shim := podNode(t)
	bash := n.started(800, "/bin/bash")
	byHand := n.fork(bash, 801)
	n.mounts[byHand], n.cgroups[byHand] = podMount, podCgroup
	n.want("joined by hand", n.enters(byHand, false, "/bin/sh").Session == nil, true)

	elsewhere := n.fork(shim, 802)
	n.mounts[elsewhere], n.cgroups[elsewhere] = podMount, 1234
	n.want("no container", n.enters(elsewhere, false, "/bin/sh").Session == nil, true)
	s := n.table.Stats()
	n.want("counted", []uint64{s.EntriesWithoutRuntime, s.EntriesWithoutContainer, s.Sessions}, []uint64{1, 1, 0})
}

func TestRuntimeOutOfReachIsNoRuntime(t *testing.T) {
	n, shim := podNode(t)
	k := shim
	for i := range uint32(5) {
		k = n.fork(k, 900+i)
		n.exec(k, "/bin/wrapper")
	}
	n.mounts[k], n.cgroups[k] = podMount, podCgroup
	n.want("five levels below", n.enters(k, false, "/bin/sh").Session == nil, true)
}

func TestEntryWhoseForksWereLost(t *testing.T) {
	n, shim := podNode(t)
	k := event.Key{TGID: 555, Start: n.clock}
	n.parents[k], n.mounts[k], n.cgroups[k] = shim, podMount, podCgroup
	n.want("by the kernel's parent", n.enters(k, false, "/bin/sh").Session.ContainerID, podID)
}

func TestLostForkInheritsOnlyWhatIsCertain(t *testing.T) {
	n, shim := podNode(t)
	root := n.enterPod(shim, 510, podCgroup, podMount, false, "/bin/sh")
	lost := event.Key{TGID: 601, Start: n.clock}
	n.parents[lost], n.mounts[lost], n.cgroups[lost] = root.Actor, podMount, podCgroup
	n.want("child of the session", n.open(lost).Session == root.Session, true)

	n.containers[7777] = "d0d0"
	init := n.fork(shim, 700)
	n.mounts[init], n.cgroups[init] = podMount, 7777
	im := n.image(init, "/bin/init")
	im.NSPID = 1
	n.apply(n.event(init, event.KindProcessExec, &event.Exec{Image: im, Entered: true, Init: true}))
	orphan := event.Key{TGID: 701, Start: n.clock}
	n.parents[orphan], n.mounts[orphan], n.cgroups[orphan] = init, podMount, 7777
	n.want("adopted by number 1", n.open(orphan).Session == nil, true)
}
