package player

import (
	"fmt"
	"slices"
	"strings"

	"github.com/seawall-security/seawall/internal/rule"
)

// Case is one recording that a rule names, and how it went.
type Case struct {
	Rule      string
	Recording string // as the rule names it; empty: the rule has none of that sort
	Positive  bool   // the rule has to fire; else it must not
	// Problem says what is wrong; empty: nothing.
	Problem string
}

// Sort is "positive" or "negative".
func (c Case) Sort() string {
	if c.Positive {
		return "positive"
	}
	return "negative"
}

// Check plays the recordings of some of a set's rules. A rule without a positive
// or without a negative recording is a case, with a problem, too.
func Check(set *rule.Set, rules []*rule.Rule, open func(r *rule.Rule, name string) (*Recording, error)) []Case {
	var cases []Case
	for _, r := range rules {
		for _, positive := range []bool{true, false} {
			names := r.Recordings.Negative
			if positive {
				names = r.Recordings.Positive
			}
			if len(names) == 0 {
				c := Case{Rule: r.ID, Positive: positive}
				c.Problem = "no " + c.Sort() + " recording"
				cases = append(cases, c)
			}
			for _, name := range names {
				cases = append(cases, Case{
					Rule: r.ID, Recording: name, Positive: positive,
					Problem: judge(set, r, positive, func() (*Recording, error) { return open(r, name) }),
				})
			}
		}
	}
	return cases
}

func judge(set *rule.Set, r *rule.Rule, positive bool, open func() (*Recording, error)) string {
	played, err := open()
	if err != nil {
		return err.Error()
	}
	found, err := played.Detections(set)
	if err != nil {
		return err.Error()
	}
	var fired, others []string
	for _, d := range found {
		switch {
		case d.Rule == r.ID:
			fired = append(fired, d.Summary)
		case !slices.Contains(others, d.Rule):
			others = append(others, d.Rule)
		}
	}
	switch {
	case positive && len(fired) == 0 && len(others) > 0:
		return "did not fire, only " + strings.Join(others, ", ")
	case positive && len(fired) == 0:
		return "did not fire"
	case !positive && len(fired) > 0:
		return fmt.Sprintf("fired %d times: %s", len(fired), fired[0])
	}
	return ""
}
