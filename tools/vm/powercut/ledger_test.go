package powercut

import (
	"fmt"
	"maps"
	"slices"
)

// ledger is what was promised in all boots so far, and what was found of it. One
// goroutine uses it.
type ledger struct {
	problems []string

	// Over all boots.
	promised  map[string]promiser // marks
	positions map[uint64]*told    // of revisions that were told
	revisions map[string]uint64   // by alert and revision
	committed uint64              // by the subscription
	given     map[uint64]bool     // positions that the subscription was told of
	agent     string
	crashed   bool        // an agent has run and was cut off
	waiting   []execution // of boots before this; not seen since

	lost    int // marks that were promised and are not there
	missing int // marks that nobody had promised, and a gap stands for
	gaps    int // boots that told of the end of the agent before

	*boot
}

// promiser is who said that a detection is safe.
type promiser string

const (
	bySpool     promiser = "spool"
	byCollector promiser = "collector"
	bySIEM      promiser = "subscriber"
)

// boot is what happened since the machine was started.
type boot struct {
	name   string
	stages []stage
	found  string // by the probe
	ran    []execution
	since  int     // index of the first of those that promises count
	spool  promise // the latest
	seen   map[string]bool
	warm   *told               // first revision with the second mark
	told   map[reader][]uint64 // positions
	began  uint64              // what was committed then
	known  []uint64            // positions that were told before, sorted
}

func newLedger() *ledger {
	return &ledger{promised: map[string]promiser{}, positions: map[uint64]*told{}, revisions: map[string]uint64{}, given: map[uint64]bool{}}
}

func (l *ledger) problem(format string, args ...any) {
	l.problems = append(l.problems, l.name+": "+fmt.Sprintf(format, args...))
}

// begin begins a boot.
func (l *ledger) begin(name string) {
	if l.boot != nil {
		l.crashed = l.crashed || l.reached(agentRuns)
		l.waiting = append(l.waiting, l.ran...)
	}
	l.boot = &boot{name: name, seen: map[string]bool{}, told: map[reader][]uint64{}, began: l.committed,
		known: slices.Sorted(maps.Keys(l.positions))}
}

func (b *boot) reached(s stage) bool { return slices.Contains(b.stages, s) }

// take books a report of the guest.
func (l *ledger) take(r report) {
	switch {
	case r.Stage != "":
		l.stages = append(l.stages, r.Stage)
		switch r.Stage {
		case loaded:
			l.since = len(l.ran)
		case warmedUp:
			l.audit()
		}
	case r.Ran != nil:
		l.ran = append(l.ran, *r.Ran)
	case r.Spool != nil:
		l.count(*r.Spool)
	case r.Told != nil:
		l.tell(r.Told)
	case r.Committed != 0:
		if r.Committed < l.committed {
			l.problem("the cursor went back from %d to %d", l.committed, r.Committed)
		}
		l.committed = r.Committed
	case r.Found != nil:
		l.found = *r.Found
	}
}

// count books what the agent says: the first so many marks are safe.
func (l *ledger) count(p promise) {
	marks := l.ran[l.since:]
	if p.Lost != 0 || p.Durable > len(marks) || p.Acked > p.Durable {
		l.problem("the agent counts %+v of %d marks", p, len(marks))
		return
	}
	l.spool = p
	for i, m := range marks[:p.Durable] {
		by := bySpool
		if i < p.Acked {
			by = byCollector
		}
		l.promise(m.Mark, by)
	}
}

// promise remembers who has gone furthest in saying that a mark is safe.
func (l *ledger) promise(mark string, by promiser) {
	rank := func(p promiser) int { return slices.Index([]promiser{"", bySpool, byCollector, bySIEM}, p) }
	if rank(by) > rank(l.promised[mark]) {
		l.promised[mark] = by
	}
}

// promises counts this boot's marks by who promised them.
func (l *ledger) promises() map[promiser]int {
	counts := map[promiser]int{}
	for _, e := range l.ran {
		if e.Mark != recurring {
			counts[l.promised[e.Mark]]++
		}
	}
	return counts
}

// tell compares a revision with what was told before.
func (l *ledger) tell(t *told) {
	if old := l.last(t.Reader); t.Position <= old {
		l.problem("%s is told of position %d after %d", t.Reader, t.Position, old)
	}
	l.told[t.Reader] = append(l.told[t.Reader], t.Position)
	if t.Reader == siem {
		l.given[t.Position] = true
	}
	key := fmt.Sprintf("%s revision %d", t.Alert, t.Revision)
	if old, known := l.positions[t.Position]; known && (old.Alert != t.Alert || old.Revision != t.Revision || old.Content != t.Content) {
		l.problem("position %d was %s revision %d (%s), and is %s (%s)", t.Position, old.Alert, old.Revision, old.Content, key, t.Content)
	}
	if at, known := l.revisions[key]; known && at != t.Position {
		l.problem("%s is told under positions %d and %d", key, at, t.Position)
	}
	l.positions[t.Position], l.revisions[key] = t, t.Position
	if l.agent == "" {
		l.agent = t.Agent
	}
	if t.Agent != l.agent {
		l.problem("agent %s has become %s", l.agent, t.Agent)
	}
	for _, m := range t.Marks {
		l.promise(m, bySIEM)
		if t.Reader != witness {
			continue
		}
		l.seen[m] = true
		if m == (plan{Name: l.name}).warm()[1] && l.warm == nil {
			l.warm = t
		}
	}
}

// audit is when the witness was told of the boot's second mark: everything promised in
// earlier boots must have been told before that.
func (l *ledger) audit() {
	for _, mark := range slices.Sorted(maps.Keys(l.promised)) {
		if !l.seen[mark] {
			l.lost++
			l.problem("mark %s is lost, which was promised by the %s", mark, l.promised[mark])
		}
	}
	for _, position := range l.known {
		if _, again := slices.BinarySearch(l.told[witness], position); !again {
			t := l.positions[position]
			l.problem("position %d is lost, which was %s revision %d", position, t.Alert, t.Revision)
		}
	}
	if l.warm.Gap {
		l.gaps++
	} else if l.crashed {
		l.problem("no gap says that the agent ended without closing its spool")
	}
	for _, e := range l.waiting {
		if l.seen[e.Mark] {
			continue
		}
		l.missing++
		if e.At.Before(l.warm.Since.Add(-l.warm.Uncertainty)) {
			l.problem("mark %s, executed at %v, is missing, and the gap begins at %v only", e.Mark, e.At, l.warm.Since)
		}
	}
	l.waiting = nil
}

// last is the latest position that a reader was told of, 0 without any.
func (b *boot) last(who reader) uint64 {
	if all := b.told[who]; len(all) > 0 {
		return all[len(all)-1]
	}
	return 0
}

// end ends a boot. Its subscription was told of what is right behind its cursor, without
// a hole, as far as it came. The cursor may be further than was said: its answer can have
// been cut off.
func (l *ledger) end() {
	if !l.reached(warmedUp) || len(l.told[siem]) == 0 {
		return // the witness has not seen all, or there is nothing to compare
	}
	first := l.told[siem][0]
	if first <= l.began {
		l.problem("position %d was acknowledged, up to %d, and is told again", first, l.began)
	}
	told := map[uint64]bool{}
	for _, position := range l.told[siem] {
		told[position] = true
	}
	for _, position := range slices.Sorted(maps.Keys(l.positions)) {
		switch {
		case position <= l.began, position > l.last(siem), told[position]:
		case position > first || !l.given[position]:
			l.problem("position %d, behind what was acknowledged, %d, is kept from the subscription", position, l.began)
		}
	}
}
