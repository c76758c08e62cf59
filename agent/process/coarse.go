package process

import "github.com/seawall-security/seawall/internal/event"

// tick is the unit of start times in procfs: USER_HZ is 100 on every
// architecture the agent runs on.
const tick event.Boot = 10_000_000

// fits reports whether a process that started at exact is shown by procfs with
// the start time coarse: procfs rounds down.
func fits(coarse, exact event.Boot) bool { return coarse <= exact && exact-coarse < tick }

// upgrade makes the coarse entry of a tgid exact if the kernel names that tgid
// with a start inside the entry's tick; otherwise the entry is another process's
// and nil is returned. The kernel would have to give one number to two processes
// within 10 ms for this to be wrong, while procfs still showed the first.
//
// The exact process has another id than the coarse one, and a parent key that is
// exact where the event says it; one that is not stays equal to the key of the
// coarse parent it hangs below.
func (t *Table) upgrade(k, parent event.Key) *entry {
	e := t.coarse[k.TGID]
	if e == nil || !fits(e.now.Key.Start, k.Start) {
		return nil
	}
	delete(t.coarse, k.TGID)
	t.count.upgraded.Add(1)

	s := &snapshot{Process: e.now.Process, outer: e.now.outer, left: e.now.left}
	t.rename(s.Key, k)
	t.identify(&s.Process, k)
	s.Coarse = false
	above := e.now.parent
	if !parent.IsZero() {
		s.ParentKey = parent
		if p := t.find(parent, event.Key{}); p != nil {
			above = t.above(p)
		}
	}
	t.replace(e, t.publish(s, above), e.born)
	if old := t.newest[k.TGID]; old != nil {
		t.bury(old)
		t.count.lostExits.Add(1)
	}
	t.exact[k], t.newest[k.TGID] = e, e
	return e
}
