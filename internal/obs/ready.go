package obs

import (
	"sync"
)

// Ready knows whether a binary does what it was started for. It is ready once
// every condition holds, and not ready again as soon as one no longer does.
// The zero Ready has no conditions and is ready. All methods, also those of its
// conditions, are safe for use by any goroutine.
type Ready struct {
	mu         sync.Mutex
	conditions []*Condition // guarded by mu, as what they point to
}

// Condition is one thing that must hold before a binary is ready.
type Condition struct {
	ready  *Ready
	name   string
	reason string // why it does not hold; empty: it holds
}

// Missing is a condition that does not hold, and why.
type Missing struct {
	Condition string `json:"condition"`
	Reason    string `json:"reason"`
}

// Add registers a condition that does not hold yet. Names are for people; two
// conditions of one name are two conditions.
func (r *Ready) Add(name string) *Condition {
	c := &Condition{ready: r, name: name, reason: "starting"}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.conditions = append(r.conditions, c)
	return c
}

// Missing lists the conditions that do not hold, in the order they were added.
// An empty list says ready.
func (r *Ready) Missing() []Missing {
	r.mu.Lock()
	defer r.mu.Unlock()
	missing := []Missing{}
	for _, c := range r.conditions {
		if c.reason != "" {
			missing = append(missing, Missing{Condition: c.name, Reason: c.reason})
		}
	}
	return missing
}

// Hold says that the condition holds from now on.
func (c *Condition) Hold() { c.set("") }

// Fail says that the condition does not hold, and why.
func (c *Condition) Fail(reason string) {
	if reason == "" {
		reason = "unknown"
	}
	c.set(reason)
}

func (c *Condition) set(reason string) {
	c.ready.mu.Lock()
	defer c.ready.mu.Unlock()
	c.reason = reason
}
