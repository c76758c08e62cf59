package live

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/pkg/cio"
	"github.com/containerd/containerd/v2/pkg/oci"
	"golang.org/x/sync/errgroup"

	"github.com/seawall-security/seawall/internal/event"
	"github.com/seawall-security/seawall/internal/testcontainerd"
	"github.com/seawall-security/seawall/internal/testpriv"
)

// kubepods is a top cgroup with the shape of Kubernetes' and a name of our own.
func (n *node) kubepods() string { return "/kubepods-" + n.namespace }

// containerOf tells which of the test's containers a cgroup belongs to.
func (n *node) containerOf(path string) (string, bool) {
	if id, ok := strings.CutPrefix(path, "/"+n.namespace+"/"); ok {
		return id, !strings.Contains(id, "/")
	}
	if strings.HasPrefix(path, n.kubepods()+"/") && strings.HasSuffix(path, podContainer) {
		return podContainer, true
	}
	return "", false
}

// cgroupOf is the cgroup of one of the test's containers. Others on the host may have
// containers of the same id.
func (n *node) cgroupOf(t *testing.T, id string) uint64 {
	t.Helper()
	made := n.seen.await(t, "cgroup of "+id, func(ev *event.Event) bool {
		if ev.Kind != event.KindCgroupCreate {
			return false
		}
		container, ok := n.containerOf(ev.Payload.(*event.Cgroup).Path)
		return ok && container == id
	})
	return made.Payload.(*event.Cgroup).ID
}

// initOf is the exec event of a container's own first program.
func (n *node) initOf(t *testing.T, id string) *event.Event {
	t.Helper()
	cgroup := n.cgroupOf(t, id)
	return n.seen.await(t, "init of "+id, func(ev *event.Event) bool {
		exec, ok := ev.Payload.(*event.Exec)
		return ok && exec.Init && ev.CgroupID == cgroup
	})
}

// mustBeSession compares an event's session.
func mustBeSession(t *testing.T, ev *event.Event, init bool, container, tty string, args []string) {
	t.Helper()
	s := ev.Session
	if s == nil || s.ID == "" || s.Init != init || s.ContainerID != container || s.TTY != tty || !slices.Equal(s.Args, args) || s.Time.IsZero() {
		t.Errorf("%s of %s %q has session %+v", ev.Kind, ev.Process.Name, ev.Process.Args, s)
	}
}

const (
	podUID       = "5f0c1f2e-6d3b-4a0e-9c55-0d6a1b7e4c21"
	podContainer = "7a11ed007a11ed007a11ed007a11ed007a11ed007a11ed007a11ed007a11ed00"
)

// testShortContainers: a container that is gone within milliseconds has its name, image,
// digest and labels on the event of its first program and on its last.
func testShortContainers(t *testing.T, n *node) {
	for _, test := range []struct {
		id   string
		opts []oci.SpecOpts
	}{
		{"short", nil},
		{podContainer, []oci.SpecOpts{oci.WithCgroup(n.kubepods() + "/pod" + podUID + "/" + podContainer)}},
	} {
		testcontainerd.Run(t, n.ctx, testcontainerd.Create(t, n.ctx, n.client, n.image, test.id, []string{"true"}, test.opts...))(false)
		first := n.initOf(t, test.id)
		last := n.seen.await(t, "its end", exitOf(first.Actor))
		for _, ev := range []*event.Event{first, last} {
			n.mustBeNamed(t, ev, test.id)
			mustBeSession(t, ev, true, test.id, "", []string{"/bin/busybox", "true"})
		}
		if !first.Payload.(*event.Exec).Entered || first.Session.Root != first.Actor || first.Session.RootID != first.Process.ID {
			t.Errorf("its session is %+v, its exec %+v", first.Session, first.Payload)
		}
	}
	if c := n.initOf(t, podContainer).Container; c == nil || c.PodUID != podUID {
		t.Errorf("the container of a pod is %+v", c)
	}
}

// shortLife is what "dies at once" means here: less than anybody needs to ask a runtime.
const shortLife = 5 * time.Millisecond

// testBurst: twenty containers that start at the same moment and end at once are told
// apart and named, every one.
func testBurst(t *testing.T, n *node) {
	const burst = 20
	id := func(i int) string { return fmt.Sprintf("burst%d", i) }
	started := make(chan struct{})
	var all errgroup.Group
	for i := range burst {
		created := testcontainerd.Create(t, n.ctx, n.client, n.image, id(i), []string{"true"})
		all.Go(func() error {
			<-started
			running, err := testcontainerd.Launch(n.ctx, created, cio.NullIO)
			if err != nil {
				return err
			}
			return running.Remove(n.ctx, false)
		})
	}
	close(started)
	if err := all.Wait(); err != nil {
		t.Fatalf("%v\n%s", err, n.daemon.Log())
	}
	var lives []time.Duration
	sessions := map[string]bool{}
	for i := range burst {
		first := n.initOf(t, id(i))
		last := n.seen.await(t, "its end", exitOf(first.Actor))
		for _, ev := range []*event.Event{first, last} {
			n.mustBeNamed(t, ev, id(i))
			mustBeSession(t, ev, true, id(i), "", []string{"/bin/busybox", "true"})
		}
		sessions[first.Session.ID] = true
		lives = append(lives, time.Duration(last.Time-first.Time))
	}
	if len(sessions) != burst {
		t.Errorf("%d sessions", len(sessions))
	}
	slices.Sort(lives)
	t.Logf("they lived %v to %v", lives[0], lives[len(lives)-1])
	if lives[0] > shortLife {
		t.Errorf("none lived shorter than %v: this proves nothing", shortLife)
	}
}

// testSessions: whoever enters a running container through its runtime gets a session of
// its own, known by argv and terminal, which all its children carry and the container's
// own processes do not.
func testSessions(t *testing.T, n *node) {
	inside := n.shell(t, "entered")
	defer inside.remove(t)
	init := n.initOf(t, "entered")
	for _, test := range []struct {
		name string
		tty  bool
	}{{"without terminal", false}, {"with terminal", true}} {
		t.Run(test.name, func(t *testing.T) {
			script := "/bin/busybox true; /bin/busybox sh -c '/bin/busybox true; exit 0'; exit 0 # " + test.name
			args := []string{"/bin/busybox", "sh", "-c", script}
			inside.exec(t, n, test.tty, args)
			root := n.seen.await(t, "the entry", func(ev *event.Event) bool {
				exec, ok := ev.Payload.(*event.Exec)
				return ok && exec.Entered && slices.Equal(ev.Process.Args, args)
			})
			n.seen.await(t, "its end", exitOf(root.Actor))
			n.mustBeNamed(t, root, "entered")
			if root.Session == nil || root.Session.ID == init.Session.ID || root.Payload.(*event.Exec).Init || root.Tree&event.TreeEntered == 0 {
				t.Fatalf("session %+v, exec %+v, tree %v", root.Session, root.Payload, root.Tree.Names())
			}
			tty := root.Process.TTY
			if test.tty != strings.HasPrefix(tty, "pts/") {
				t.Errorf("terminal is %q", tty)
			}
			members := n.seen.all(func(ev *event.Event) bool { return ev.Session != nil && ev.Session.ID == root.Session.ID })
			execs := 0
			for _, ev := range members {
				mustBeSession(t, ev, false, "entered", tty, args)
				if ev.Session.Root != root.Actor || ev.CgroupID != root.CgroupID {
					t.Errorf("%s of %s has session %+v", ev.Kind, ev.Process.Name, ev.Session)
				}
				if ev.Kind == event.KindProcessExec {
					execs++
				}
			}
			// The entry, two children and a grandchild.
			if execs != 4 {
				t.Errorf("%d programs in the session, not 4", execs)
			}
		})
	}
	for _, ev := range n.seen.all(func(ev *event.Event) bool { return ev.Actor == init.Actor && ev.Time >= init.Time }) {
		mustBeSession(t, ev, true, "entered", "", init.Process.Args)
	}
}

// testTreeOfInterest: of a shell entered into a running container the user gets what it
// reads, be it of no interest to any rule; of the container's own processes not. Over
// the rate of its tree reads are booked as such, but for those that a rule is about.
func testTreeOfInterest(t *testing.T, n *node) {
	inside := n.shell(t, "watched")
	defer inside.remove(t)
	entered := inside.enter(t, n)

	inside.ask(t, ": < "+testcontainerd.OrdinaryFile)
	entered.ask(t, ": < "+testcontainerd.OrdinaryFile)
	watched := func(path string) func(*event.Event) bool { // others on this host may run the same image
		return func(ev *event.Event) bool {
			return ev.Container != nil && ev.Container.ID == "watched" && openOf(path)(ev)
		}
	}
	read := n.seen.await(t, "the shell's read", watched(testcontainerd.OrdinaryFile))
	if read.Session == nil || read.Session.Init || !read.Flags.Has(event.ByTree) || read.Tree&event.TreeEntered == 0 {
		t.Errorf("session %+v, flags %b, tree %v", read.Session, read.Flags, read.Tree.Names())
	}
	n.mustBeNamed(t, read, "watched")

	const reads = 5 * treeRate
	before := n.open(t).kernel[event.KindFileOpen]
	entered.ask(t, fmt.Sprintf("i=0; while [ $i -lt %d ]; do : < %s; i=$((i+1)); done; : < %s",
		reads, testcontainerd.OrdinaryFile, testcontainerd.SecretFile))
	secret := n.seen.await(t, "the read that a rule is about", watched(testcontainerd.SecretFile))
	after := n.open(t).kernel[event.KindFileOpen]
	if secret.Session == nil || secret.Session.ID != read.Session.ID {
		t.Errorf("session %+v", secret.Session)
	}
	all := n.seen.all(func(ev *event.Event) bool {
		return ev.CgroupID == read.CgroupID && openOf(testcontainerd.OrdinaryFile)(ev)
	})
	for _, ev := range all {
		if ev.Session == nil || ev.Session.ID != read.Session.ID {
			t.Errorf("a read by %s %q, session %+v", ev.Process.Name, ev.Process.Args, ev.Session)
		}
	}
	delivered := len(all) - 1
	if delivered < treeRate/2 {
		t.Fatalf("%d reads delivered, the rate is %d a second", delivered, treeRate)
	}
	seconds := int(time.Duration(all[len(all)-1].Time-all[1].Time)/time.Second) + 2
	limited := int(after.FilteredRate - before.FilteredRate)
	if delivered > seconds*treeRate || delivered+limited < reads {
		t.Errorf("%d of %d reads delivered in %d seconds, %d booked as over the rate", delivered, reads, seconds, limited)
	}
	t.Logf("%d of %d reads delivered, %d booked as over the rate", delivered, reads, limited)
	entered.leave(t)
}

// testDownload: a script that is called like a download tool is followed for what it
// writes; what it reads stays out, or an installer's reads would use up the rate.
func testDownload(t *testing.T, n *node) {
	inside := n.shell(t, "fetching")
	defer inside.remove(t)
	inside.ask(t, fmt.Sprintf(`printf '#!/bin/busybox sh\n: < %s\n: > /fetched\n' > /curl; busybox chmod +x /curl; /curl`, testcontainerd.OrdinaryFile))
	wrote := n.seen.await(t, "what was fetched", openOf("/fetched"))
	if !wrote.Flags.Has(event.ByTree) || wrote.Tree != event.TreeDownload {
		t.Errorf("flags %b, tree %v", wrote.Flags, wrote.Tree.Names())
	}
	for _, ev := range n.seen.all(func(ev *event.Event) bool { return ev.Actor == wrote.Actor && openOf(testcontainerd.OrdinaryFile)(ev) }) {
		t.Errorf("its read was sent: %v", ev.Tree.Names())
	}
}

// testForgedCgroup: whoever makes a cgroup with the name of a running container and goes
// there stays a process of the host, and the forgery is counted.
func testForgedCgroup(t *testing.T, n *node) {
	original := strings.Repeat("f0", 32)
	inside := n.shell(t, original)
	defer inside.remove(t)
	forged := n.containers.Counts().Forged
	top := filepath.Join(n.tree.Mount, n.kubepods())
	dir := filepath.Join(top, "pod"+podUID, original)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	id, err := n.tree.Lookup(strings.TrimPrefix(dir, filepath.Clean(n.tree.Mount)))
	if err != nil {
		t.Fatal(err)
	}
	// It waits for a line, goes into a mount namespace of its own as a container would
	// have, and runs a program.
	c := exec.Command(testpriv.Program(t, "busybox"), "sh", "-c", "read -r line; busybox true; exec busybox unshare -m busybox true forged")
	c.Env = append(os.Environ(), "PATH="+filepath.Dir(testpriv.Program(t, "busybox")))
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	pid := uint32(c.Process.Pid)
	if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(int(pid))), 0o600); err != nil {
		t.Error(err)
	}
	_, err = io.WriteString(in, "go\n")
	if err := errors.Join(err, in.Close(), c.Wait(), os.Remove(dir)); err != nil {
		t.Fatal(err)
	}
	n.seen.await(t, "the end of the forger", func(ev *event.Event) bool {
		return ev.Kind == event.KindProcessExit && ev.Actor.TGID == pid
	})
	members := n.seen.all(func(ev *event.Event) bool { return ev.CgroupID == id })
	execs := 0
	for _, ev := range members {
		if ev.Container != nil || ev.Session != nil {
			t.Errorf("%s of %s is in container %+v, session %+v", ev.Kind, ev.Process.Name, ev.Container, ev.Session)
		}
		if ev.Kind == event.KindProcessExec {
			execs++
		}
	}
	if execs != 3 {
		t.Errorf("%d programs in the forged cgroup, not 3", execs)
	}
	if got := n.containers.Counts().Forged - forged; got != 1 {
		t.Errorf("%d forgeries counted", got)
	}
}

// testContainerdGone: while containerd is gone the containers that run keep their names,
// and the agent says what it lacks.
func testContainerdGone(t *testing.T, n *node) {
	n.before = n.shell(t, "before")
	n.daemon.End(t, syscall.SIGKILL)
	n.until(t, "the loss is noticed", func() bool {
		c := n.runtime.Connection()
		return !c.Connected && c.Err != nil
	})
	n.before.ask(t, "/bin/busybox true alone")
	ev := n.seen.await(t, "a program while containerd is gone", execOf("/bin/busybox", "true", "alone"))
	n.mustBeNamed(t, ev, "before")
	mustBeSession(t, ev, true, "before", "", n.initOf(t, "before").Process.Args)
}

// testContainerdBack: when it is back old containers have their names still, and new
// ones get theirs.
func testContainerdBack(t *testing.T, n *node) {
	if n.before == nil {
		t.Fatal("there is no container from before: this part needs the one in which containerd is killed")
	}
	if c := n.runtime.Connection(); c.Connects != 2 {
		t.Errorf("connection is %+v", c)
	}
	testcontainerd.Run(t, n.ctx, testcontainerd.Create(t, n.ctx, n.client, n.image, "after", []string{"true"}))(false)
	n.mustBeNamed(t, n.initOf(t, "after"), "after")
	n.before.ask(t, "/bin/busybox true again")
	ev := n.seen.await(t, "a program after containerd came back", execOf("/bin/busybox", "true", "again"))
	n.mustBeNamed(t, ev, "before")
	testcontainerd.RemoveByID(t, n.ctx, n.client, "before")
}

// testAgentRestarts: an agent that is started again gives the processes and sessions
// that still run the ids they had. It ends the first agent.
func testAgentRestarts(t *testing.T, n *node) {
	inside := n.shell(t, "lasting")
	defer inside.remove(t)
	entered := inside.enter(t, n)
	init := n.initOf(t, "lasting")
	entry := n.seen.await(t, "the entry", func(ev *event.Event) bool {
		exec, ok := ev.Payload.(*event.Exec)
		return ok && exec.Entered && !exec.Init && ev.CgroupID == init.CgroupID
	})
	n.world.close()

	seeded := map[event.Key]*event.Process{}
	n.boot(t, func(w *world) {
		for _, k := range []event.Key{init.Actor, entry.Actor} {
			seeded[k] = w.processes.Lookup(k)
		}
	})
	for _, was := range []*event.Event{init, entry} {
		is := seeded[was.Actor]
		if is == nil || is.Session == nil {
			t.Fatalf("%q is not known again, or in no session: %+v", was.Process.Args, is)
		}
		if is.ID != was.Process.ID || !slices.Equal(is.Args, was.Process.Args) || !is.StartWall.Truncate(time.Second).Equal(was.Process.StartWall.Truncate(time.Second)) {
			t.Errorf("%q was %s, is %q %s", was.Process.Args, was.Process.ID, is.Args, is.ID)
		}
		s, now := was.Session, is.Session
		if now.ID != s.ID || now.Root != s.Root || now.RootID != s.RootID || now.Init != s.Init || now.TTY != s.TTY ||
			now.ContainerID != s.ContainerID || !slices.Equal(now.Args, s.Args) {
			t.Errorf("session was %+v, is %+v", s, now)
		}
	}
	entered.ask(t, "/bin/busybox true child")
	child := n.seen.await(t, "a child of the entered shell", execOf("/bin/busybox", "true", "child"))
	n.mustBeNamed(t, child, "lasting")
	if child.Session == nil || child.Session.ID != entry.Session.ID || child.Process.Parent == nil || child.Process.Parent.ID != entry.Process.ID {
		t.Errorf("the child has session %+v, parent %+v", child.Session, child.Process.Parent)
	}
	entered.leave(t)
}
