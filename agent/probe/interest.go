package probe

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/seawall-security/seawall/bpf"
	"github.com/seawall-security/seawall/internal/rule"
)

// Switch makes the kernel admit what next asks for in the place of what was asked for
// before. While between runs it admits both, so that who reads records can turn from the
// old rules to the new ones without missing an event that either of them wants. If the
// kernel refuses, or between does, the old interest is in force again and the error says
// why. Processes that were marked already stay in the tree of interest.
func (s *Sensor) Switch(next rule.Interest, between func() error) error {
	s.switching.Lock()
	defer s.switching.Unlock()
	old, both := newAdmission(s.interest), s.interest.Union(next)
	wide := newAdmission(both)
	err := s.maps.widen(old, wide)
	if err == nil {
		err = between()
	}
	if err != nil {
		return errors.Join(err, s.maps.narrow(wide, old))
	}
	if err := s.maps.narrow(wide, newAdmission(next)); err != nil {
		// The new rules are in force; the kernel sends them more than they ask for.
		s.interest = both
		s.log.Warn("what only the former rules asked for is admitted until the next switch", zap.Error(err))
		return nil
	}
	s.interest = next
	return nil
}

// admission is an interest as the kernel's maps hold it. Names are cut to the size of
// their keys and prefixes likewise: the kernel then admits too much, never too little.
type admission struct {
	names    map[bpf.LayoutNameKey]uint64
	suffixes map[uint64]uint64
	prefixes map[bpf.LayoutPrefixKey]uint64
	ports    map[uint32]uint64
	marks    map[bpf.LayoutNameKey]uint32

	any, hasSuffix, hasPrefix uint64
}

func newAdmission(i rule.Interest) admission {
	a := admission{
		names: map[bpf.LayoutNameKey]uint64{}, suffixes: map[uint64]uint64{}, prefixes: prefixKeys(i.Prefixes),
		ports: map[uint32]uint64{}, marks: map[bpf.LayoutNameKey]uint32{}, any: uint64(i.Any),
	}
	for name, ops := range i.Names {
		a.names[nameKey(name)] |= uint64(ops)
	}
	for suffix, ops := range i.Suffixes {
		a.suffixes[suffixKey(suffix)] |= uint64(ops)
		a.hasSuffix |= uint64(ops)
	}
	for _, ops := range a.prefixes {
		a.hasPrefix |= ops
	}
	for port, ops := range i.Ports {
		a.ports[uint32(port)] = uint64(ops)
	}
	for name, tree := range i.Marks {
		a.marks[nameKey(name)] |= uint32(tree)
	}
	return a
}

// widen adds to the maps what to has and from has not; to covers from. At every moment
// the kernel admits at least what from asks for: a key that is wanted by both is never
// away, and a new prefix, which hides shorter ones, has their operations from the start.
func (m *sharedMaps) widen(from, to admission) error {
	if err := m.write(from, to); err != nil {
		return err
	}
	return m.turn(to)
}

// narrow takes out of the maps what from has and to has not; from covers to, and the
// maps may lack some of it. At every moment the kernel admits at least what to asks for.
func (m *sharedMaps) narrow(from, to admission) error {
	if err := m.turn(to); err != nil {
		return err
	}
	return m.write(from, to)
}

func (m *sharedMaps) turn(a admission) error {
	return m.update(func(c *bpf.LayoutRunControl) { c.Any, c.HasSuffix, c.HasPrefix = a.any, a.hasSuffix, a.hasPrefix })
}

func (m *sharedMaps) write(from, to admission) error {
	for _, part := range []struct {
		what  string
		write func() error
	}{
		{"names", func() error { return change(m.all[bpf.LayoutMapInterestNames], from.names, to.names) }},
		{"suffixes", func() error { return change(m.all[bpf.LayoutMapInterestSuffix], from.suffixes, to.suffixes) }},
		{"prefixes", func() error { return change(m.all[bpf.LayoutMapInterestPrefix], from.prefixes, to.prefixes) }},
		{"ports", func() error { return change(m.all[bpf.LayoutMapInterestPorts], from.ports, to.ports) }},
		{"marks", func() error { return change(m.all[bpf.LayoutMapMarks], from.marks, to.marks) }},
	} {
		err := part.write()
		if errors.Is(err, unix.E2BIG) || errors.Is(err, unix.ENOSPC) {
			return fmt.Errorf("write interest in %s: with the rules in force it is more than the kernel's map holds: %w", part.what, err)
		}
		if err != nil {
			return fmt.Errorf("write interest in %s: %w", part.what, err)
		}
	}
	return nil
}

// change turns what a map holds of from into to, touching nothing that is the same in
// both. Where it fails it has done a part. Deletes come first: a full trie of an older
// kernel replaces nothing.
//
// The kernel replaces the value of a hash's key by the element that the replacement
// before has freed. A program that was switched away from between finding a key and
// reading its value would then read another key's: so each replacement waits until no
// program can hold what the last one freed.
func change[K, V comparable](m *ebpf.Map, from, to map[K]V) error {
	for key := range from {
		if _, ok := to[key]; ok {
			continue
		}
		if err := m.Delete(key); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return err
		}
	}
	for key, value := range to {
		before, there := from[key]
		if there && before == value {
			continue
		}
		if there {
			waitForPrograms()
		}
		if err := m.Put(key, value); err != nil {
			return err
		}
	}
	return nil
}

// waitForPrograms returns when every BPF program that runs now has ended: membarrier
// waits for all readers of RCU, which programs are. Kernels with nohz_full refuse; then
// the chance is taken, as it needs two values changed within a few instructions.
func waitForPrograms() {
	_, _, _ = unix.Syscall(unix.SYS_MEMBARRIER, membarrierGlobal, 0, 0)
}

// membarrierGlobal is MEMBARRIER_CMD_GLOBAL of linux/membarrier.h.
const membarrierGlobal = 1
