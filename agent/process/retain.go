package process

import "github.com/seawall-security/seawall/internal/event"

// entry is the table's place for one process.
type entry struct {
	now  *snapshot
	born event.Boot // when now's namespaces were true
	died event.Boot // in event time; meaningful among the dead
	// pending is a seed that Seeded has not linked yet: its snapshot is not
	// published and may still change.
	pending bool

	in         *queue
	prev, next *entry
}

// queue is a list of entries, linked through themselves so that moving one
// allocates nothing.
type queue struct {
	first, last *entry
	length      int
}

func (q *queue) push(e *entry) {
	e.in, e.prev, e.next = q, q.last, nil
	if q.last != nil {
		q.last.next = e
	} else {
		q.first = e
	}
	q.last = e
	q.length++
}

func (q *queue) remove(e *entry) {
	if e.prev != nil {
		e.prev.next = e.next
	} else {
		q.first = e.next
	}
	if e.next != nil {
		e.next.prev = e.prev
	} else {
		q.last = e.prev
	}
	e.in, e.prev, e.next = nil, nil, nil
	q.length--
}

// touch marks a live process as the last one seen.
func (t *Table) touch(e *entry) {
	if e.in == &t.live && t.live.last != e {
		t.live.remove(e)
		t.live.push(e)
	}
}

// insert places a process with an exact key that the table does not hold yet.
func (t *Table) insert(s *snapshot, born event.Boot) *entry {
	e := &entry{now: s, born: born}
	k := s.Key
	t.exact[k] = e
	t.live.push(e)
	// find has made a fitting coarse entry exact, so one that is left is another
	// process: the number was used again.
	if c := t.coarse[k.TGID]; c != nil && c.now.Key.Start <= k.Start {
		t.remove(c)
		t.count.staleCoarse.Add(1)
	}
	switch old := t.newest[k.TGID]; {
	case old == nil:
		t.newest[k.TGID] = e
	case old.now.Key.Start <= k.Start:
		t.bury(old)
		t.count.lostExits.Add(1)
		t.newest[k.TGID] = e
	default: // a late event of a process whose number is in use again
		t.bury(e)
	}
	return e
}

// bury moves a process to the dead, where it resolves for the grace.
func (t *Table) bury(e *entry) {
	if e.in != &t.live {
		return
	}
	// Not the time of the event, which may be a late one: the queue is popped by time.
	e.died = t.now
	t.vacate(e.now.Key)
	t.live.remove(e)
	t.dead.push(e)
	if t.newest[e.now.Key.TGID] == e {
		delete(t.newest, e.now.Key.TGID)
	}
}

// remove forgets an entry. Snapshots that were published stay valid.
func (t *Table) remove(e *entry) {
	k := e.now.Key
	if t.exact[k] == e {
		delete(t.exact, k)
	}
	if t.newest[k.TGID] == e {
		delete(t.newest, k.TGID)
	}
	if t.coarse[k.TGID] == e {
		delete(t.coarse, k.TGID)
	}
	t.vacate(k)
	e.in.remove(e)
	t.release(e.now)
}

// advance moves event time on and forgets the dead whose grace is over. Event
// time never goes back.
func (t *Table) advance(now event.Boot) {
	if now <= t.now {
		return
	}
	t.now = now
	grace := event.Boot(t.opt.Limits.Grace)
	for e := t.dead.first; e != nil && now-e.died > grace; e = t.dead.first {
		t.remove(e)
	}
}

// enforce keeps the bounds: the longest dead go first, then the live not seen
// for longest. The entry seen last stays. One entry pins at most maxDepth
// ancestors, so bytes are won back after few removals.
func (t *Table) enforce() {
	l := &t.opt.Limits
	for t.dead.length > l.Dead || t.bytes > l.Bytes && t.dead.length > 0 {
		t.remove(t.dead.first)
		t.count.evictedDead.Add(1)
	}
	for (t.live.length > l.Live || t.bytes > l.Bytes) && t.live.length > 1 {
		t.remove(t.live.first)
		t.count.evictedLive.Add(1)
	}
	t.gauge()
}
