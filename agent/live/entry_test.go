package live

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/pkg/cio"
	"github.com/containerd/containerd/v2/pkg/oci"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"

	"github.com/seawall-security/seawall/internal/event"
	"github.com/seawall-security/seawall/internal/testpriv"
)

// entriesInto are the events with which somebody came into a container, but for its own
// first program.
func (n *node) entriesInto(id string) []*event.Event {
	return n.seen.all(func(ev *event.Event) bool {
		return ev.Entry && ev.Session != nil && ev.Session.ContainerID == id && !ev.Session.Init
	})
}

// entry waits for the entry of a program with these arguments.
func (n *node) entry(t *testing.T, args []string) *event.Event {
	t.Helper()
	return n.seen.await(t, fmt.Sprintf("the entry of %.80q", args), func(ev *event.Event) bool {
		return ev.Entry && ev.Session != nil && slices.Equal(ev.Session.Args, args)
	})
}

// testEntries: whoever comes into a container through its runtime is told of once, with
// what was asked for, however short it lives and however many come at once.
func testEntries(t *testing.T, n *node) {
	inside := n.shell(t, "entries")
	defer inside.remove(t)
	if init := n.initOf(t, "entries"); !init.Entry || !init.Session.Init || init.Session.ByNamespace {
		t.Errorf("the container's first program has entry %v, session %+v", init.Entry, init.Session)
	}
	many := []string{"/bin/busybox", "true"}
	for i := range 300 {
		many = append(many, fmt.Sprintf("argument-%03d", i))
	}
	for _, test := range []struct {
		name string
		tty  bool
		args []string
	}{
		{"a program that ends at once", false, []string{"/bin/busybox", "true", "once"}},
		{"300 arguments", false, many},
		{"a terminal", true, []string{"/bin/busybox", "true", "terminal"}},
		{"300 arguments and a terminal", true, append(slices.Clone(many), "terminal")},
	} {
		t.Run(test.name, func(t *testing.T) {
			began := time.Now()
			inside.exec(t, n, test.tty, test.args)
			ended, id := time.Now(), fmt.Sprintf("exec-%d", inside.execs)
			ev := n.entry(t, test.args)
			if ev.Session.ExecID != id {
				t.Errorf("it was asked for as %s, and is told as %q", id, ev.Session.ExecID)
			}
			n.mustBeEntry(t, ev, "entries", test.tty)
			if ev.Wall.Before(began) || ev.Wall.After(ended) {
				t.Errorf("it came at %v, was asked for at %v and had ended at %v", ev.Wall, began, ended)
			}
			m := ev.Proto(n.bootID)
			t.Logf("%d bytes, %v after it was asked for", proto.Size(m), ev.Wall.Sub(began))
			if want := map[bool]string{false: "device", true: "tty"}[test.tty]; ev.Process.Stdio[0].Kind.String() != want {
				t.Errorf("its input is a %s", ev.Process.Stdio[0].Kind)
			}
		})
	}

	t.Run("a script", func(t *testing.T) { // argv is as the kernel makes it for the interpreter
		inside.ask(t, `printf '#!/bin/busybox sh\nexit 0\n' > /bin/script; busybox chmod +x /bin/script`)
		inside.exec(t, n, false, []string{"script", "-a", "b"})
		ev := n.entry(t, []string{"/bin/busybox", "sh", "/bin/script", "-a", "b"})
		n.mustBeEntry(t, ev, "entries", false)
		if ev.Process.Filename != "/bin/script" {
			t.Errorf("it was called as %q", ev.Process.Filename)
		}
	})
	t.Run("a program found in PATH", func(t *testing.T) {
		inside.exec(t, n, false, []string{"busybox", "true", "by its name"})
		n.mustBeEntry(t, n.entry(t, []string{"busybox", "true", "by its name"}), "entries", false)
	})
	t.Run("more arguments than are kept", func(t *testing.T) {
		args := []string{"/bin/busybox", "true", strings.Repeat("a", 8000), strings.Repeat("b", 8000)}
		inside.exec(t, n, false, args)
		ev := n.seen.await(t, "the entry", func(ev *event.Event) bool {
			return ev.Entry && ev.Session.ArgsCut && len(ev.Session.Args) == 4
		})
		got := ev.Session.Args
		if !slices.Equal(got[:3], args[:3]) || got[3] == "" || !strings.HasPrefix(args[3], got[3]) {
			t.Errorf("its arguments are %.40q", got)
		}
	})
	t.Run("standard input", func(t *testing.T) {
		entered := inside.enter(t, n)
		ev := n.entry(t, []string{"/bin/busybox", "sh", "-c", loop, "entered"})
		n.mustBeEntry(t, ev, "entries", false)
		if kind := ev.Process.Stdio[0].Kind.String(); kind != "pipe" {
			t.Errorf("its input is a %s", kind)
		}
		entered.leave(t)
	})

	// More of them in flight and the shim of containerd 1.6 stands still for a minute.
	const atOnce, inFlight = 50, 16
	want := map[string]int{}
	var asking errgroup.Group
	asking.SetLimit(inFlight)
	for i := range atOnce {
		args := []string{"/bin/busybox", "true", "at-once", "the same"}
		if i%2 == 1 {
			args[3] = strconv.Itoa(i)
		}
		want[strings.Join(args, " ")]++
		inside.execs++
		id := fmt.Sprintf("exec-%d", inside.execs)
		asking.Go(func() error { return inside.runAs(n, id, args) })
	}
	if err := asking.Wait(); err != nil {
		t.Fatal(err)
	}
	// What is asked for now comes behind them.
	last := []string{"/bin/busybox", "true", "behind"}
	inside.exec(t, n, false, last)
	n.entry(t, last)
	got, sessions := map[string]int{}, map[string]bool{}
	for _, ev := range n.entriesInto("entries") {
		if args := strings.Join(ev.Session.Args, " "); strings.Contains(args, "at-once") {
			n.mustBeEntry(t, ev, "entries", false)
			got[args]++
			sessions[ev.Session.ID] = true
		}
	}
	for args, times := range want {
		if got[args] != times {
			t.Errorf("%q was asked for %d times and told of %d times", args, times, got[args])
		}
	}
	if len(sessions) != atOnce || len(got) != len(want) {
		t.Errorf("%d sessions of %d kinds, not %d of %d", len(sessions), len(got), atOnce, len(want))
	}
}

// mustBeEntry checks the event with which a session began through the runtime.
func (n *node) mustBeEntry(t *testing.T, ev *event.Event, container string, tty bool) {
	t.Helper()
	n.mustBeNamed(t, ev, container)
	s := ev.Session
	if x, ok := ev.Payload.(*event.Exec); !ok || !x.Entered || s.Init || s.ByNamespace || s.ContainerID != container ||
		s.Root != ev.Actor || s.RootID != ev.Process.ID || !s.Time.Equal(ev.Wall) || s.ArgsCut {
		t.Errorf("%s of %q has session %+v", ev.Kind, ev.Process.Args, s)
	}
	if tty != strings.HasPrefix(s.TTY, "pts/") || s.TTY != ev.Process.TTY {
		t.Errorf("%q has terminal %q, its session %q", ev.Process.Args, ev.Process.TTY, s.TTY)
	}
	if ev.EnteredContainer != nil {
		t.Errorf("%q is said to have come past the runtime into %+v", ev.Process.Args, ev.EnteredContainer)
	}
}

// testVisits: who comes into a container's mount namespace past the runtime is told of
// with the container's name, and what it does there is of that session; who enters other
// namespaces, or comes by the runtime, is not.
func testVisits(t *testing.T, n *node) {
	nsenter := testpriv.Program(t, "nsenter")
	inside := n.shell(t, "visited")
	defer inside.remove(t)
	first := n.initOf(t, "visited")
	pid := strconv.Itoa(int(first.Actor.TGID))
	before := n.processes.Stats().Visits
	for name, flags := range map[string][]string{
		"mount":         {"-m"},
		"mount and pid": {"-m", "-p"},
		"all":           {"-a"},
	} {
		t.Run(name, func(t *testing.T) {
			command := append(append([]string{nsenter, "-t", pid}, flags...), "/bin/busybox", "sh", "-c", "/bin/busybox true child; exit 0", name)
			c := exec.Command(command[0], command[1:]...)
			run(t, c)
			ev := n.entry(t, command)
			if ev.Actor.TGID != uint32(c.Process.Pid) || ev.Container != nil || ev.Process.Namespaces.Mount != first.Process.Namespaces.Mount {
				t.Errorf("it is told by %+v in container %+v", ev.Process, ev.Container)
			}
			n.mustBeVisit(t, ev, "visited")
			if ev.Kind != event.KindProcessNamespace {
				t.Errorf("it is told with %s", ev.Kind)
			}
			child := n.seen.await(t, "what it runs", func(e *event.Event) bool {
				return e.Kind == event.KindProcessExec && e.Session != nil && e.Session.ID == ev.Session.ID &&
					slices.Equal(e.Process.Args, []string{"/bin/busybox", "true", "child"})
			})
			if child.Entry || child.Container != nil || child.Tree&event.TreeEntered == 0 || child.TreeRoot() != ev.Process.ID {
				t.Errorf("the child is an entry: %v, of container %+v, tree %v below %s", child.Entry, child.Container, child.Tree.Names(), child.TreeRoot())
			}
		})
	}

	t.Run("back and again", func(t *testing.T) {
		there, home := "/proc/"+pid+"/ns/mnt", fmt.Sprintf("/proc/%d/ns/mnt", os.Getpid())
		r := must(t, n.dir, "setns", there, home, there, home)
		last := n.seen.await(t, "its end", func(ev *event.Event) bool {
			return ev.Kind == event.KindProcessExit && ev.Actor.TGID == r.PID
		})
		entries := n.seen.all(func(ev *event.Event) bool { return ev.Entry && ev.Actor == last.Actor })
		if len(entries) != 1 || last.Session != nil {
			t.Errorf("%d entries, at its end it is in session %+v", len(entries), last.Session)
		}
	})

	t.Run("network only", func(t *testing.T) {
		c := exec.Command(nsenter, "-t", pid, "-n", "-u", "-i", testpriv.Program(t, "busybox"), "true", "network")
		run(t, c)
		ev := n.seen.await(t, "the program", execOf(c.Args[len(c.Args)-3:]...))
		if ev.Session != nil || ev.Entry {
			t.Errorf("it has session %+v", ev.Session)
		}
	})

	t.Run("from another container", func(t *testing.T) {
		other := n.shell(t, "visitor", oci.WithPrivileged, oci.WithHostNamespace(specs.PIDNamespace))
		defer other.remove(t)
		entered := other.enter(t, n)
		entered.ask(t, "/bin/busybox nsenter -t "+pid+" -m /bin/busybox true neighbour")
		ev := n.entry(t, []string{"/bin/busybox", "nsenter", "-t", pid, "-m", "/bin/busybox", "true", "neighbour"})
		n.mustBeNamed(t, ev, "visitor")
		n.mustBeVisit(t, ev, "visited")
		n.seen.await(t, "what it ran", func(e *event.Event) bool {
			return e.Kind == event.KindProcessExec && e.Session != nil && e.Session.ID == ev.Session.ID
		})
		entered.leave(t)
	})

	t.Run("the runtime", func(t *testing.T) {
		inside.exec(t, n, false, []string{"/bin/busybox", "true", "runtime"})
		n.mustBeEntry(t, n.entry(t, []string{"/bin/busybox", "true", "runtime"}), "visited", false)
	})

	// Three by nsenter, one there and back, one neighbour: and none that the runtime made,
	// in any part of this test.
	if visits := n.processes.Stats().Visits - before; visits != 5 {
		t.Errorf("%d visits", visits)
	}
	for _, ev := range n.seen.all(func(ev *event.Event) bool { return ev.Entry && ev.Session != nil && ev.Session.ByNamespace }) {
		if ev.Process.Name != "nsenter" && ev.Process.Name != "busybox" && ev.Process.Name != "attack" {
			t.Errorf("%s %q is said to have come past the runtime", ev.Process.Name, ev.Process.Args)
		}
	}
}

func (n *node) mustBeVisit(t *testing.T, ev *event.Event, container string) {
	t.Helper()
	s, c := ev.Session, ev.EnteredContainer
	if !s.ByNamespace || s.Init || s.ContainerID != container || s.Root != ev.Actor || s.RootID != ev.Process.ID || !s.Time.Equal(ev.Wall) {
		t.Errorf("%s of %q has session %+v", ev.Kind, ev.Process.Args, s)
	}
	if c == nil || c.ID != container || c.Name == "" || c.Image == "" {
		t.Errorf("it came into %+v", c)
	}
}

// testPortForward: a stream that the host's side begins within a container's network
// namespace, as runtimes do for a port-forward, is told of with the container's name.
func testPortForward(t *testing.T, n *node) {
	nsenter, busybox := testpriv.Program(t, "nsenter"), testpriv.Program(t, "busybox")
	inside := n.shell(t, "forwarded")
	defer inside.remove(t)
	first := n.initOf(t, "forwarded")
	pid := strconv.Itoa(int(first.Actor.TGID))
	in := func(args ...string) *exec.Cmd {
		return exec.Command(nsenter, append([]string{"-t", pid, "-n", busybox}, args...)...)
	}
	run(t, in("ip", "link", "set", "lo", "up"))
	listener := listenIn(t, pid, "127.0.0.1:8081")
	go func() {
		if c, err := listener.Accept(); err == nil {
			_ = c.Close()
		}
	}()
	client := in("nc", "127.0.0.1", "8081")
	run(t, client)
	ev := n.seen.await(t, "the connection", func(ev *event.Event) bool {
		return ev.Kind == event.KindNetworkConnect && ev.Actor.TGID == uint32(client.Process.Pid)
	})
	f := ev.Payload.(*event.Flow)
	if !ev.Entry || ev.Session != nil || f.Remote.Port != 8081 || !f.Remote.Loopback() || f.Local.NetNamespace != first.Process.Namespaces.Net {
		t.Errorf("entry %v, session %+v, flow %+v, the container's network is %d", ev.Entry, ev.Session, f, first.Process.Namespaces.Net)
	}
	if c := ev.EnteredContainer; ev.Container != nil || c == nil || c.ID != "forwarded" || c.Name == "" {
		t.Errorf("of container %+v, into %+v", ev.Container, c)
	}
}

// listenIn listens in the network namespace of a process.
func listenIn(t *testing.T, pid, address string) net.Listener {
	t.Helper()
	var listener net.Listener
	errs := make(chan error)
	go func() {
		runtime.LockOSThread() // and never back: the thread ends
		fd, err := unix.Open("/proc/"+pid+"/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err == nil {
			err = errors.Join(unix.Setns(fd, unix.CLONE_NEWNET), unix.Close(fd))
		}
		if err == nil {
			listener, err = net.Listen("tcp", address)
		}
		errs <- err
	}()
	if err := <-errs; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	return listener
}

// runAs runs a program in the container to its end; any goroutine may.
func (i *inside) runAs(n *node, id string, args []string) error {
	spec, err := i.running.Container.Spec(n.ctx)
	if err != nil {
		return err
	}
	process := *spec.Process
	process.Args = args
	task, err := i.running.Task.Exec(n.ctx, id, &process, cio.NullIO)
	if err != nil {
		return err
	}
	ended, err := task.Wait(n.ctx)
	if err != nil {
		return err
	}
	if err := task.Start(n.ctx); err != nil {
		return err
	}
	select {
	case <-ended:
	case <-n.ctx.Done():
		return n.ctx.Err()
	}
	_, err = task.Delete(n.ctx)
	return err
}
