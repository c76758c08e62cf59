package pipeline

import (
	"bytes"
	"testing"
	"time"
	"unsafe"

	"github.com/seawall-security/seawall/agent/container"
	"github.com/seawall-security/seawall/bpf"
	"github.com/seawall-security/seawall/internal/event"
)

const (
	hostMount = 100
	podMount  = 200
)

// actor is a process as its records show it.
type actor struct {
	tgid, mount uint32
	cgroup      uint64
}

// fork is the record of an actor making another.
func (a actor) fork(child actor) []byte {
	var w bpf.LayoutProcessFork
	fixed := unsafe.Slice((*byte)(unsafe.Pointer(&w)), unsafe.Sizeof(w))
	w.Header.Kind, w.Header.Size = uint16(event.KindProcessFork), uint32(len(fixed))
	w.Header.TimeNs, w.Header.StartNs, w.Header.Tgid, w.Header.Tid = 900, 10, a.tgid, a.tgid
	w.Header.CgroupId, w.Header.MountNs = a.cgroup, a.mount
	w.ChildTgid, w.ChildStartNs, w.ChildCgroupId = child.tgid, 10, child.cgroup
	w.ChildParentTgid, w.ChildParentStartNs = a.tgid, 10
	return bytes.Clone(fixed)
}

// open is the record of an actor opening a file.
func (a actor) open(path string) []byte {
	record := openRecord(a.cgroup, 0, path)
	h := (*bpf.LayoutFileOpen)(unsafe.Pointer(unsafe.SliceData(record)))
	h.Header.Tgid, h.Header.Tid, h.Header.MountNs = a.tgid, a.tgid, a.mount
	return record
}

const (
	hostCgroup = 1
	podCgroup  = 2
)

// inPod has a runtime's second stage, in the container's namespaces and cgroup, make the
// container's first process.
func inPod(s *scene) actor {
	stage, first := actor{20, podMount, podCgroup}, actor{21, podMount, podCgroup}
	s.Record(stage.fork(first))
	return first
}

func TestWhoLeavesItsContainersCgroupIsStillTheContainers(t *testing.T) {
	for name, to := range map[string]actor{
		"to the host's cgroup":                  {21, podMount, hostCgroup},
		"to the host's mount namespace as well": {21, hostMount, hostCgroup},
		"to a cgroup that was not seen":         {21, podMount, 77},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t, 100)
			s.cgroups.states[podCgroup] = container.Known
			inPod(s)
			s.Record(to.open("/moved"))
			child := actor{22, to.mount, to.cgroup}
			s.Record(to.fork(child))
			s.Record(child.open("/child"))
			s.expect(t, "c2 /moved", "c2 /child")
			if l := s.balanced(t); l.ByLineage != 3 || l.Strangers != 0 {
				t.Errorf("%d events by lineage, %d of strangers", l.ByLineage, l.Strangers)
			}
		})
	}
}

func TestOthersOutsideAreTheHosts(t *testing.T) {
	for name, p := range map[string]actor{
		"the runtime and its monitor":                   {30, hostMount, hostCgroup},
		"a service in a mount namespace of its own":     {30, 300, hostCgroup},
		"a host's process in a container's mount space": {30, podMount, hostCgroup},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t, 100)
			s.cgroups.states[podCgroup] = container.Known
			inPod(s)
			s.Record(p.open("/a"))
			p.mount = hostMount // and back
			s.Record(p.open("/b"))
			s.expect(t, "host /a", "host /b")
		})
	}
}

// A runtime's first stages are in the container's cgroup before they are in its namespaces.
func TestRuntimesStageHasNoHome(t *testing.T) {
	s := newScene(t, 100)
	s.cgroups.states[podCgroup] = container.Known
	s.Record(actor{20, hostMount, podCgroup}.fork(actor{21, hostMount, podCgroup}))
	s.Record(actor{21, hostMount, hostCgroup}.open("/back"))
	s.expect(t, "host /back")
}

// Its container has no name yet: the event waits with those of the container, in order.
func TestWhoLeavesEarlyWaitsForItsContainersName(t *testing.T) {
	s := newScene(t, 100)
	s.cgroups.states[podCgroup] = container.Pending
	p := inPod(s)
	s.Record(p.open("/inside"))
	p.cgroup = hostCgroup
	s.Record(p.open("/outside"))
	s.Idle()
	s.expect(t)
	s.cgroups.resolve(podCgroup, container.Known)
	s.Record(p.open("/later")) // its name is known, but the others go first
	s.Idle()
	s.expect(t, "c2 /inside", "c2 /outside", "c2 /later")
	s.balanced(t)
}

// A forged container is the host's, and so is who leaves it.
func TestRefutedHomeIsNone(t *testing.T) {
	s := newScene(t, 100)
	s.cgroups.states[podCgroup] = container.Pending
	p := inPod(s)
	p.cgroup = hostCgroup
	s.Record(p.open("/a"))
	s.cgroups.resolve(podCgroup, container.Host)
	s.Idle()
	s.expect(t, "host /a")
}

func TestUnseenCgroupIsNeverSilentlyTheHosts(t *testing.T) {
	s := newScene(t, 100)
	s.cgroups.states[podCgroup] = container.Known
	s.cgroups.below = map[uint64]uint64{50: podCgroup, 51: hostCgroup}
	s.Record(actor{40, podMount, 50}.open("/below a container"))
	s.Record(actor{41, podMount, 51}.open("/below the host"))
	s.expect(t, "c2 /below a container", "host /below the host")

	s.Record(actor{42, podMount, 52}.open("/in namespaces of its own"))
	s.Record(actor{43, hostMount, 53}.open("/in the host's"))
	s.expect(t)
	s.now = s.now.Add(time.Second)
	s.Idle()
	s.expect(t, " /in namespaces of its own", "host /in the host's")
	if l := s.balanced(t); l.Strangers != 1 {
		t.Errorf("%d events of strangers", l.Strangers)
	}
}

func TestEventsByLineageAllocateNothing(t *testing.T) {
	s := newScene(t, 100)
	s.cgroups.states[podCgroup] = container.Known
	p := inPod(s)
	p.cgroup = hostCgroup
	record := p.open("/etc/hostname")
	s.options.Sink = discard{}
	s.Record(record)
	known := testing.AllocsPerRun(200, func() { _, _ = s.cgroups.Lookup(podCgroup) }) // of the test's own table
	if n := testing.AllocsPerRun(200, func() { s.Record(record) }); n > known {
		t.Errorf("%v allocations for an event that no rule wants", n-known)
	}
}
