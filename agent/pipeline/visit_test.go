package pipeline

import (
	"bytes"
	"slices"
	"testing"
	"time"
	"unsafe"

	"github.com/google/go-cmp/cmp"

	"github.com/seawall-security/seawall/agent/container"
	"github.com/seawall-security/seawall/bpf"
	"github.com/seawall-security/seawall/internal/event"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

// entries are the events that are entries: whom they belong to, and what they entered.
type entries []string

func (s *entries) Event(ev *event.Event) {
	name := func(c *event.Container) string {
		if c == nil {
			return "host"
		}
		return c.ID
	}
	if ev.Entry {
		*s = append(*s, name(ev.Container)+" into "+name(ev.EnteredContainer))
	}
}

// first has a runtime's shim start the first program of a container.
func (a actor) first(s *scene) {
	a.comes(s, 1<<0|1<<1) // EXEC_ENTERED, EXEC_INIT
}

// comes has it start a program in one.
func (a actor) comes(s *scene, flags uint32) {
	shim := actor{20, hostMount, hostCgroup}
	fork := shim.fork(a)
	copyComm(&(*bpf.LayoutProcessFork)(unsafe.Pointer(unsafe.SliceData(fork))).Header.Comm, "containerd-shim")
	s.Record(fork)

	var w bpf.LayoutProcessExec
	fixed := unsafe.Slice((*byte)(unsafe.Pointer(&w)), unsafe.Sizeof(w))
	h := &w.Header
	h.Kind, h.Size = uint16(event.KindProcessExec), uint32(len(fixed))
	h.TimeNs, h.StartNs, h.Tgid, h.Tid = 950, 10, a.tgid, a.tgid
	h.ParentTgid, h.ParentStartNs = shim.tgid, 10
	h.CgroupId, h.MountNs = a.cgroup, a.mount
	w.Namespaces.Mount = a.mount
	w.Flags = flags
	s.Record(bytes.Clone(fixed))
}

func copyComm(to *[16]int8, name string) {
	for i := range name {
		to[i] = int8(name[i])
	}
}

// An entry past the runtime waits for the name of the container it goes into, and from
// then on the kernel follows who came and what they run.
func TestVisitWaitsForTheContainersName(t *testing.T) {
	for name, resolve := range map[string]func(*scene){
		"told":  func(s *scene) { s.cgroups.resolve(podCgroup, container.Known) },
		"never": func(s *scene) { s.now = s.now.Add(time.Second) },
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t, 100)
			seen := &entries{}
			s.options.Sink = Tee(s.sink, sinkOf{seen})
			s.cgroups.states[podCgroup] = container.Pending
			actor{21, podMount, podCgroup}.first(s)
			visitor := actor{30, podMount, hostCgroup}
			s.Record(visitor.open("/inside"))
			s.Record(visitor.open("/waits for nobody"))
			child := actor{31, podMount, hostCgroup}
			s.Record(visitor.fork(child))
			s.Idle()
			s.expect(t, "host /waits for nobody")
			resolve(s)
			s.Idle()
			s.expect(t, "host /inside")
			want := entries{"c2 into host", "host into c2"}
			if name == "never" {
				want = entries{"settled2 into host", "host into settled2"}
			}
			if diff := cmp.Diff(want, *seen); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			for _, tgid := range []uint32{30, 31} {
				if !slices.Contains(s.marked, event.Key{TGID: tgid, Start: 10}) {
					t.Errorf("%d is not followed: %v", tgid, s.marked)
				}
			}
			s.balanced(t)
		})
	}
}

// sinkOf takes events only.
type sinkOf struct{ *entries }

func (sinkOf) Detection(*sensorv1.Detection) {}
