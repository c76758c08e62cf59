package pipeline

import (
	"context"
	"errors"

	"github.com/seawall-security/seawall/internal/event"
	"github.com/seawall-security/seawall/internal/rule"
)

// change is a set of rules on its way into force.
type change struct {
	rules *rule.Set
	made  chan struct{} // closed by the reader
}

// errSwitching says that two asked at once; whoever owns the rules does not.
var errSwitching = errors.New("other rules are on their way into force")

// Switch puts other rules in force: it returns once the reader has turned to them
// between two records, or with an error that says they are not in force. It may be
// called from any goroutine but the reader's.
func (p *Pipeline) Switch(ctx context.Context, rules *rule.Set) error {
	c := &change{rules: rules, made: make(chan struct{})}
	if !p.next.CompareAndSwap(nil, c) {
		return errSwitching
	}
	select {
	case <-c.made:
		return nil
	case <-ctx.Done():
	}
	if p.next.CompareAndSwap(c, nil) {
		return context.Cause(ctx)
	}
	<-c.made // the reader has just taken it
	return nil
}

// change turns to other rules, if there are some. What waits in the pen is matched with
// them too.
func (p *Pipeline) change() {
	c := p.next.Load()
	if c == nil || !p.next.CompareAndSwap(c, nil) {
		return
	}
	p.matcher = c.rules.NewMatcher(&p.excepted)
	p.options.Processes.SetMarks(c.rules.Interest().Marks, func(k event.Key, tree event.Tree) { p.Mark(k, tree) })
	close(c.made)
}

// Excepted counts what exceptions took out, over all rules that were in force; safe from
// any goroutine.
func (p *Pipeline) Excepted() []rule.ExceptedCount { return p.excepted.Counts() }
