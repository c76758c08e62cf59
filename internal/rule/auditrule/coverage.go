package auditrule

import (
	"cmp"
	"container/list"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/seawall-security/seawall/internal/rule"
	auditv1 "github.com/seawall-security/seawall/proto/audit/v1"
)

const (
	// maxObserved bounds the pairs of verb and resource that are told apart: some hundred,
	// unless rules leave the resource open. The one that was longest not seen goes.
	maxObserved = 1024
	// maxNameBytes is what names of groups and resources have at most (RFC 1123).
	maxNameBytes = 253
	// observedFor is how long a level counts after it was seen last, by the requests' time:
	// policies log some users' requests less than others', and policies change.
	observedFor = time.Hour
)

// Coverage is how much the audit policy in force records of what rules look at, as its
// events show. It is for one goroutine.
type Coverage struct {
	observed map[observedKey]*list.Element // of *observed
	order    *list.List                    // the one that was seen last in front
}

type observedKey struct{ verb, group, resource, subresource string }

// observed is the highest level that was seen lately.
type observed struct {
	key   observedKey
	level auditv1.Level
	at    int64 // seconds
}

// NewCoverage makes one that has seen nothing.
func NewCoverage() *Coverage {
	return &Coverage{observed: make(map[observedKey]*list.Element), order: list.New()}
}

// Observe takes the level of an event in, if a rule of the set needs one for such requests.
// Requests that failed do not count, for they may be about anything; nor do those of nodes
// and the control plane, which policies record less of, and rules leave alone. It allocates
// nothing for what it knows.
func (c *Coverage) Observe(set *Set, e *auditv1.Event) {
	o := e.GetObject()
	if o.GetResource() == "" || e.Level == auditv1.Level_LEVEL_UNSPECIFIED || !isAllowed(e.Code) {
		return
	}
	key := observedKey{e.Verb, o.ApiGroup, o.Resource, o.Subresource}
	if !set.needsBodyOf(key) || classOf(e.User) == node || isControlPlane(e.User.GetName()) {
		return
	}
	at := e.GetRequestTime().GetSeconds()
	place := c.observed[key]
	if place == nil {
		if len(key.group) > maxNameBytes || len(key.resource) > maxNameBytes || len(key.subresource) > maxNameBytes {
			return
		}
		if c.order.Len() >= maxObserved {
			oldest := c.order.Back()
			delete(c.observed, oldest.Value.(*observed).key)
			c.order.Remove(oldest)
		}
		key = observedKey{strings.Clone(key.verb), strings.Clone(key.group), strings.Clone(key.resource), strings.Clone(key.subresource)}
		c.observed[key] = c.order.PushFront(&observed{key, e.Level, at})
		return
	}
	c.order.MoveToFront(place)
	known := place.Value.(*observed)
	if e.Level < known.level && at-known.at < int64(observedFor/time.Second) {
		return
	}
	known.level, known.at = e.Level, max(at, known.at)
}

// needsBodyOf reports whether a rule needs more than the metadata of such requests. The verb
// and a resource are ones that rules name, or the API server's own.
func (s *Set) needsBodyOf(k observedKey) bool {
	if !slices.Contains(resourceVerbs, k.verb) {
		return false
	}
	for _, places := range [...][]place{s.index[k.resource], s.any} {
		for _, p := range places {
			if r := s.rules[p.rule]; r.Needs != rule.AuditMetadata && covers(p.pattern, k.group, k.subresource) &&
				(len(r.Verbs) == 0 || slices.Contains(r.Verbs, k.verb)) {
				return true
			}
		}
	}
	return false
}

// resourceVerbs are those of requests for resources.
var resourceVerbs = []string{"get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"}

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
		for at := c.order.Front(); at != nil; at = at.Next() {
			if seen := at.Value.(*observed); seen.level < seen.key.enough(b.Needs) && r.isAbout(seen.key) {
				b.Of = append(b.Of, seen.key.String())
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

// enough is the level of such requests that has what a rule needs: who creates or updates
// sends the object as a whole, so that the answer adds nothing.
func (k observedKey) enough(needs auditv1.Level) auditv1.Level {
	if k.verb == "create" || k.verb == "update" {
		return min(needs, auditv1.Level_LEVEL_REQUEST)
	}
	return needs
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
