package auditrule

import (
	"regexp"
	"strings"
	"sync"
)

// Clients, users and paths repeat, and expressions of many words are slow: so some verdicts
// are kept.
const (
	maxVerdicts     = 1024
	maxVerdictBytes = 256
)

// pattern is what matches() is called with. It may be used by several goroutines.
type pattern struct {
	expression *regexp.Regexp

	mu    sync.Mutex
	known map[string]bool // what was said of texts; guarded by mu
}

func (p *pattern) matches(text string) bool {
	if len(text) > maxVerdictBytes {
		return p.expression.MatchString(text)
	}
	p.mu.Lock()
	verdict, ok := p.known[text]
	p.mu.Unlock()
	if ok {
		return verdict
	}
	verdict = p.expression.MatchString(text)
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.known) >= maxVerdicts {
		clear(p.known)
	}
	p.known[strings.Clone(text)] = verdict
	return verdict
}
