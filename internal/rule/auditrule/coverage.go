package auditrule

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/seawall-security/seawall/internal/rule"
	auditv1 "github.com/seawall-security/seawall/proto/audit/v1"
)

const (
	// maxObserved bounds the pairs of verb and resource that are told apart.
	maxObserved = 4096
	// observedFor is how long a level counts after it was seen last, by the requests' time:
	// policies log some users' requests less than others', and policies change.
	observedFor = time.Hour
)

// Coverage is how much the audit policy in force records, as its events show. It is for one
// goroutine.
type Coverage struct {
	observed map[observedKey]observed
}

type observedKey struct{ verb, group, resource, subresource string }

// observed is the highest level that was seen lately.
type observed struct {
	level auditv1.Level
	at    int64 // seconds
}

// NewCoverage makes one that has seen nothing.
func NewCoverage() *Coverage { return &Coverage{observed: make(map[observedKey]observed)} }

// Observe takes the level of an event in. It allocates nothing for what it knows.
func (c *Coverage) Observe(e *auditv1.Event) {
	o := e.GetObject()
	if o.GetResource() == "" || e.Level == auditv1.Level_LEVEL_UNSPECIFIED {
		return
	}
	key := observedKey{e.Verb, o.ApiGroup, o.Resource, o.Subresource}
	known, ok := c.observed[key]
	at := e.GetRequestTime().GetSeconds()
	switch {
	case !ok && len(c.observed) >= maxObserved:
		return
	case !ok:
		key = observedKey{strings.Clone(key.verb), strings.Clone(key.group), strings.Clone(key.resource), strings.Clone(key.subresource)}
	case e.Level < known.level && at-known.at < int64(observedFor/time.Second):
		return
	}
	c.observed[key] = observed{e.Level, max(at, known.at)}
}

// Blind is a rule that cannot do what it is for, and of what.
type Blind struct {
	Rule *Rule
	// Needs is the level that it needs, and Sees the lowest that was seen of what it is
	// about.
	Needs, Sees auditv1.Level
	// Of are verbs and resources that are recorded below what it needs, such as create pods.
	Of []string
}

// Reason says it in a sentence.
func (b Blind) Reason() string {
	of := strings.Join(b.Of[:min(len(b.Of), 4)], ", ")
	if more := len(b.Of) - 4; more > 0 {
		of += fmt.Sprintf(" and %d more", more)
	}
	return fmt.Sprintf("the audit policy records %s at level %s; the rule needs %s", of, levelName(b.Sees), levelName(b.Needs))
}

func levelName(l auditv1.Level) string {
	switch l {
	case auditv1.Level_LEVEL_METADATA:
		return "Metadata"
	case auditv1.Level_LEVEL_REQUEST:
		return "Request"
	case auditv1.Level_LEVEL_REQUEST_RESPONSE:
		return "RequestResponse"
	}
	return "None"
}

// needs is the level of the schema that a rule needs.
func needs(r *Rule) auditv1.Level { return auditv1.Level(r.Needs) + auditv1.Level_LEVEL_METADATA }

// Blind lists the rules of a set that are blind for something that was seen, in their
// order. What was not seen is not known.
func (c *Coverage) Blind(set *Set) []Blind {
	var all []Blind
	for _, r := range set.rules {
		b := Blind{Rule: r, Needs: needs(r), Sees: auditv1.Level_LEVEL_REQUEST_RESPONSE}
		if r.Needs == rule.AuditMetadata {
			continue
		}
		for key, seen := range c.observed {
			if seen.level < b.Needs && r.isAbout(key) {
				b.Of = append(b.Of, key.String())
				b.Sees = min(b.Sees, seen.level)
			}
		}
		if len(b.Of) > 0 {
			slices.Sort(b.Of)
			all = append(all, b)
		}
	}
	return all
}

func (k observedKey) String() string {
	name := k.resource
	if k.group != "" {
		name += "." + k.group
	}
	if k.subresource != "" {
		name += "/" + k.subresource
	}
	return cmp.Or(k.verb, "?") + " " + name
}

// isAbout reports whether the rule is about such requests.
func (r *Rule) isAbout(k observedKey) bool {
	if len(r.Verbs) > 0 && !slices.Contains(r.Verbs, k.verb) {
		return false
	}
	return len(r.Resources) == 0 || slices.ContainsFunc(r.Resources, func(p rule.AuditResource) bool {
		return (p.Resource == "*" || p.Resource == k.resource) && covers(p, k.group, k.subresource)
	})
}
