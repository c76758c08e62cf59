// Package origin remembers who wrote a file, so that a program can be told from
// where it came when it runs.
//
// A [Table] belongs to one goroutine, the pipeline's reader; no method but
// [Table.Stats] may be called by another. It works on either side of the process
// stage:
//
//   - [Table.Attach] before it: sets Origin on the files of an event, as things
//     stood before the event. For an exec that is the executable, whose Origin the
//     process stage copies into the process it publishes.
//   - [Table.Record] after it: takes the event's process for the writer of the
//     file it opened for write, created or renamed, and a program that starts for
//     that of the files its output and errors go to.
//
// An [event.Origin] never changes once published. Its Process is a copy that says
// who the writer was and no more (id, key, names, file, cgroup): it keeps no
// ancestors alive, and of the arguments only what a program's name follows from.
//
// Files are known by device and inode. An inode number may come back for another
// file; the entry goes when the last link is removed, and the new file's creation
// replaces it. Where the kernel's filters hide both, an old writer is shown for
// the new file until it is written. Memory is bounded in entries and bytes: the
// file not written or asked for longest goes first.
package origin

import (
	"strings"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/seawall-security/seawall/internal/event"
)

// Defaults of [Limits].
const (
	DefaultFiles = 16384
	// DefaultBytes is twice what DefaultFiles take with paths of usual length, each
	// written by a process of its own.
	DefaultBytes = 32 << 20
)

// Limits bound the table; zero fields take the defaults.
type Limits struct {
	Files int
	Bytes int
}

// Stats are the table's present size and its counts since it was made.
type Stats struct {
	Files int64
	// Evicted counts files pushed out by a bound, Removed those whose last link went.
	Evicted, Removed uint64
}

type key struct {
	device uint32
	inode  uint64
}

// entry is the table's place for one file, in a list by time of use.
type entry struct {
	key        key
	origin     *event.Origin
	bytes      int
	prev, next *entry
}

// Table holds the writers of files. See the package documentation for who may
// call it.
type Table struct {
	limits Limits
	files  map[key]*entry
	// use is the list's fixed node: next is the entry used last, prev the one not
	// used for longest.
	use   entry
	bytes int
	// writer is the copy made of the last process that wrote: most files come in
	// runs from one process, which then share it.
	writer writer

	size             atomic.Int64
	evicted, removed atomic.Uint64
}

type writer struct {
	of   *event.Process
	copy *event.Process
}

// New returns an empty table.
func New(limits Limits) *Table {
	if limits.Files <= 0 {
		limits.Files = DefaultFiles
	}
	if limits.Bytes <= 0 {
		limits.Bytes = DefaultBytes
	}
	t := &Table{limits: limits, files: make(map[key]*entry)}
	t.use.next, t.use.prev = &t.use, &t.use
	return t
}

// Wrote takes p for the writer of file. Files that nobody could run or read back
// (devices, pipes, the kernel's own file systems) are not remembered.
func (t *Table) Wrote(file *event.File, p *event.Process, at event.Boot, wall time.Time) {
	if p == nil || !lasting(file) {
		return
	}
	k := key{file.Device, file.Inode}
	e := t.files[k]
	if e == nil {
		e = &entry{key: k}
		t.files[k] = e
		t.link(e)
	} else {
		t.touch(e)
	}
	t.bytes -= e.bytes
	e.origin = &event.Origin{Process: t.identity(p), Wall: wall, Time: at}
	e.bytes = size(e.origin)
	t.bytes += e.bytes
	for len(t.files) > t.limits.Files || t.bytes > t.limits.Bytes && len(t.files) > 1 {
		t.remove(t.use.prev)
		t.evicted.Add(1)
	}
	t.size.Store(int64(len(t.files)))
}

// Renamed keeps the file's writer: who moves a file did not write it, and a
// download must not lose its origin by being moved. A file whose writer was not
// seen has its mover for origin.
func (t *Table) Renamed(file *event.File, p *event.Process, at event.Boot, wall time.Time) {
	if t.Lookup(file.Device, file.Inode) == nil {
		t.Wrote(file, p, at, wall)
	}
}

// Removed forgets a file of which one of links names went.
func (t *Table) Removed(file *event.File) {
	if file.Links > 1 {
		return
	}
	if e := t.files[key{file.Device, file.Inode}]; e != nil {
		t.remove(e)
		t.removed.Add(1)
		t.size.Store(int64(len(t.files)))
	}
}

// Lookup returns who wrote a file; nil: not known.
func (t *Table) Lookup(device uint32, inode uint64) *event.Origin {
	if inode == 0 {
		return nil
	}
	e := t.files[key{device, inode}]
	if e == nil {
		return nil
	}
	t.touch(e)
	return e.origin
}

// Stats may be called by any goroutine.
func (t *Table) Stats() Stats {
	return Stats{Files: t.size.Load(), Evicted: t.evicted.Load(), Removed: t.removed.Load()}
}

// identity is the copy of p that origins hold.
func (t *Table) identity(p *event.Process) *event.Process {
	if t.writer.of == p {
		return t.writer.copy
	}
	path := strings.Clone(p.Exe.Path)
	identity := &event.Process{
		ID: p.ID, Key: p.Key, Coarse: p.Coarse, ParentKey: p.ParentKey,
		StartWall: p.StartWall, ExecTime: p.ExecTime,
		Comm: p.Comm, Name: event.BaseName(path), CgroupID: p.CgroupID, Unknown: p.Unknown,
	}
	identity.Exe = p.Exe
	identity.Exe.Path, identity.Exe.Origin = path, nil
	if program := p.Program(); program != p.Name {
		identity.Args = []string{strings.Clone(program[:min(len(program), maxProgramBytes)])}
	}
	t.writer = writer{of: p, copy: identity}
	return identity
}

// size estimates what an entry keeps alive; a process shared by several files is
// counted for each.
func size(o *event.Origin) int {
	const fixed = int(unsafe.Sizeof(entry{})+unsafe.Sizeof(event.Origin{})+unsafe.Sizeof(event.Process{})) + mapSlot
	bytes := fixed + len(o.Process.ID) + len(o.Process.Comm) + len(o.Process.Exe.Path)
	for _, arg := range o.Process.Args {
		bytes += int(unsafe.Sizeof(arg)) + len(arg)
	}
	return bytes
}

// maxProgramBytes bounds the name of a program that its arguments tell.
const maxProgramBytes = 255

// mapSlot is about what one entry of the map costs at its usual load.
const mapSlot = 48

func (t *Table) link(e *entry) {
	e.prev, e.next = &t.use, t.use.next
	e.prev.next, e.next.prev = e, e
}

func (t *Table) touch(e *entry) {
	if t.use.next == e {
		return
	}
	e.prev.next, e.next.prev = e.next, e.prev
	t.link(e)
}

func (t *Table) remove(e *entry) {
	delete(t.files, e.key)
	e.prev.next, e.next.prev = e.next, e.prev
	t.bytes -= e.bytes
}
