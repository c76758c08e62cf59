package probe

import (
	"encoding/binary"
	"errors"
	"fmt"

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

// update changes the control block; the kernel sees it whole or not yet.
func (m *sharedMaps) update(change func(*bpf.LayoutRunControl)) error {
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

// fill writes the interest of the rules into the kernel's maps. Names and suffixes are
// cut to the size of their keys and prefixes likewise: the kernel then admits too much,
// never too little.
func (m *sharedMaps) fill(o Options) error {
	i := o.Interest
	names := map[bpf.LayoutNameKey]uint64{}
	for name, ops := range i.Names {
		names[nameKey(name)] |= uint64(ops)
	}
	for key, ops := range names {
		if err := m.all[bpf.LayoutMapInterestNames].Put(key, ops); err != nil {
			return fmt.Errorf("write interest in names: %w", err)
		}
	}
	var hasSuffix, hasPrefix uint64
	for suffix, ops := range i.Suffixes {
		if err := m.all[bpf.LayoutMapInterestSuffix].Put(suffixKey(suffix), uint64(ops)); err != nil {
			return fmt.Errorf("write interest in suffix %q: %w", suffix, err)
		}
		hasSuffix |= uint64(ops)
	}
	for key, ops := range prefixKeys(o.Interest.Prefixes) {
		if err := m.all[bpf.LayoutMapInterestPrefix].Put(key, ops); err != nil {
			return fmt.Errorf("write interest in prefixes: %w", err)
		}
		hasPrefix |= ops
	}
	for port, ops := range i.Ports {
		if err := m.all[bpf.LayoutMapInterestPorts].Put(uint32(port), uint64(ops)); err != nil {
			return fmt.Errorf("write interest in port %d: %w", port, err)
		}
	}
	marks := map[bpf.LayoutNameKey]uint32{}
	for name, tree := range i.Marks {
		marks[nameKey(name)] |= uint32(tree)
	}
	for key, tree := range marks {
		if err := m.all[bpf.LayoutMapMarks].Put(key, tree); err != nil {
			return fmt.Errorf("write marks: %w", err)
		}
	}
	return m.update(func(c *bpf.LayoutRunControl) {
		c.Any, c.HasSuffix, c.HasPrefix = uint64(i.Any), hasSuffix, hasPrefix
		if o.Unfiltered {
			c.Unfiltered = 1
		}
	})
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
