package probe

import (
	"github.com/seawall-security/seawall/bpf"
	"github.com/seawall-security/seawall/internal/event"
)

// Mark adds a process to the kernel's tree of interest because a rule has hit it: what
// it and its coming children do is admitted from now on, under the tree's rate. A full
// table or a process that is gone costs nothing but the mark.
func (s *Sensor) Mark(k event.Key) {
	tree := s.maps.all[bpf.LayoutMapTree]
	var entry bpf.LayoutTreeEntry
	if tree.Lookup(k.TGID, &entry) != nil || entry.StartNs != uint64(k.Start) {
		entry = bpf.LayoutTreeEntry{StartNs: uint64(k.Start), RootStartNs: uint64(k.Start)}
	}
	entry.Reasons |= uint32(event.TreeRule)
	_ = tree.Put(k.TGID, entry)
}
