package probe

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"github.com/cilium/ebpf"

	"github.com/seawall-security/seawall/bpf"
)

// sharedMaps are the maps of bpf/maps.h: made once, handed to every object.
type sharedMaps struct {
	all        map[string]*ebpf.Map
	decisive   *ebpf.Map
	bulk       *ebpf.Map
	ledger     *ebpf.Map
	control    *ebpf.Map
	enterCalls *ebpf.Map
	exitCalls  *ebpf.Map

	controlling sync.Mutex // held from reading the control block to writing it
}

// newSharedMaps makes the maps that the layout object declares.
func newSharedMaps(o Options) (*sharedMaps, error) {
	spec, err := bpf.LoadLayout()
	if err != nil {
		return nil, fmt.Errorf("read object layout: %w", err)
	}
	spec.Maps[bpf.LayoutMapDecisive].MaxEntries = uint32(o.DecisiveBytes)
	spec.Maps[bpf.LayoutMapBulk].MaxEntries = uint32(o.BulkBytes)
	m := &sharedMaps{all: map[string]*ebpf.Map{}}
	for name, s := range spec.Maps {
		if name == bpf.LayoutMapScratch || s.Contents != nil {
			continue // every object has its own
		}
		made, err := ebpf.NewMap(s)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("make map %s: %w", name, err), m.close())
		}
		m.all[name] = made
	}
	m.decisive, m.bulk = m.all[bpf.LayoutMapDecisive], m.all[bpf.LayoutMapBulk]
	m.ledger, m.control = m.all[bpf.LayoutMapLedger], m.all[bpf.LayoutMapControl]
	m.enterCalls, m.exitCalls = m.all[bpf.LayoutMapEnterCalls], m.all[bpf.LayoutMapExitCalls]
	return m, nil
}

func (m *sharedMaps) byName() map[string]*ebpf.Map { return m.all }

func (m *sharedMaps) close() error {
	if m == nil {
		return nil
	}
	var errs []error
	for _, one := range m.all {
		errs = append(errs, one.Close())
	}
	return errors.Join(errs...)
}

// update changes the control block; the kernel sees each field whole or not yet.
func (m *sharedMaps) update(change func(*bpf.LayoutRunControl)) error {
	m.controlling.Lock()
	defer m.controlling.Unlock()
	var c bpf.LayoutRunControl
	if err := m.control.Lookup(uint32(0), &c); err != nil {
		return fmt.Errorf("read control: %w", err)
	}
	change(&c)
	if err := m.control.Put(uint32(0), c); err != nil {
		return fmt.Errorf("write control: %w", err)
	}
	return nil
}

func nameKey(name string) (key bpf.LayoutNameKey) {
	for i := range min(len(name), len(key.Text)) {
		key.Text[i] = int8(name[i])
	}
	return key
}

func suffixKey(suffix string) uint64 {
	var b [8]byte
	copy(b[:], suffix)
	return binary.LittleEndian.Uint64(b[:])
}

// prefixKeys prepares the trie, which answers with the longest match only: so a longer
// prefix carries the operations of the shorter ones it continues.
func prefixKeys[O ~uint64](prefixes map[string]O) map[bpf.LayoutPrefixKey]uint64 {
	cut := map[string]uint64{}
	var key bpf.LayoutPrefixKey
	for p, ops := range prefixes {
		cut[p[:min(len(p), len(key.Text))]] |= uint64(ops)
	}
	keys := map[bpf.LayoutPrefixKey]uint64{}
	for p, ops := range cut {
		for shorter, more := range cut {
			if len(shorter) < len(p) && p[:len(shorter)] == shorter {
				ops |= more
			}
		}
		key := bpf.LayoutPrefixKey{Bits: uint32(len(p) * 8)}
		for i := range len(p) {
			key.Text[i] = int8(p[i])
		}
		keys[key] = ops
	}
	return keys
}
