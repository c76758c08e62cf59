package spool

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"slices"
	"sync"
	"syscall"
	"testing"
)

// disk is a folder in memory that can fail and can lose its power: then each sector, size
// and name that was not synced is, at random, as before or as after.
type disk struct {
	t      *testing.T
	random *rand.Rand

	mu      sync.Mutex
	names   map[string]*inode
	synced  map[string]*inode // what the folder's names are after a power cut
	owned   bool
	space   int64                            // bytes there are; 0 is no bound
	fail    func(op operation, n int) error  // asked before each operation, with its number
	short   func(op operation, size int) int // how much of a write succeeds
	ops     int
	cutAt   int           // number of the operation during which the power goes
	dead    chan struct{} // closed then
	after   *disk         // and what is found later
	reads   int64
	noAlloc bool
	greedy  bool // somebody else takes all that a removal frees
}

type operation string

const (
	opWrite    operation = "write"
	opSync     operation = "sync"
	opCreate   operation = "create"
	opRename   operation = "rename"
	opRemove   operation = "remove"
	opSyncDir  operation = "syncdir"
	opAllocate operation = "allocate"
	opTruncate operation = "truncate"
	opRead     operation = "read"
)

const sector = 512

type inode struct {
	data   []byte
	stable []byte
	dirty  map[int]bool // sectors that differ
}

var errPower = errors.New("no power")

func newDisk(t *testing.T, seed uint64) *disk {
	return &disk{
		t: t, random: rand.New(rand.NewPCG(seed, 1)), dead: make(chan struct{}),
		names: map[string]*inode{}, synced: map[string]*inode{},
	}
}

// begin is called at the start of each operation, with the mutex held.
func (d *disk) begin(op operation) error {
	select {
	case <-d.dead:
		return errPower
	default:
	}
	d.ops++
	if d.ops == d.cutAt {
		d.cut()
		return errPower
	}
	if d.fail != nil {
		return d.fail(op, d.ops)
	}
	return nil
}

// cut takes the power away before an operation.
func (d *disk) cut() {
	after := newDisk(d.t, d.random.Uint64())
	all := map[string]bool{}
	for name := range d.names {
		all[name] = true
	}
	for name := range d.synced {
		all[name] = true
	}
	names := make([]string, 0, len(all))
	for name := range all {
		names = append(names, name)
	}
	slices.Sort(names)
	lost := d.random.IntN(3) == 0 // all that was not synced, without exception
	kept := map[*inode]*inode{}
	for _, name := range names {
		node := d.synced[name]
		if !lost && d.random.IntN(2) == 0 {
			node = d.names[name]
		}
		if node == nil {
			continue
		}
		if kept[node] == nil {
			kept[node] = node.afterCut(d.random, lost)
		}
		after.names[name], after.synced[name] = kept[node], kept[node]
	}
	d.after = after
	close(d.dead)
}

func (n *inode) afterCut(random *rand.Rand, lost bool) *inode {
	data := slices.Clone(n.stable)
	if !lost {
		if random.IntN(2) == 0 {
			data = resize(data, len(n.data))
		}
		for s := range n.dirty {
			if from := s * sector; random.IntN(2) == 0 && from < len(data) && from < len(n.data) {
				copy(data[from:min(from+sector, len(data))], n.data[from:])
			}
		}
	}
	return &inode{data: data, stable: slices.Clone(data), dirty: map[int]bool{}}
}

func resize(b []byte, n int) []byte {
	if n <= len(b) {
		return b[:n]
	}
	return append(b, make([]byte, n-len(b))...)
}

func (d *disk) used() (n int64) {
	seen := map[*inode]bool{}
	for _, node := range d.names {
		if !seen[node] {
			n += int64(len(node.data))
		}
		seen[node] = true
	}
	return n
}

func (d *disk) grow(node *inode, size int64) error {
	if more := size - int64(len(node.data)); more > 0 {
		if d.space > 0 && d.used()+more > d.space {
			return syscall.ENOSPC
		}
		for s := len(node.data) / sector; s <= int(size)/sector; s++ {
			node.dirty[s] = true
		}
		node.data = resize(node.data, int(size))
	}
	return nil
}

type ownership struct{ d *disk }

func (o ownership) Close() error {
	o.d.mu.Lock()
	defer o.d.mu.Unlock()
	o.d.owned = false
	return nil
}

func (d *disk) Lock() (io.Closer, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.owned {
		return nil, ErrOwned
	}
	d.owned = true
	return ownership{d}, nil
}

func (d *disk) List() ([]string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var names []string
	for name := range d.names {
		names = append(names, name)
	}
	slices.Sort(names)
	return names, nil
}

func (d *disk) Create(name string) (file, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.begin(opCreate); err != nil {
		return nil, err
	}
	if d.names[name] != nil {
		return nil, fs.ErrExist
	}
	d.names[name] = &inode{dirty: map[int]bool{}}
	return &diskHandle{d, d.names[name]}, nil
}

func (d *disk) Open(name string) (file, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.names[name] == nil {
		return nil, fs.ErrNotExist
	}
	return &diskHandle{d, d.names[name]}, nil
}

func (d *disk) Rename(from, to string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.begin(opRename); err != nil {
		return err
	}
	if d.names[from] == nil {
		return fs.ErrNotExist
	}
	d.names[to] = d.names[from]
	delete(d.names, from)
	return nil
}

func (d *disk) Remove(name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.begin(opRemove); err != nil {
		return err
	}
	if d.names[name] == nil {
		return fs.ErrNotExist
	}
	delete(d.names, name)
	if d.greedy {
		d.space = d.used()
	}
	return nil
}

func (d *disk) Sync() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.begin(opSyncDir); err != nil {
		return err
	}
	d.synced = map[string]*inode{}
	for name, node := range d.names {
		d.synced[name] = node
	}
	return nil
}

type diskHandle struct {
	d    *disk
	node *inode
}

func (h *diskHandle) Close() error { return nil }

func (h *diskHandle) Size() (int64, error) {
	h.d.mu.Lock()
	defer h.d.mu.Unlock()
	return int64(len(h.node.data)), nil
}

func (h *diskHandle) ReadAt(b []byte, offset int64) (int, error) {
	h.d.mu.Lock()
	defer h.d.mu.Unlock()
	if err := h.d.begin(opRead); err != nil {
		return 0, err
	}
	h.d.reads += int64(len(b))
	return bytes.NewReader(h.node.data).ReadAt(b, offset)
}

func (h *diskHandle) WriteAt(b []byte, offset int64) (int, error) {
	h.d.mu.Lock()
	defer h.d.mu.Unlock()
	err := h.d.begin(opWrite)
	size := len(b)
	if err != nil {
		size = h.d.random.IntN(len(b) + 1) // a failed write has written something
	} else if h.d.short != nil {
		size = h.d.short(opWrite, size)
	}
	if grown := h.d.grow(h.node, offset+int64(size)); grown != nil {
		return 0, grown
	}
	copy(h.node.data[offset:], b[:size])
	for s := int(offset) / sector; s <= (int(offset)+size)/sector; s++ {
		h.node.dirty[s] = true
	}
	return size, err
}

func (h *diskHandle) Allocate(size int64) error {
	h.d.mu.Lock()
	defer h.d.mu.Unlock()
	if h.d.noAlloc {
		return errors.ErrUnsupported
	}
	if err := h.d.begin(opAllocate); err != nil {
		return err
	}
	return h.d.grow(h.node, size)
}

func (h *diskHandle) Truncate(size int64) error {
	h.d.mu.Lock()
	defer h.d.mu.Unlock()
	if err := h.d.begin(opTruncate); err != nil {
		return err
	}
	h.node.data = resize(h.node.data, int(size))
	return nil
}

// Sync that fails does as Linux does: some pages may have reached the disk, none is dirty
// any more, and the next Sync will not write them.
func (h *diskHandle) Sync() error {
	h.d.mu.Lock()
	defer h.d.mu.Unlock()
	err := h.d.begin(opSync)
	if err != nil {
		h.node.stable = h.node.afterCut(h.d.random, false).data
	} else {
		next := resize(slices.Clone(h.node.stable), len(h.node.data))
		for s := range h.node.dirty {
			if from := s * sector; from < len(next) {
				copy(next[from:min(from+sector, len(next))], h.node.data[from:])
			}
		}
		h.node.stable = next
	}
	clear(h.node.dirty)
	return err
}
