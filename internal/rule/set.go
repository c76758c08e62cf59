package rule

import (
	"math/bits"
	"sync/atomic"
	"time"

	"github.com/seawall-security/seawall/internal/event"
)

// Set is the loaded rules, indexed. It never changes and may be shared.
type Set struct {
	rules    []*Rule
	interest Interest
	expires  time.Time
	warnings Problems
	// index is by kind and by whether the event has a container.
	index [event.KindMax][2]*candidates
}

// Rules lists the rules in the order of their files.
func (s *Set) Rules() []*Rule { return s.rules }

// Interest is what the rules together need the kernel to admit.
func (s *Set) Interest() Interest { return s.interest }

// Expires is when the next exception of the set does: from then on the rules have to be
// loaded again. Zero: never.
func (s *Set) Expires() time.Time { return s.expires }

// Warnings are what is odd about the files of the set.
func (s *Set) Warnings() Problems { return s.warnings }

// ruleSet is a set of rules by their place in Set.rules.
type ruleSet []uint64

func (s *ruleSet) add(rule int) {
	for len(*s) <= rule/64 {
		*s = append(*s, 0)
	}
	(*s)[rule/64] |= 1 << (rule % 64)
}

// candidates are the rules an event of one kind and scope could match: those
// whose guard it meets, and those without one.
type candidates struct {
	always    ruleSet
	processes map[string]ruleSet
	names     map[string]ruleSet
	suffixes  map[string]ruleSet
}

func newSet(rules []*Rule, interest Interest, guards map[*Rule]map[event.Kind]bound) *Set {
	s := &Set{rules: rules, interest: interest}
	for i, r := range rules {
		s.expires = r.nextExpiry(s.expires)
		for _, kind := range r.Kinds {
			for inContainer, scope := range []Scope{ScopeHost, ScopeContainer} {
				if r.Scope != ScopeAny && r.Scope != scope {
					continue
				}
				if s.index[kind][inContainer] == nil {
					s.index[kind][inContainer] = &candidates{
						processes: make(map[string]ruleSet), names: make(map[string]ruleSet), suffixes: make(map[string]ruleSet),
					}
				}
				s.index[kind][inContainer].add(i, guards[r][kind])
			}
		}
	}
	return s
}

func (c *candidates) add(rule int, guard bound) {
	if guard.any {
		c.always.add(rule)
		return
	}
	for _, part := range []struct {
		keys words
		into map[string]ruleSet
	}{{guard.processes, c.processes}, {guard.names, c.names}, {guard.suffixes, c.suffixes}} {
		for key := range part.keys {
			set := part.into[key]
			set.add(rule)
			part.into[key] = set
		}
	}
}

// Matcher evaluates a Set. It is for one goroutine; it keeps no event beyond a call.
type Matcher struct {
	set   *Set
	found ruleSet
	frame frame
	// excepted are by place in Set.rules and in Rule.Exceptions.
	excepted [][]*atomic.Uint64
}

// NewMatcher makes a Matcher of the set, which counts what exceptions take out.
func (s *Set) NewMatcher(counts *Excepted) *Matcher {
	m := &Matcher{set: s, found: make(ruleSet, (len(s.rules)+63)/64), excepted: make([][]*atomic.Uint64, len(s.rules))}
	for i, r := range s.rules {
		for _, e := range r.Exceptions {
			m.excepted[i] = append(m.excepted[i], counts.Counter(r.ID, e.Name))
		}
	}
	return m
}

// Match calls yield for each rule that the event matches and that no exception
// takes out, in the order of the files. It allocates nothing. The event may be lent.
func (m *Matcher) Match(e *event.Event, yield func(*Rule)) {
	if e.Kind >= event.KindMax {
		return
	}
	inContainer := 0
	if e.Container != nil {
		inContainer = 1
	}
	candidates := m.set.index[e.Kind][inContainer]
	if candidates == nil || !m.collect(candidates, e) {
		return
	}
	m.frame.event = e
	for word, rules := range m.found {
		for ; rules != 0; rules &= rules - 1 {
			i := word*64 + bits.TrailingZeros64(rules)
			if r := m.set.rules[i]; r.condition(&m.frame) && !m.except(i) {
				yield(r)
			}
		}
	}
	m.frame.forget()
}

// except reports whether an exception takes the match of a rule out, and counts it for
// the first that does.
func (m *Matcher) except(rule int) bool {
	exceptions := m.set.rules[rule].Exceptions
	for i := range exceptions {
		if e := &exceptions[i]; !e.expired && e.condition(&m.frame) {
			m.excepted[rule][i].Add(1)
			return true
		}
	}
	return false
}

// collect finds the candidates of an event and reports whether there are any.
func (m *Matcher) collect(c *candidates, e *event.Event) bool {
	clear(m.found)
	m.found.or(c.always)
	if len(c.processes) > 0 && e.Process != nil {
		m.found.or(c.processes[e.Process.Name])
		m.found.or(c.processes[e.Process.Program()])
	} else if len(c.processes) > 0 {
		m.found.or(c.processes[""])
	}
	if len(c.names)+len(c.suffixes) > 0 {
		first, second := objects(e)
		m.object(c, first)
		if second != "" {
			m.object(c, second)
		}
	}
	for _, word := range m.found {
		if word != 0 {
			return true
		}
	}
	return false
}

// objects are the paths that an event is about.
func objects(e *event.Event) (path, newPath string) {
	switch p := e.Payload.(type) {
	case *event.Open:
		return p.File.Path, ""
	case *event.Rename:
		return p.File.Path, p.NewPath
	case *event.Unlink:
		return p.File.Path, ""
	case *event.Chmod:
		return p.File.Path, ""
	case *event.Flow:
		return p.Path, ""
	}
	return "", ""
}

func (m *Matcher) object(c *candidates, path string) {
	name := event.BaseName(path)
	m.found.or(c.names[name])
	if len(c.suffixes) > 0 {
		m.found.or(c.suffixes[extension(name)])
	}
}

func (s ruleSet) or(other ruleSet) {
	for i, word := range other {
		s[i] |= word
	}
}

// forget drops what the frame holds of an event.
func (f *frame) forget() {
	f.event = nil
	clear(f.messages[:])
	clear(f.words[:])
	f.stranger.Comm = ""
}
