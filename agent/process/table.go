// Package process knows what runs on the node: the table of processes, their
// lineage and the sessions they belong to.
//
// A [Table] is fed by one goroutine, the pipeline's reader: no method but
// [Table.Stats] may be called by another. It publishes immutable
// [event.Process] snapshots and hangs them on events; those may be kept and read
// by anybody, for ever. A process has one snapshot after another: its fork, each
// exec and each change of namespaces publishes a new one under the same key.
//
// Keys are exact: tgid and start_boottime in nanoseconds, as the kernel says
// them. Where the kernel refuses the task iterator, procfs gives start times in
// ticks of 10 ms. Such entries are coarse: they are kept apart, no exact key finds
// them, and the first kernel event that names their tgid with a start inside their
// tick makes them exact under a new id (see coarse.go).
//
// Lineage is by creation: Process.Parent is the process that forked, as it was
// then; Process.ParentKey is the parent by the kernel's word, which differs under
// CLONE_PARENT and after the creator's death. For processes older than the agent
// only the kernel's word is known.
//
// A process that was born in a container, or entered it through its runtime, has that
// container for its home, and so have all that descend from it, whatever cgroups and
// namespaces they go to later (see home.go). Whoever came from the host and visits a
// container's namespaces has none; if it visits the mount namespace, past the runtime,
// that begins a session all the same (see visit.go).
//
// Memory is bounded in entries and in bytes, dead ancestors included; what is
// pushed out by a bound is counted in [Stats].
package process

import (
	"time"

	"github.com/seawall-security/seawall/internal/event"
)

// Defaults of [Limits].
const (
	// DefaultLive is twice the default pid_max of a small host: more live processes
	// than a node of the supported size runs.
	DefaultLive = 65536
	// DefaultDead keeps the grace below at some 500 exits a second.
	DefaultDead = 16384
	// DefaultBytes is what an agent limited to 128 MiB can spare. A node with 2000
	// processes needs about 4 MiB; with programs of its own in each process the bound
	// is reached at some 35,000, before DefaultLive.
	DefaultBytes = 48 << 20
	// DefaultGrace is far above the reordering of rings (5 ms) and the longest wait
	// in the pen for a container's name.
	DefaultGrace = 30 * time.Second
)

// Limits bound the table; zero fields take the defaults.
type Limits struct {
	Live  int           // processes that run, as far as is known
	Dead  int           // processes that ended
	Bytes int           // snapshots and their text, ancestors included
	Grace time.Duration // event time for which an ended process still resolves
}

// Options are what a table needs to know.
type Options struct {
	BootID         string
	HostNamespaces event.Namespaces
	// Wall turns kernel time into wall time.
	Wall func(event.Boot) time.Time
	// Candidate finds the container that a cgroup claims to be; nil: no sessions and no homes.
	Candidate func(cgroupID uint64) (event.Home, bool)
	// Unseen reports whether nobody can tell what a cgroup is: without a Candidate it may be a
	// container's all the same. Nil: all without are the host's.
	Unseen func(cgroupID uint64) bool
	// Missed, if set, is told at once of each event of now that may be an entry and is not
	// told as one, with its time. It must not block.
	Missed func(Missed, time.Time)
	// CgroupOf finds the cgroup of a process for SeedProcfs; nil: not known, and
	// processes seeded from procfs have no session.
	CgroupOf func(tgid uint32) (cgroupID uint64, ok bool)
	// Marks are the programs that begin a tree of interest, by name; see rule.Interest and
	// SetMarks.
	Marks map[string]event.Tree
	// Proc is where the host's procfs is mounted; "": /proc.
	Proc   string
	Limits Limits
}

// Table holds the processes of one node. See the package documentation for who
// may call it.
type Table struct {
	opt   Options
	proc  procReader
	exact map[event.Key]*entry
	// newest holds the live process of each tgid: a later start under the same
	// number says that the exit of the one before was lost.
	newest map[uint32]*entry
	coarse map[uint32]*entry
	spaces map[uint32]*space    // of containers, by mount namespace
	firsts map[event.Key]uint32 // their mount namespaces, by the containers' first programs
	live   queue                // least recently seen first
	dead   queue                // first to die first
	seeds  []seed
	// seedArgs is the time this round of seeding has spent on procfs.
	seedArgs time.Duration
	now      event.Boot
	bytes    int
	repair   allowance
	count    counters
}

// New returns an empty table.
func New(opt Options) *Table {
	opt.Limits = opt.Limits.withDefaults()
	if opt.Proc == "" {
		opt.Proc = "/proc"
	}
	return &Table{
		opt:    opt,
		proc:   procReader{root: opt.Proc},
		exact:  make(map[event.Key]*entry),
		newest: make(map[uint32]*entry),
		coarse: make(map[uint32]*entry),
		spaces: make(map[uint32]*space),
		firsts: make(map[event.Key]uint32),
		repair: allowance{left: repairBurst},
	}
}

func (l Limits) withDefaults() Limits {
	if l.Live <= 0 {
		l.Live = DefaultLive
	}
	if l.Dead <= 0 {
		l.Dead = DefaultDead
	}
	if l.Bytes <= 0 {
		l.Bytes = DefaultBytes
	}
	if l.Grace <= 0 {
		l.Grace = DefaultGrace
	}
	return l
}

// Apply takes one event into the table and attaches what the table knows:
// Process and Session, and the processes in the payloads of forks and execs. An
// event without an actor (the kernel itself, tgid 0) is left as it is. Lent text
// is copied. Only forks, execs, changes of namespaces and events of processes
// not seen before allocate.
func (t *Table) Apply(ev *event.Event) {
	if ev.Actor.TGID == 0 {
		return
	}
	t.advance(ev.Time)
	switch p := ev.Payload.(type) {
	case *event.Fork:
		t.fork(ev, p)
	case *event.Exec:
		t.exec(ev, p)
	case *event.Exit:
		t.exit(ev)
	case *event.Namespace:
		t.namespace(ev, p)
	default:
		e := t.actor(ev)
		t.follow(e, ev)
		show(ev, e)
		if f, ok := p.(*event.Flow); ok && ev.Kind == event.KindNetworkConnect {
			t.reach(ev, f, e)
		}
	}
	t.enforce()
}

// Lookup finds a process by its exact key, also one that ended within the
// grace; nil: not known.
func (t *Table) Lookup(k event.Key) *event.Process {
	if e := t.exact[k]; e != nil {
		return &e.now.Process
	}
	return nil
}

// Ended reports whether a process is remembered as one that ended.
func (t *Table) Ended(k event.Key) bool {
	e := t.exact[k]
	return e != nil && e.in == &t.dead
}

// Each calls yield for every process that runs and whose key is exact, in no order.
func (t *Table) Each(yield func(*event.Process) bool) {
	for _, e := range t.newest {
		if !yield(&e.now.Process) {
			return
		}
	}
}

// find returns the entry of an exact key. A coarse entry that the key fits
// becomes exact by it; parent is the process's own parent, zero where the event
// does not say.
func (t *Table) find(k, parent event.Key) *entry {
	if e := t.exact[k]; e != nil {
		return e
	}
	if len(t.coarse) == 0 {
		return nil
	}
	return t.upgrade(k, parent)
}

// actor returns the entry of the process that acted; one that was not seen
// starting is published as far as it is known.
func (t *Table) actor(ev *event.Event) *entry {
	e := t.find(ev.Actor, ev.Parent)
	if e == nil {
		return t.unknown(ev)
	}
	t.touch(e)
	return e
}

func show(ev *event.Event, e *entry) {
	ev.Process = &e.now.Process
	ev.Session = e.now.Session
}

func (t *Table) hostMount(n event.Namespaces) bool {
	return n.Mount != 0 && n.Mount == t.opt.HostNamespaces.Mount
}

// identify sets what follows from the key.
func (t *Table) identify(p *event.Process, k event.Key) {
	p.Key = k
	p.ID = event.ProcessID(t.opt.BootID, k)
	p.StartWall = t.opt.Wall(k.Start)
}
