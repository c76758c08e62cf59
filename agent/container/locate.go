package container

import (
	"strings"
	"time"

	"github.com/seawall-security/seawall/internal/event"
)

// Locate reads procfs on the reader's goroutine, some 50 microseconds each time: so many
// at once, and so many a second.
const (
	locateBurst = 100
	locateRate  = 100
)

// allowance is how many reads may still be done.
type allowance struct {
	left float64
	at   time.Time
}

func (a *allowance) take(now time.Time) bool {
	a.left = min(locateBurst, a.left+now.Sub(a.at).Seconds()*locateRate)
	a.at = now
	if a.left < 1 {
		return false
	}
	a.left--
	return true
}

// Locate tells what an unseen cgroup is by the path that procfs shows for a process in it:
// its birth was lost, or a bound refused it. One that still finds no room is what the
// nearest cgroup above it is. A nil home is the host; not ok: the process has left the
// cgroup or ended, or too much was asked.
func (t *Table) Locate(cgroup uint64, tgid uint32) (in event.Home, ok bool) {
	h := t.options.Hierarchy
	if h == nil || h.Partial {
		return nil, false
	}
	t.mu.Lock()
	may := t.locates.take(t.now())
	t.mu.Unlock()
	if !may {
		return nil, false
	}
	path, err := h.CgroupOf(tgid)
	if err != nil || !strings.HasPrefix(path, "/") {
		return nil, false
	}
	// The number may be another process's by now, and the process elsewhere.
	if id, err := h.Lookup(path); err != nil || id != cgroup {
		return nil, false
	}
	t.mu.Lock()
	told := t.enter(cgroup, path, nil)
	rec := t.nearest(cgroup, path)
	if rec != nil {
		t.counts.Located++
	}
	t.mu.Unlock()
	t.tell(told)
	switch {
	case rec == nil:
		return nil, false
	case rec == t.hostRec:
		return nil, true
	}
	return &rec.home, true
}

// nearest is the record of a cgroup, or of the nearest one above it that is known; nil: it
// claims to be a container's for which there was no room. t.mu is held.
func (t *Table) nearest(cgroup uint64, path string) *record {
	if e, ok := t.cgroups[cgroup]; ok {
		return e.rec
	}
	for above := path; above != ""; above = above[:strings.LastIndexByte(above, '/')] {
		if rec := t.paths[above]; rec != nil && !rec.gone {
			return rec
		}
	}
	if _, ok := Parse(path); ok {
		return nil
	}
	return t.hostRec
}
