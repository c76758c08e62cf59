package container

import (
	"context"
	"time"
)

// Counts is what a table holds and did. All but the first five only grow.
type Counts struct {
	Cgroups    int // of all kinds, removed ones included
	Containers int // candidates and containers, removed ones included
	Unresolved int // candidates that wait for a runtime's word
	Removed    int // cgroups kept for late events
	Expected   int // announced paths without a container's shape

	Named     uint64 // containers that a runtime named
	Unknown   uint64 // containers known by their id only, at first
	Forged    uint64 // candidates by their shape that turned out to be none
	Unclaimed uint64 // pairs of names that no runtime claimed
	Evicted   uint64 // removed cgroups and refuted candidates forgotten before their time
	Refused   uint64 // cgroups and candidates not taken because a bound was reached
	Overflows uint64 // times Changed said all
	Located   uint64 // cgroups that were not seen, or had no room, told by a process in them
	Missed    uint64 // lookups of ids that were not seen
	Walks     uint64 // walks of the cgroup tree
	Recovered uint64 // cgroups that a later walk found, or found gone, without an event
}

// Counts returns the numbers of this moment.
func (t *Table) Counts() Counts {
	t.mu.RLock()
	defer t.mu.RUnlock()
	c := t.counts
	c.Cgroups, c.Containers, c.Unresolved = len(t.cgroups), t.records, len(t.pending)
	c.Removed, c.Expected, c.Missed = t.gone.len()-t.stale, len(t.expected), t.missed.Load()
	return c
}

const (
	// Lookups of unseen ids ask for walks: the first comes after walkInterval, and
	// each that finds nothing doubles the interval up to walkIntervalMax.
	walkInterval    = time.Second
	walkIntervalMax = time.Minute
	// checkInterval is the time between walks that look for lost events.
	checkInterval = 5 * time.Minute
)

// Seed enters the cgroups that exist now. Call it once the hooks for new cgroups
// are attached, or those made in between stay unseen until the next walk.
func (t *Table) Seed() error { return t.rewalk(true) }

// rewalk enters cgroups whose birth was not seen and removes those whose end was not.
func (t *Table) rewalk(first bool) error {
	if t.options.Hierarchy == nil {
		return nil
	}
	t.mu.Lock()
	t.walkNumber++
	number := t.walkNumber
	t.counts.Walks++
	t.mu.Unlock()

	there := make(map[uint64]struct{})
	complete := true
	err := t.options.Hierarchy.Walk(func(id uint64, path string) bool {
		there[id] = struct{}{}
		t.mu.Lock()
		before := len(t.cgroups)
		told := t.enter(id, path, nil)
		if !first && len(t.cgroups) > before {
			t.counts.Recovered++
		}
		t.mu.Unlock()
		t.tell(told)
		complete = len(there) < t.options.MaxCgroups
		return complete
	})
	if err != nil || !complete {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for id, e := range t.cgroups {
		if _, ok := there[id]; !ok && !e.gone && e.walk < number {
			t.leave(id)
			t.counts.Recovered++
		}
	}
	return nil
}

// begin lets the candidates found so far wait from now on. Between NewTable and Run
// the hooks are attached, which takes longer than Wait, and nobody can ask a runtime:
// the containers that ran before the agent would be settled before the first answer.
func (t *Table) begin() {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.now()
	if !t.connected {
		t.lost = now
	}
	for rec := range t.pending {
		rec.deadline = now.Add(t.options.Wait)
	}
}

// Run keeps deadlines and retention and walks the tree when something was
// missed. It returns when ctx ends, with nil, and starts no other goroutine.
func (t *Table) Run(ctx context.Context) error {
	t.begin()
	timer := time.NewTimer(0)
	defer timer.Stop()
	check := time.NewTicker(checkInterval)
	defer check.Stop()
	interval := walkInterval
	var again <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.wake:
		case <-timer.C:
		case <-t.walk:
			if again == nil {
				again = time.After(interval)
			}
			continue
		case <-again:
			again = nil
			before := t.Counts().Recovered
			_ = t.rewalk(false) // what could not be read stays unseen, which is counted
			if interval = min(2*interval, walkIntervalMax); t.Counts().Recovered > before {
				interval = walkInterval
			}
		case <-check.C:
			_ = t.rewalk(false)
		}
		timer.Reset(t.Tick())
	}
}

// idleTick is how often retention is looked at when nothing waits.
const idleTick = 10 * time.Second

// Tick settles the candidates whose wait is over, forgets what was kept long
// enough, and returns how long to wait until the next call. Run calls it.
func (t *Table) Tick() time.Duration {
	over, next := t.due()
	for _, q := range over {
		t.settle(q.rec, t.held(q))
	}
	t.mu.Lock()
	now := t.now()
	var told outcome
	for t.gone.len() > 0 && now.Sub(t.gone.first().at) >= t.options.Retention {
		told |= t.dropOldest()
	}
	t.mu.Unlock()
	t.tell(told)
	if next.IsZero() {
		return idleTick
	}
	return min(idleTick, max(0, next.Sub(now)))
}

// makeRoom forgets the cgroups that went first while a bound is reached. t.mu is held.
func (t *Table) makeRoom(limit int) (told outcome) {
	for t.gone.len() > 0 && (len(t.cgroups) >= limit || t.records >= t.options.MaxContainers) {
		before := len(t.cgroups)
		told |= t.dropOldest()
		t.counts.Evicted += uint64(before - len(t.cgroups))
	}
	return told
}

// below tells whether a path of rec is not the own cgroup of an outermost container. What
// is below one is made by the container itself, and bounded with it.
func (t *Table) below(rec *record, path string) bool {
	return rec != t.hostRec && (rec.outer != t.hostRec || rec.Path != path)
}

// makeRoomBelow makes room for one more cgroup below a container's own: what is over the
// container's bound is taken from the container itself.
func (t *Table) makeRoomBelow(rec *record) outcome {
	told := t.makeRoom(t.nestedLimit())
	top := rec.outermost()
	for top.cgroups >= maxNestedCgroups && top.removed.len() > 0 {
		id := *top.removed.first()
		if !t.cgroups[id].gone { // a walk that was slower than its end found it once more
			top.removed.pop()
			continue
		}
		told |= t.drop(id)
		t.counts.Evicted++
		if t.stale++; t.stale > t.gone.len()/2 {
			t.gone.filter(func(r removal) bool { return t.cgroups[r.id].gone })
			t.stale = 0
		}
	}
	return told
}

// fitsBelow tells whether one more cgroup may be filed below a container's own.
func (t *Table) fitsBelow(rec *record) bool {
	return rec == t.hostRec || rec.outermost().cgroups < maxNestedCgroups && len(t.cgroups) < t.nestedLimit()
}

// nestedLimit keeps room for cgroups of the host and for other containers.
func (t *Table) nestedLimit() int {
	return t.options.MaxCgroups - t.options.MaxCgroups/keptForOthers
}

// dropOldest forgets the cgroup that went first, if it is not forgotten already.
func (t *Table) dropOldest() outcome {
	id := t.gone.pop().id
	if !t.cgroups[id].gone {
		t.stale = max(0, t.stale-1)
		return 0
	}
	return t.drop(id)
}

// abandon takes a record off the books that was made for a cgroup which then found no room.
func (t *Table) abandon(rec *record) {
	if rec == nil || rec == t.hostRec || rec.cgroups > 0 {
		return
	}
	delete(t.pending, rec)
	t.remove(rec)
}

// drop forgets a cgroup, and its record with the last one.
func (t *Table) drop(id uint64) (told outcome) {
	e, ok := t.cgroups[id]
	if !ok {
		return 0
	}
	delete(t.cgroups, id)
	t.counted(e.rec, -1)
	if own := &e.rec.outermost().removed; e.gone && own.len() > 0 {
		own.pop() // it has the order of the table's queue: this is the first here too
	}
	if e.rec == t.hostRec || e.rec.cgroups > 0 {
		return 0
	}
	if e.rec.state == Pending {
		told = t.reject(e.rec)
	}
	t.remove(e.rec)
	return told
}

// remove takes a record off the books.
func (t *Table) remove(rec *record) {
	if rec.evicted {
		return
	}
	rec.evicted = true
	t.records--
	if rec.rejected != nil {
		t.rejected.Remove(rec.rejected)
		rec.rejected = nil
	}
	if t.paths[rec.Path] == rec {
		delete(t.paths, rec.Path)
	}
	if top := rec.outermost(); top != rec {
		top.nested--
	}
}

// evictRejected forgets the oldest refuted candidate; its cgroups stay what they are.
func (t *Table) evictRejected() bool {
	oldest := t.rejected.Front()
	if oldest == nil {
		return false
	}
	t.remove(oldest.Value.(*record))
	t.counts.Evicted++
	return true
}

// queue is first in, first out; its memory shrinks with it.
type queue[T any] struct {
	items []T
	head  int
}

func (q *queue[T]) len() int  { return len(q.items) - q.head }
func (q *queue[T]) first() *T { return &q.items[q.head] }
func (q *queue[T]) push(v T)  { q.items = append(q.items, v) }
func (q *queue[T]) filter(keep func(T) bool) {
	var kept []T
	for _, v := range q.items[q.head:] {
		if keep(v) {
			kept = append(kept, v)
		}
	}
	q.items, q.head = kept, 0
}
func (q *queue[T]) pop() T {
	var zero T
	v := q.items[q.head]
	q.items[q.head] = zero
	if q.head++; q.head >= len(q.items)/2 {
		q.items = append(q.items[:0:0], q.items[q.head:]...)
		q.head = 0
	}
	return v
}
