package container

import (
	"container/list"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seawall-security/seawall/internal/event"
)

// State says what a cgroup is.
type State uint8

const (
	// Unseen: no cgroup of this id was seen. It may have been lost, or refused by a bound.
	Unseen State = iota
	// Host: the cgroup belongs to no container.
	Host
	// Pending: it looks like a container's; a runtime's word is awaited.
	Pending
	// Known: it belongs to a container.
	Known
)

func (s State) String() string {
	return [...]string{"unseen", "host", "pending", "known", "unknown"}[min(s, Known+1)]
}

// Defaults of Options.
const (
	DefaultWait          = 2 * time.Second // a loaded containerd answers within tens of milliseconds
	DefaultRetention     = 5 * time.Minute
	DefaultMaxContainers = 8192    // some 30 times what a Kubernetes node runs
	DefaultMaxCgroups    = 1 << 16 // about 5 MiB
)

// Options of a Table; zero values mean the defaults.
type Options struct {
	// Hierarchy is where cgroups are walked; nil: they are known from events only.
	Hierarchy *Hierarchy
	// Wait bounds how long a candidate waits for a runtime's word.
	Wait time.Duration
	// Retention is how long a removed cgroup is remembered.
	Retention time.Duration
	// MaxContainers bounds candidates and containers, removed ones included.
	MaxContainers int
	// MaxCgroups bounds cgroups of all kinds, removed ones included.
	MaxCgroups int
	Now        func() time.Time
	// Notify is called after Changed has got news, from any goroutine and with no
	// lock held. It must not block.
	Notify func()
}

// Bounds within one container, so that what it makes below itself cannot push
// others out.
const (
	maxNested        = 64   // candidates below one container
	maxNestedCgroups = 4096 // cgroups of one container; beyond, lineage tells (see Locate)
	keptForOthers    = 4    // one part in so many of MaxCgroups is not for what lies below containers
	maxDepth         = 4    // candidates within each other
	maxChanged       = 4096 // ids between two calls of Changed
	maxExpected      = 1024 // announced paths without a container's shape
)

// Table maps cgroup ids to containers. All methods are safe concurrently.
type Table struct {
	options Options

	news    atomic.Bool   // changed or everything is not empty
	missed  atomic.Uint64 // lookups of unseen ids
	wake    chan struct{} // to Run: a deadline came nearer
	walk    chan struct{} // to Run: walk the tree again
	ask     chan struct{} // to a runtime: there are questions
	notify  func()
	now     func() time.Time
	hostRec *record

	mu         sync.RWMutex // guards all below and every record; never held over I/O or callbacks
	cgroups    map[uint64]entry
	paths      map[string]*record // the newest of each path
	pending    map[*record]struct{}
	gone       queue[removal]
	stale      int        // of gone: forgotten already
	rejected   *list.List // of *record: refuted candidates, oldest first, the first to go
	records    int
	expected   map[string]string // path to container id
	changed    []uint64
	everything bool
	connected  bool
	lost       time.Time // since when no runtime can be asked
	walkNumber uint32
	locates    allowance
	counts     Counts
}

type entry struct {
	rec  *record
	walk uint32 // walkNumber when it was entered
	gone bool
}

type removal struct {
	id uint64
	at time.Time
}

// record is one candidate from birth to the end of its retention.
type record struct {
	Candidate
	outer     *record // the candidate around it; hostRec: none
	depth     int     // candidates around it
	state     State   // Host: rejected, so it is what outer is
	container *event.Container
	cgroup    uint64 // of Path itself; 0: only cgroups below were seen
	maker     maker
	makerIn   uint64 // the maker's cgroup
	born      time.Time
	deadline  time.Time
	asked     bool
	gone      bool
	evicted   bool
	rejected  *list.Element
	cgroups   int // entries
	home      home
	removed   queue[uint64] // cgroups that are gone, of the outermost one and all below it
	nested    int           // candidates below, kept by the outermost one
	waiting   []uint64      // cgroups whose events wait for this record, while Pending
}

// NewTable returns an empty table. Seed fills it, Run keeps its deadlines.
func NewTable(o Options) *Table {
	set := func(d *time.Duration, to time.Duration) {
		if *d <= 0 {
			*d = to
		}
	}
	set(&o.Wait, DefaultWait)
	set(&o.Retention, DefaultRetention)
	if o.MaxContainers <= 0 {
		o.MaxContainers = DefaultMaxContainers
	}
	if o.MaxCgroups <= 0 {
		o.MaxCgroups = DefaultMaxCgroups
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Notify == nil {
		o.Notify = func() {}
	}
	return &Table{
		options: o, notify: o.Notify, now: o.Now,
		wake: make(chan struct{}, 1), walk: make(chan struct{}, 1), ask: make(chan struct{}, 1),
		hostRec:  &record{state: Host},
		cgroups:  make(map[uint64]entry),
		paths:    make(map[string]*record),
		pending:  make(map[*record]struct{}),
		rejected: list.New(),
		expected: make(map[string]string),
		lost:     o.Now(),
	}
}

// Lookup tells what a cgroup is; the container is nil unless the state is Known.
// An id that was never seen has the tree walked again, at most once a second.
// It allocates nothing.
func (t *Table) Lookup(cgroup uint64) (*event.Container, State) {
	if cgroup == 0 { // the task is in no cgroup of this hierarchy
		return nil, Host
	}
	t.mu.RLock()
	e, ok := t.cgroups[cgroup]
	if !ok {
		t.mu.RUnlock()
		t.missed.Add(1)
		signal(t.walk)
		return nil, Unseen
	}
	rec := e.rec.effective()
	c, state := rec.container, rec.state
	t.mu.RUnlock()
	return c, state
}

// effective skips rejected candidates: their cgroups are what encloses them.
func (r *record) effective() *record {
	for r.state == Host && r.outer != nil {
		r = r.outer
	}
	return r
}

// Born takes news of a new cgroup. by is the process that made it, nil if not
// known. The path is copied where it is kept.
func (t *Table) Born(cgroup uint64, path string, by *event.Process) {
	t.mu.Lock()
	told := t.enter(cgroup, path, by)
	t.mu.Unlock()
	t.tell(told)
}

// outcome is whom to wake after the lock is released.
type outcome uint8

const (
	newPending outcome = 1 << iota
	newChanges
	newWalk
)

func (t *Table) tell(o outcome) {
	if o&newPending != 0 {
		signal(t.wake)
		signal(t.ask)
	}
	if o&newWalk != 0 {
		signal(t.walk)
	}
	if o&newChanges != 0 {
		t.notify()
	}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// enter files a cgroup under its record. t.mu is held.
func (t *Table) enter(id uint64, path string, by *event.Process) outcome {
	if !strings.HasPrefix(path, "/") { // its front was cut off: only the tree has it whole
		return newWalk
	}
	if e, ok := t.cgroups[id]; ok { // a walk was faster than the event
		if e.rec.cgroup == id && e.rec.maker == makerUnseen && by != nil {
			e.rec.maker, e.rec.makerIn = judge(by, e.rec.Hint, e.rec.Path), by.CgroupID
		}
		return 0
	}
	if rec := t.paths[path]; rec != nil && rec.cgroup != 0 {
		if rec.cgroup > id { // ids only grow: this is an older group of that path, from a walk
			return 0
		}
		t.leave(rec.cgroup) // its end was lost, or is still to come
	}
	told := t.makeRoom(t.options.MaxCgroups)
	if len(t.cgroups) >= t.options.MaxCgroups {
		t.counts.Refused++
		return told
	}
	waited := len(t.pending)
	rec, ok := t.place(path)
	if ok && t.below(rec, path) {
		told |= t.makeRoomBelow(rec)
		if rec.evicted { // only what is gone was left of it
			rec, ok = t.place(path)
		}
		ok = ok && t.fitsBelow(rec)
	}
	if len(t.pending) > waited {
		told |= newPending
	}
	if !ok {
		t.counts.Refused++
		t.abandon(rec)
		return told
	}
	if rec != t.hostRec && rec.Path == path {
		rec.cgroup, rec.maker = id, judge(by, rec.Hint, rec.Path)
		if by != nil {
			rec.makerIn = by.CgroupID
		}
		if rec.container != nil { // known so far by a cgroup below it
			told |= t.publish(rec, *rec.container)
		}
	}
	if rec.home.sample == 0 || rec.cgroup == id {
		rec.home.sample = id
	}
	t.cgroups[id] = entry{rec: rec, walk: t.walkNumber}
	t.counted(rec, 1)
	if waits := rec.effective(); waits.state == Pending {
		waits.waiting = append(waits.waiting, id)
	}
	return told
}

// counted keeps the number of entries of a record and of the outermost one around it.
func (t *Table) counted(rec *record, n int) {
	rec.cgroups += n
	if top := rec.outermost(); top != rec {
		top.cgroups += n
	}
}

func (r *record) outermost() *record {
	for r.outer != nil && r.outer.outer != nil {
		r = r.outer
	}
	return r
}

// place finds or makes the record a path belongs to; false: a bound forbids it.
func (t *Table) place(path string) (*record, bool) {
	c, ok := Parse(path)
	if e, announced := t.announced(path); announced && len(e.Path) > len(c.Path) {
		c, ok = e, true
	}
	if !ok {
		return t.hostRec, true
	}
	if rec := t.paths[c.Path]; rec != nil && !rec.gone {
		return rec, true
	}
	outer, ok := t.place(c.Path[:strings.LastIndexByte(c.Path, '/')])
	if !ok {
		return nil, false
	}
	if outer != t.hostRec && (outer.depth >= maxDepth || outer.outermost().nested >= maxNested) {
		t.counts.Refused++
		return outer, true // below a container nothing is lost by naming that one
	}
	if len(c.Path) > maxPath || t.records >= t.options.MaxContainers && !t.evictRejected() {
		return nil, false
	}
	return t.newRecord(c, outer), true
}

func (t *Table) newRecord(c Candidate, outer *record) *record {
	path := strings.Clone(c.Path)
	now := t.now()
	rec := &record{
		Candidate: Candidate{
			Hint: c.Hint, Path: path,
			ID: strings.Clone(c.ID), Namespace: strings.Clone(c.Namespace), PodUID: strings.Clone(c.PodUID),
		},
		outer: outer, state: Pending, born: now, deadline: now.Add(t.options.Wait),
	}
	rec.home = home{table: t, rec: rec}
	if outer != t.hostRec {
		rec.depth = outer.depth + 1
		outer.outermost().nested++
	}
	if !t.connected && now.Sub(t.lost) > t.options.Wait {
		rec.deadline = now // nobody is there to answer
	}
	t.paths[path] = rec
	t.pending[rec] = struct{}{}
	t.records++
	return rec
}

// announced finds the announced path that encloses path most closely.
func (t *Table) announced(path string) (Candidate, bool) {
	if len(t.expected) == 0 {
		return Candidate{}, false
	}
	for end := len(path); end > 0; end = strings.LastIndexByte(path[:end], '/') {
		if id, ok := t.expected[path[:end]]; ok {
			return Candidate{Hint: HintExpected, ID: id, Path: path[:end]}, true
		}
	}
	return Candidate{}, false
}

// Gone takes news of a removed cgroup. It stays known for the retention.
func (t *Table) Gone(cgroup uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.leave(cgroup)
}

func (t *Table) leave(id uint64) {
	e, ok := t.cgroups[id]
	if !ok || e.gone {
		return
	}
	e.gone = true
	t.cgroups[id] = e
	if e.rec.cgroup == id {
		e.rec.gone = true
	}
	t.gone.push(removal{id: id, at: t.now()})
	if e.rec != t.hostRec {
		e.rec.outermost().removed.push(id)
	}
}

// Changed appends to ids the cgroups that ceased to be Pending since the last
// call. When all is true there were too many to tell: look at every one. Without
// news it costs one atomic load; it never waits.
func (t *Table) Changed(ids []uint64) (_ []uint64, all bool) {
	if !t.news.Load() {
		return ids, false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.news.Store(false)
	ids, all = append(ids, t.changed...), t.everything
	t.changed, t.everything = t.changed[:0], false
	return ids, all
}
