package probe

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

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
// do is admitted from now on, under the tree's rate. It fails with E2BIG if the tree is
// full, which costs nothing but the mark, and with ESRCH if the mark of a later process
// of this number shows that this one is gone.
func (s *Sensor) Mark(k event.Key, reasons event.Tree) error {
	return mark(s.maps.all[bpf.LayoutMapTree], k, reasons)
}

func mark(tree *ebpf.Map, k event.Key, reasons event.Tree) error {
	var entry bpf.LayoutTreeEntry
	err := tree.Lookup(k.TGID, &entry)
	switch {
	case err == nil && entry.StartNs > uint64(k.Start):
		return fmt.Errorf("mark process %d: its number is used again: %w", k.TGID, unix.ESRCH)
	case err == nil && entry.StartNs == uint64(k.Start):
	case err == nil, errors.Is(err, ebpf.ErrKeyNotExist):
		entry = bpf.LayoutTreeEntry{StartNs: uint64(k.Start), RootStartNs: uint64(k.Start)}
	default:
		return fmt.Errorf("mark process %d: %w", k.TGID, err)
	}
	entry.Reasons |= uint32(reasons)
	if err := tree.Put(k.TGID, entry); err != nil {
		return fmt.Errorf("mark process %d: %w", k.TGID, err)
	}
	return nil
}
