package process

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/seawall-security/seawall/internal/event"
)

// seedArgs is how long one round of seeding reads argv; what is left then goes
// without. Four thousand processes take a tenth of it. Without it, processes that answer slowly
// (see procReader) could hold up the start of the agent, one deadline each.
const seedArgs = 2 * time.Second

// seed is a process that ran before the agent, waiting to be linked.
type seed struct {
	entry *entry
	// entered says that its cgroup is not its parent's and its mount namespace not
	// the host's.
	entered bool
}

// Seed takes a record of the kernel's task iterator: what one process runs now.
// Records come in any order; Seeded links them. Both are called before the first
// Apply, or between two to learn what a loss has hidden: known processes stay as
// they are. The kernel does not hand out argv here; where it is missing it is read
// from procfs, under the bounds of procReader.
func (t *Table) Seed(ev *event.Event) {
	x, ok := ev.Payload.(*event.Exec)
	if !ok || ev.Actor.TGID == 0 {
		return
	}
	t.advance(ev.Time)
	known := t.exact[ev.Actor]
	if known != nil && !known.now.Unknown {
		return
	}
	s := &snapshot{Process: t.program(ev, &x.Image)}
	if x.Args == "" && x.File.Path != "" {
		t.readArgs(&s.Process)
	}
	t.publish(s, nil)
	if known != nil {
		t.replace(known, s, ev.Time)
	} else {
		known = t.insert(s, ev.Time)
	}
	known.pending = true
	t.seeds = append(t.seeds, seed{known, x.Entered})
	t.enforce()
}

// readArgs completes a seed. The start time is compared after argv was read: who
// holds the number still has held it all along.
func (t *Table) readArgs(p *event.Process) {
	begin := time.Now()
	defer func() { t.seedArgs += time.Since(begin) }()
	args, err := arguments{}, errArgsHang
	if t.seedArgs < seedArgs {
		args, err = t.proc.args(p.Key.TGID)
	}
	if err == nil {
		var now stat
		if now, err = t.proc.stat(p.Key.TGID); err == nil && fits(now.start(), p.Key.Start) {
			args.set(p, now)
			return
		}
	}
	p.ArgsCut = true
	t.count.argsUnreadable.Add(1)
}

// SeedProcfs seeds from procfs alone, for hosts that refuse the task iterator.
// The entries are coarse. Processes that end while they are read are left out.
func (t *Table) SeedProcfs() error {
	names, err := os.ReadDir(t.opt.Proc)
	if err != nil {
		return fmt.Errorf("list processes: %w", err)
	}
	for _, name := range names {
		tgid, err := strconv.ParseUint(name.Name(), 10, 32)
		if err != nil || tgid == 0 {
			continue
		}
		t.seedCoarse(uint32(tgid))
	}
	t.enforce()
	return nil
}

func (t *Table) seedCoarse(tgid uint32) {
	begin := time.Now()
	p, now, err := t.proc.describe(tgid, t.seedArgs < seedArgs)
	t.seedArgs += time.Since(begin)
	if err != nil {
		return
	}
	if p.ArgsCut {
		t.count.argsUnreadable.Add(1)
	}
	if e := t.newest[tgid]; e != nil && fits(now.start(), e.now.Key.Start) || t.coarse[tgid] != nil {
		return
	}
	t.identify(&p, event.Key{TGID: tgid, Start: now.start()})
	p.Coarse = true
	p.HostMount = t.hostMount(p.Namespaces)
	p.ParentKey = event.Key{TGID: now.parent}
	if t.opt.CgroupOf != nil {
		p.CgroupID, _ = t.opt.CgroupOf(tgid)
	}
	e := &entry{now: t.publish(&snapshot{Process: p}, nil), born: t.now, pending: true}
	t.coarse[tgid] = e
	t.live.push(e)
	t.seeds = append(t.seeds, seed{entry: e})
}

// Seeded links what was seeded since it was last called: parents, chains, sessions
// and trees of interest. Only then may anybody see the seeds.
//
// A session of a seed begins where the kernel's iterator says that the process
// entered its cgroup. It is the container's own first program if it is number 1 of
// its pid namespace or, where containers share one, the first process of its
// cgroup. What an exec session left behind when its parent ended counts to the
// process that adopted it: its true origin is no longer to be known.
func (t *Table) Seeded() {
	// Parents start before their children: in this order each finds its parent
	// linked, and no order of hostile data makes a circle.
	slices.SortFunc(t.seeds, func(a, b seed) int {
		ka, kb := a.entry.now.Key, b.entry.now.Key
		return cmp.Or(cmp.Compare(ka.Start, kb.Start), cmp.Compare(ka.TGID, kb.TGID))
	})
	occupied := make(map[uint64]bool)
	for e := t.live.first; e != nil; e = e.next {
		occupied[e.now.CgroupID] = occupied[e.now.CgroupID] || !e.pending
	}
	for _, sd := range t.seeds {
		e := sd.entry
		e.pending = false
		if e.in == nil { // pushed out by a bound
			continue
		}
		s := e.now
		parent := t.seedParent(s)
		entered := sd.entered
		if parent != nil {
			s.hang(parent)
			s.Session = parent.Session
			if s.Coarse {
				s.ParentKey = parent.Key
				entered = s.CgroupID != parent.CgroupID && !s.HostMount && s.Namespaces.Mount != 0
			}
		} else if s.Coarse {
			s.ParentKey = event.Key{}
		}
		s.Home = t.homeUnder(&s.Process, parent)
		if entered {
			t.enter(s, parent, nil, s.NSPID == 1 || !occupied[s.CgroupID], s.StartWall)
		}
		occupied[s.CgroupID] = true
		s.Tree = t.seedTree(s, parent)
	}
	t.seedVisits()
	t.seeds, t.seedArgs = nil, 0
	t.enforce()
}

// seedVisits begins the sessions of seeds that are in a container past its runtime: only
// when all are linked is it known where the containers are. Parents come first.
func (t *Table) seedVisits() {
	for _, sd := range t.seeds {
		s := sd.entry.now
		if sd.entry.in == nil {
			continue
		}
		if p := s.parent; p != nil && p.Session != nil && p.Session.ByNamespace && p.Session.Root != s.Key &&
			s.Session == p.outer && s.Namespaces.Mount == p.Namespaces.Mount {
			s.Session, s.outer = p.Session, p.outer
			continue
		}
		t.visit(s, s.StartWall)
	}
}

func (t *Table) seedParent(s *snapshot) *snapshot {
	e := t.exact[s.ParentKey]
	if s.Coarse {
		if e = t.coarse[s.ParentKey.TGID]; e == nil {
			e = t.newest[s.ParentKey.TGID]
		}
	}
	if e == nil || e.pending || e.now == s {
		return nil
	}
	return t.above(e)
}

// seedTree is the mark that the kernel would have given: the parent's, what the
// program's names begin, and entry from outside.
func (t *Table) seedTree(s, parent *snapshot) event.Tree {
	own := begins(t.opt.Marks, &s.Process)
	if s.Session != nil && !s.Session.Init {
		own |= event.TreeEntered
	}
	if parent == nil {
		return own
	}
	return below(parent.Tree, own)
}
