package probe

import (
	"github.com/seawall-security/seawall/bpf"
	"github.com/seawall-security/seawall/internal/event"
)

// Unmark takes a mark back that came after its process had ended: the kernel removes the
// others itself.
func (s *Sensor) Unmark(k event.Key) {
	tree := s.maps.all[bpf.LayoutMapTree]
	var entry bpf.LayoutTreeEntry
	if tree.Lookup(k.TGID, &entry) == nil && entry.StartNs == uint64(k.Start) {
		_ = tree.Delete(k.TGID)
	}
}

// Mark adds a process to the kernel's tree of interest: what it and its coming children
// do is admitted from now on, under the tree's rate. A full table costs nothing but the
// mark.
func (s *Sensor) Mark(k event.Key, reasons event.Tree) {
	tree := s.maps.all[bpf.LayoutMapTree]
	var entry bpf.LayoutTreeEntry
	known := tree.Lookup(k.TGID, &entry) == nil
	if known && entry.StartNs > uint64(k.Start) {
		return
	}
	if !known || entry.StartNs != uint64(k.Start) {
		entry = bpf.LayoutTreeEntry{StartNs: uint64(k.Start), RootStartNs: uint64(k.Start)}
	}
	entry.Reasons |= uint32(reasons)
	_ = tree.Put(k.TGID, entry)
}
