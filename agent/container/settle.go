package container

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/seawall-security/seawall/internal/event"
)

// Values of event.Container.Runtime.
const (
	RuntimeContainerd = "containerd"
	RuntimeUnknown    = "unknown"
)

// publish makes the record a container, or gives a container its news. t.mu is held.
func (t *Table) publish(rec *record, c event.Container) outcome {
	c.CgroupID, c.CgroupPath = rec.cgroup, rec.Path
	if c.PodUID == "" {
		c.PodUID = strings.ReplaceAll(rec.PodUID, "_", "-")
	}
	named := c.Runtime != RuntimeUnknown
	before := rec.container
	rec.container = &c
	if rec.rejected != nil {
		t.rejected.Remove(rec.rejected)
		rec.rejected = nil
	}
	switch {
	case named && (before == nil || before.Runtime == RuntimeUnknown):
		t.counts.Named++
	case before == nil:
		t.counts.Unknown++
	}
	return t.resolve(rec, Known)
}

// reject finds that a candidate is no container: its cgroups are what encloses them.
func (t *Table) reject(rec *record) outcome {
	if rec.Hint == HintPlain {
		t.counts.Unclaimed++ // two names in a row are no claim to be a container
	} else {
		t.counts.Forged++
	}
	rec.rejected = t.rejected.PushBack(rec)
	return t.resolve(rec, Host)
}

func (t *Table) resolve(rec *record, state State) outcome {
	was := rec.state
	rec.state = state
	if was != Pending {
		return 0
	}
	delete(t.pending, rec)
	waiting := rec.waiting
	rec.waiting = nil
	if now := rec.effective(); now.state == Pending {
		now.waiting = append(now.waiting, waiting...)
		return 0
	}
	if len(waiting) == 0 {
		return 0
	}
	if len(t.changed)+len(waiting) > maxChanged {
		t.everything = true
		t.counts.Overflows++
	} else {
		t.changed = append(t.changed, waiting...)
	}
	t.news.Store(true)
	return newChanges
}

// due lists the records whose wait is over, outer ones first, and tells when the
// next wait ends.
func (t *Table) due() (over []question, next time.Time) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	now := t.now()
	for rec := range t.pending {
		switch {
		case !rec.deadline.After(now):
			over = append(over, rec.question())
		case next.IsZero() || rec.deadline.Before(next):
			next = rec.deadline
		}
	}
	slices.SortFunc(over, func(a, b question) int {
		return cmp.Or(cmp.Compare(a.rec.depth, b.rec.depth), a.born.Compare(b.born))
	})
	return over, next
}

// settle decides without a runtime's word. held says that a runtime's monitor
// holds the processes of a cgroup that nobody saw made.
func (t *Table) settle(rec *record, held bool) {
	t.mu.Lock()
	var told outcome
	if rec.state == Pending {
		byRuntime := rec.maker == makerRuntime && t.isHosts(rec.makerIn)
		if rec.Hint == HintPlain && rec.nested > 0 {
			byRuntime = false // runtimes also make the groups on the way to a container's
		}
		if byRuntime || rec.maker == makerUnseen && held {
			told = t.publish(rec, event.Container{ID: rec.ID, Runtime: RuntimeUnknown, Name: rec.ID})
		} else {
			told = t.reject(rec)
		}
	}
	t.mu.Unlock()
	t.tell(told)
}

// isHosts says whether a cgroup is no container's: a container may run what it
// calls runc.
func (t *Table) isHosts(cgroup uint64) bool {
	e, ok := t.cgroups[cgroup]
	return !ok || e.rec.effective().state == Host
}

// question is a record as it was when the lock was held: what a runtime is
// asked (is this candidate yours?) and what settle looks at.
type question struct {
	Candidate
	rec   *record
	maker maker
	born  time.Time
}

func (r *record) question() question {
	return question{Candidate: r.Candidate, rec: r, maker: r.maker, born: r.born}
}

// questions lists the pending candidates that no runtime was asked about yet;
// with again, all pending ones of that id, or of any if id is empty.
func (t *Table) questions(again bool, id string) []question {
	t.mu.Lock()
	defer t.mu.Unlock()
	var list []question
	for rec := range t.pending {
		if rec.asked && !again || again && id != "" && rec.ID != id {
			continue
		}
		rec.asked = true
		list = append(list, rec.question())
	}
	slices.SortFunc(list, func(a, b question) int { return a.born.Compare(b.born) })
	return list
}

// confirm answers a question with yes. A name, once given, is not taken over by
// another container that claims the same cgroup.
func (t *Table) confirm(rec *record, c event.Container) {
	t.mu.Lock()
	var told outcome
	has := rec.container
	taken := has != nil && has.Runtime != RuntimeUnknown && (has.ID != c.ID || has.RuntimeNamespace != c.RuntimeNamespace)
	if !rec.evicted && !taken {
		told = t.publish(rec, c)
	}
	t.mu.Unlock()
	t.tell(told)
}

// candidateAt finds the live candidate whose own cgroup is path, as a question.
func (t *Table) candidateAt(path string) (question, bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	rec := t.paths[path]
	if rec == nil || rec.gone {
		return question{}, false
	}
	return rec.question(), true
}

// expect has a path without a container's shape taken for a candidate: a
// runtime told it will run, or runs, a container there. The tree's own groups
// are refused, or a container could be set up that hides the host in itself.
func (t *Table) expect(path, id string) bool {
	if len(path) < 2 || path[0] != '/' || len(path) > maxPath ||
		path == "/init.scope" || strings.HasSuffix(path, ".slice") || strings.HasSuffix(path, ".service") {
		return false
	}
	if c, ok := Parse(path); ok && c.Path == path {
		return true
	}
	t.mu.Lock()
	_, known := t.expected[path]
	fits := known || len(t.expected) < maxExpected
	if fits {
		t.expected[path] = id
	} else {
		t.counts.Refused++
	}
	t.mu.Unlock()
	if fits && !known {
		t.replace(path)
	}
	return fits
}

// forget ends what expect began; records that were made stay.
func (t *Table) forget(path string) {
	t.mu.Lock()
	delete(t.expected, path)
	t.mu.Unlock()
}

// replace files the cgroups at and below path anew, if they exist.
func (t *Table) replace(path string) {
	if t.options.Hierarchy == nil {
		return
	}
	n := 0
	_ = t.options.Hierarchy.walk(path, func(id uint64, below string) bool { // mostly it does not exist yet
		t.mu.Lock()
		if e, ok := t.cgroups[id]; ok && (e.rec == t.hostRec || e.rec.evicted) && !e.gone {
			delete(t.cgroups, id)
			t.counted(e.rec, -1)
		}
		told := t.enter(id, below, nil)
		t.mu.Unlock()
		t.tell(told)
		n++
		return n < maxNestedCgroups
	})
}

// reachable tells whether a runtime can be asked.
func (t *Table) reachable(yes bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.connected && !yes {
		t.lost = t.now()
	}
	t.connected = yes
}
