package live

import (
	"fmt"
	"os"
	"os/exec"
	"testing"

	"github.com/containerd/containerd/v2/pkg/oci"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/seawall-security/seawall/internal/event"
	"github.com/seawall-security/seawall/internal/testcontainerd"
	"github.com/seawall-security/seawall/internal/testpriv"
)

const corePattern = "/proc/sys/kernel/core_pattern"

// escape is what a rule for containers catches. Nothing is written.
const escape = ": >> " + corePattern

// testEscape: a process that leaves its container's cgroup for the host's, and then its
// mount namespace as well, is shown and judged as its container's; a process of the host
// that visits the container's mount namespace stays the host's.
func testEscape(t *testing.T, n *node) {
	busybox := testpriv.Program(t, "busybox")
	bind := func(from, to, how string) specs.Mount {
		return specs.Mount{Type: "bind", Source: from, Destination: to, Options: []string{"rbind", how}}
	}
	inside := n.shell(t, "escaper", oci.WithPrivileged,
		oci.WithMounts([]specs.Mount{bind(n.tree.Mount, "/mnt/cgroup", "rw"), bind("/proc", "/mnt/proc", "ro")}))
	defer inside.remove(t)
	first := n.initOf(t, "escaper")
	root, err := n.tree.Lookup("/")
	if err != nil {
		t.Fatal(err)
	}

	inside.ask(t, "echo $$ > /mnt/cgroup/cgroup.procs")
	inside.ask(t, escape)
	n.mustBeCaught(t, root, false, n.seen.await(t, "the escaper's write", func(ev *event.Event) bool {
		return ev.Actor == first.Actor && openOf(corePattern)(ev)
	}))

	inside.ask(t, fmt.Sprintf("/bin/busybox nsenter --mount=/mnt/proc/%d/ns/mnt %s sh -c '%s; exit 0'", os.Getpid(), busybox, escape))
	escaped := n.seen.await(t, "a shell in the host's mount namespace", execOf(busybox, "sh", "-c", escape+"; exit 0"))
	n.mustBeCaught(t, root, true, n.seen.await(t, "its write", func(ev *event.Event) bool {
		return ev.Actor == escaped.Actor && openOf(corePattern)(ev)
	}))

	pid := run(t, exec.Command(busybox, "nsenter", fmt.Sprintf("--mount=/proc/%d/ns/mnt", first.Actor.TGID), "/bin/busybox", "true", "visitor"))
	visitor := n.seen.await(t, "a visitor", execOf("/bin/busybox", "true", "visitor"))
	if visitor.Actor.TGID != pid || visitor.Container != nil || visitor.Process.HostMount || visitor.Process.Namespaces.Mount != first.Process.Namespaces.Mount {
		t.Errorf("process %d of the host is in container %+v, %+v", pid, visitor.Container, visitor.Process)
	}
}

// mustBeCaught compares what is said of an escaper in a cgroup of the host.
func (n *node) mustBeCaught(t *testing.T, cgroup uint64, hostMount bool, ev *event.Event) {
	t.Helper()
	if ev.CgroupID != cgroup || ev.Process.HostMount != hostMount {
		t.Fatalf("it acts in cgroup %d and in mount namespace %d: this proves nothing", ev.CgroupID, ev.Process.Namespaces.Mount)
	}
	n.mustBeNamed(t, ev, "escaper")
	n.seen.mu.Lock()
	defer n.seen.mu.Unlock()
	for _, d := range n.seen.detections {
		if d.GetRule() == "escape-core-pattern" && d.GetEvent().GetSequence() == ev.Sequence {
			if c := d.GetEvent().GetContainer(); c.GetId() != "escaper" || c.GetName() != testcontainerd.Name("escaper") || c.GetCgroupId() == cgroup {
				t.Errorf("the detection is about container %v", c)
			}
			return
		}
	}
	t.Errorf("%s of %s was not detected", ev.Kind, ev.Process.Name)
}
