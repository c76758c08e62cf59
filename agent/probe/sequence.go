package probe

import (
	"sync/atomic"
	"unsafe"

	"github.com/seawall-security/seawall/bpf"
)

// header is the common head of all records.
type header = struct {
	TimeNs, Sequence, StartNs, ParentStartNs, CgroupID uint64
	Size                                               uint32
	Kind, Flags                                        uint16
	CPU, TGID, TID, ParentTGID                         uint32
}

// The head above is a prefix of the generated layout; these do not compile otherwise.
const (
	_ = uint(unsafe.Offsetof(bpf.LayoutProcessExit{}.Header.ParentTgid) - unsafe.Offsetof(header{}.ParentTGID))
	_ = uint(unsafe.Offsetof(header{}.ParentTGID) - unsafe.Offsetof(bpf.LayoutProcessExit{}.Header.ParentTgid))
)

func headOf(record []byte) *header {
	if len(record) < int(unsafe.Sizeof(header{})) {
		return nil
	}
	return (*header)(unsafe.Pointer(&record[0]))
}

// sequences proves loss in one ring: the kernel numbers the records of every CPU, so
// the highest number less the count of those that came is what is missing. Programs
// that preempt each other may send out of order; that is no loss.
type sequences struct {
	cpus []cpuSequence // by CPU number, fixed at start
}

type cpuSequence struct {
	highest, read atomic.Uint64
}

func (s *sequences) note(record []byte) {
	h := headOf(record)
	if h == nil || int(h.CPU) >= len(s.cpus) {
		return
	}
	cpu := &s.cpus[h.CPU]
	if h.Sequence > cpu.highest.Load() {
		cpu.highest.Store(h.Sequence)
	}
	cpu.read.Add(1)
}

// missing counts records whose numbers were passed over.
func (s *sequences) missing() (n uint64) {
	for i := range s.cpus {
		read := s.cpus[i].read.Load()
		if highest := s.cpus[i].highest.Load(); highest > read {
			n += highest - read
		}
	}
	return n
}
