package rule

import (
	"cmp"
	"slices"
	"sync"
	"sync/atomic"
)

// maxExcepted bounds the pairs of rule and exception that are told apart: some sets full
// of exceptions that came one after another.
const maxExcepted = 4 * maxExceptions

// ExceptedOthers stands for rule and exception of what is counted beyond the bound.
const ExceptedOthers = "(others)"

// Excepted counts the matches that exceptions took out, by rule and exception. It
// outlives sets: matchers of all sets that it was given to count in it. The zero value
// is ready; its methods are safe for concurrent use.
type Excepted struct {
	mu     sync.Mutex
	counts map[exceptionKey]*atomic.Uint64
}

type exceptionKey struct{ rule, exception string }

// ExceptedCount is how many matches of a rule an exception took out.
type ExceptedCount struct {
	Rule, Exception string
	Count           uint64
}

// Counter is that of an exception. A nil receiver counts for nobody.
func (x *Excepted) Counter(rule, exception string) *atomic.Uint64 {
	if x == nil {
		return new(atomic.Uint64)
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	key := exceptionKey{rule, exception}
	if count, ok := x.counts[key]; ok {
		return count
	}
	if len(x.counts) >= maxExcepted {
		key = exceptionKey{ExceptedOthers, ExceptedOthers}
		if count, ok := x.counts[key]; ok {
			return count
		}
	}
	if x.counts == nil {
		x.counts = make(map[exceptionKey]*atomic.Uint64)
	}
	count := new(atomic.Uint64)
	x.counts[key] = count
	return count
}

// Counts lists every exception that was in force at any time, also at zero.
func (x *Excepted) Counts() []ExceptedCount {
	x.mu.Lock()
	defer x.mu.Unlock()
	counts := make([]ExceptedCount, 0, len(x.counts))
	for key, count := range x.counts {
		counts = append(counts, ExceptedCount{key.rule, key.exception, count.Load()})
	}
	slices.SortFunc(counts, func(a, b ExceptedCount) int {
		return cmp.Or(cmp.Compare(a.Rule, b.Rule), cmp.Compare(a.Exception, b.Exception))
	})
	return counts
}
