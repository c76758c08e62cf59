package pipeline

import (
	"bytes"
	"runtime"
	"strings"
	"testing"
	"unsafe"

	"github.com/seawall-security/seawall/agent/container"
	"github.com/seawall-security/seawall/bpf"
	"github.com/seawall-security/seawall/internal/event"
)

// execRecord is a raw record of a process's exec with 8 KiB of argv and a path of 4 KiB.
func execRecord(cgroup uint64, tgid, parent uint32) []byte {
	var w bpf.LayoutProcessExec
	fixed := unsafe.Slice((*byte)(unsafe.Pointer(&w)), unsafe.Sizeof(w))
	path, args := "/"+strings.Repeat("p", 4094), strings.Repeat("a", 8191)+"\x00"
	w.Header.Kind = uint16(event.KindProcessExec)
	w.Header.Size = uint32(len(fixed) + len(path) + len(args))
	w.Header.TimeNs, w.Header.StartNs, w.Header.Tgid, w.Header.Tid = 1000, 10, tgid, tgid
	w.Header.ParentTgid, w.Header.ParentStartNs = parent, 10
	w.Header.CgroupId = cgroup
	w.ArgsBytes = uint32(len(args))
	w.Path.Offset, w.Path.Length = uint32(len(fixed)), uint32(len(path))
	w.Args.Offset, w.Args.Length = uint32(len(fixed)+len(path)), uint32(len(args))
	return append(append(bytes.Clone(fixed), path...), args...)
}

func heap() int64 {
	runtime.GC()
	runtime.GC() // what the first one's finalizers let go
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// A flood of programs with long argv, each in a line of such, must not take more memory
// than pen and process table are given, and what the pen lets go is delivered and booked.
func TestFloodInThePenIsBoundedInMemory(t *testing.T) {
	s := newScene(t, 1<<20)
	const cgroups = 8
	for id := range uint64(cgroups) {
		s.cgroups.states[2+id] = container.Pending
	}
	before := heap()
	const flood = 4000
	worst := int64(0)
	for n := range uint32(flood) {
		s.Record(execRecord(2+uint64(n%cgroups), 100+n, 100+n-cgroups))
		if n%200 == 199 {
			worst = max(worst, heap()-before)
		}
	}
	if worst > testPenBytes+testTableBytes {
		t.Errorf("%d bytes are held, not %d + %d", worst, testPenBytes, testTableBytes)
	}
	l := s.balanced(t)
	t.Logf("%d bytes held at most, %d counted; overflows %v", worst, l.PenBytes, l.PenOverflows)
	if l.PenOverflows["bytes"] == 0 || l.PenOverflows["events"] != 0 || l.PenBytes > testPenBytes {
		t.Errorf("overflows %v, %d bytes", l.PenOverflows, l.PenBytes)
	}
	s.Flush()
	if l := s.balanced(t); l.Kinds[1].Delivered != flood || l.PenBytes != 0 || s.pen.weight.Bytes() != 0 {
		t.Errorf("%d of %d delivered; %d bytes are counted in an empty pen", l.Kinds[1].Delivered, flood, l.PenBytes)
	}
}

// One event that is larger than the pen goes through it.
func TestEventLargerThanThePen(t *testing.T) {
	s := newScene(t, 100)
	s.pen.limits.bytes = 1024
	s.cgroups.states[2] = container.Pending
	s.Record(openRecord(2, 0, "/"+strings.Repeat("p", 4000)))
	if l := s.balanced(t); l.PenOverflows["bytes"] != 1 || l.Kinds[4].Delivered != 1 {
		t.Errorf("%+v", l)
	}
}
