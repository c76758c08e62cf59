package auditrule

import (
	"cmp"
	"slices"
	"sync"
	"sync/atomic"
)

// RuleStats are the counts of one rule.
type RuleStats struct {
	Rule string
	// Matches that were returned.
	Matches uint64
	// Errors of its expressions: of a condition, then it does not match, or of a text.
	Errors uint64
	// Evicted are keys and values that were forgotten before their time, and Dropped
	// requests of a key: there were more than a matcher remembers.
	Evicted, Dropped uint64
}

// counters are those of all rules that a matcher has had.
type counters struct {
	mu     sync.Mutex
	byRule map[string]*ruleCounters
}

type ruleCounters struct{ matches, errors, evicted, dropped atomic.Uint64 }

func (c *counters) of(id string) *ruleCounters {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.byRule == nil {
		c.byRule = make(map[string]*ruleCounters)
	}
	if c.byRule[id] == nil {
		c.byRule[id] = new(ruleCounters)
	}
	return c.byRule[id]
}

// Stats are the counts of every rule that the matcher has had, since it was made. It is
// safe for concurrent use.
func (m *Matcher) Stats() []RuleStats {
	m.counts.mu.Lock()
	defer m.counts.mu.Unlock()
	stats := make([]RuleStats, 0, len(m.counts.byRule))
	for id, c := range m.counts.byRule {
		stats = append(stats, RuleStats{
			Rule: id, Matches: c.matches.Load(), Errors: c.errors.Load(), Evicted: c.evicted.Load(), Dropped: c.dropped.Load(),
		})
	}
	slices.SortFunc(stats, func(a, b RuleStats) int { return cmp.Compare(a.Rule, b.Rule) })
	return stats
}
