package live

import (
	"context"
	"errors"
	"maps"
	"syscall"
	"testing"
	"time"

	containerd "github.com/containerd/containerd/v2/client"

	"github.com/seawall-security/seawall/agent/probe"
	"github.com/seawall-security/seawall/internal/event"
	"github.com/seawall-security/seawall/internal/rule"
	"github.com/seawall-security/seawall/internal/testcontainerd"
	"github.com/seawall-security/seawall/internal/testpriv"
)

// treeRate is small, so that a test can exceed it.
const treeRate = 100

// nameWait is how long an event waits for its container's name: as by default.
const nameWait = 2 * time.Second

// node is a watched host with a containerd of its own.
type node struct {
	*world
	seen      *recording
	dir       string // the rules of this node are about every file here, too
	daemon    *testcontainerd.Daemon
	namespace string // of containerd, and the name of its top cgroup

	client *containerd.Client
	ctx    context.Context // of requests to containerd
	image  containerd.Image
	before *inside // a container that lives through a restart of containerd
}

// TestNode: what a user gets from a node with containers.
func TestNode(t *testing.T) {
	testpriv.Root(t)
	n := &node{dir: t.TempDir(), daemon: testcontainerd.New(t), namespace: testcontainerd.Namespace(t)}
	n.boot(t, nil)

	part := func(name string, f func(*testing.T, *node)) {
		t.Run(name, func(t *testing.T) { f(t, n) })
	}
	part("without containerd", testWithoutContainerd)
	part("end once", testEndOnce)
	part("argv of 1 MiB", testLongArgs)
	part("paths of any bytes", testBadPaths)
	part("number used again", testNumberUsedAgain)
	part("doors", testDoors)

	n.daemon.Start(t)
	n.connect(t)
	part("short containers", testShortContainers)
	part("burst of containers", testBurst)
	part("sessions", testSessions)
	part("entries", testEntries)
	part("visits", testVisits)
	part("port-forward", testPortForward)
	part("tree of interest", testTreeOfInterest)
	part("download", testDownload)
	part("namespace join", testNamespaceJoin)
	part("forged cgroup", testForgedCgroup)
	part("escape", testEscape)
	part("containerd is killed", testContainerdGone)
	n.daemon.Start(t)
	n.connect(t)
	part("containerd is back", testContainerdBack)
	part("nameless", testNothingNameless)
	part("ledger", func(t *testing.T, n *node) { n.balance(t) })
	part("agent restarts", testAgentRestarts)
}

// boot starts the agent; again after a close. See setup for born.
func (n *node) boot(t *testing.T, born func(*world)) {
	t.Helper()
	n.seen = newRecording()
	n.world = newWorld(t, setup{sink: n.seen, containerd: n.daemon.Address, wait: nameWait, born: born, sensor: func(o *probe.Options) {
		o.TreeRate = treeRate
		if o.Interest.Prefixes == nil {
			o.Interest.Prefixes = map[string]rule.Op{}
		}
		o.Interest.Prefixes[n.dir+"/"] = rule.OpOpenRead | rule.OpOpenWrite | rule.OpUnlink
	}})
	n.settled(t)
}

// connect waits until test and agent speak to the daemon.
func (n *node) connect(t *testing.T) {
	t.Helper()
	n.client, n.ctx = n.daemon.Client(t, n.namespace)
	n.until(t, "the agent is connected", func() bool { return n.runtime.Connection().Connected })
	if n.image == nil {
		n.image = testcontainerd.Import(t, n.ctx, n.client)
	}
	var err error
	if n.image, err = n.client.GetImage(n.ctx, testcontainerd.ImageName); err != nil { // of this client
		t.Fatal(err)
	}
}

// testWithoutContainerd: a node whose containerd is not there (yet) is watched, and the
// agent says what it lacks.
func testWithoutContainerd(t *testing.T, n *node) {
	n.until(t, "the absence is noticed", func() bool { return errors.Is(n.runtime.Connection().Err, syscall.ENOENT) })
	if c := n.runtime.Connection(); c.Connected || c.Connects != 0 {
		t.Errorf("connection is %+v", c)
	}
	pid := run(t, attack(t, n.dir, "noop"))
	ev := n.seen.await(t, "a process of the host", execBy(pid))
	if ev.Container != nil || ev.Session != nil || ev.Process.Unknown {
		t.Errorf("a process of the host has container %+v, session %+v, %+v", ev.Container, ev.Session, ev.Process)
	}
}

// testNothingNameless looks at everything that was recorded: no event of a container of
// this node went without its name, and none of the host's has one.
func testNothingNameless(t *testing.T, n *node) {
	containers := map[uint64]string{} // by cgroup
	for _, ev := range n.seen.all(func(ev *event.Event) bool { return ev.Kind == event.KindCgroupCreate }) {
		c := ev.Payload.(*event.Cgroup)
		if id, ok := n.containerOf(c.Path); ok {
			containers[c.ID] = id
		}
	}
	named := 0
	for _, ev := range n.seen.all(func(*event.Event) bool { return true }) {
		id, inside := containers[ev.CgroupID]
		if !inside {
			continue
		}
		n.mustBeNamed(t, ev, id)
		named++
	}
	if len(containers) < 20 || named < 100 {
		t.Errorf("only %d containers and %d events", len(containers), named)
	}
	t.Logf("%d events of %d containers", named, len(containers))
	for bound, times := range n.stages.Ledger().PenOverflows {
		if times > 0 {
			t.Errorf("the pen overflowed %d times in %s", times, bound)
		}
	}
}

// mustBeNamed compares an event's container with what Create asked for.
func (n *node) mustBeNamed(t *testing.T, ev *event.Event, id string) {
	t.Helper()
	c := ev.Container
	if c == nil {
		t.Errorf("%s of %s in container %s has no container", ev.Kind, ev.Comm, id)
		return
	}
	labels := testcontainerd.Labels()
	labels["nerdctl/name"] = testcontainerd.Name(id)
	if c.ID != id || c.Runtime != "containerd" || c.RuntimeNamespace != n.namespace || c.Name != testcontainerd.Name(id) ||
		c.Image != testcontainerd.ImageName || c.ImageDigest != n.image.Target().Digest.String() || !maps.Equal(c.Labels, labels) {
		t.Errorf("%s of %s in container %s is said to be in %+v", ev.Kind, ev.Comm, id, c)
	}
}
