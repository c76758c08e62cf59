// Package rule is the language of Seawall's detections: YAML files whose
// conditions are CEL over the event schema. A file says of which source's events its
// rules are: the agents' (runtime), which this package runs, or the Kubernetes audit log's
// (audit), which it reads for internal/rule/auditrule.
//
// [Load] type-checks every expression against seawall.sensor.v1.Event and lowers
// each condition to closures over the hot structs of internal/event. A [Set] is
// immutable and may be shared; a [Matcher] evaluates a Set for one goroutine and
// allocates nothing. Text is compared as the kernel gave it: conditions see raw
// bytes where the wire form of an event escapes them.
//
// From the same expressions the package derives an [Interest]: what the kernel
// must admit so that no rule misses an event it would match.
package rule

import (
	"time"

	"cel.dev/cel-go/cel"

	"github.com/seawall-security/seawall/internal/event"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

// Scope says whose processes a rule is about.
type Scope string

// Scopes. An event belongs to the host if it has no container.
const (
	ScopeAny       Scope = "any"
	ScopeContainer Scope = "container"
	ScopeHost      Scope = "host"
)

// About is what a rule of any source says of itself.
type About struct {
	ID string
	// Catalogue are the entries of the detection catalogue that the rule answers.
	Catalogue   []string
	Title       string
	Description string
	Severity    sensorv1.Severity
	Tactics     []string // MITRE ATT&CK
	Techniques  []string
	Exceptions  []Exception
	Tags        []string
	Recordings  Recordings
	// File is where the rule comes from, and Origin whose file that is.
	File   string
	Origin Origin
}

// Rule is a loaded rule for events of agents. It never changes.
type Rule struct {
	About
	Kinds []event.Kind
	Scope Scope
	// Expensive is the author's consent to an unbounded interest.
	Expensive bool
	// Interest is what the rule alone asks the kernel for; it has no marks.
	Interest Interest

	condition boolCode
	summary   cel.Program
	evidence  []evidence
	language  *language
}

// Recordings are paths of recorded events: Positive ones must match, Negative
// ones look alike and must not.
type Recordings struct {
	Positive []string
	Negative []string
}

// Exception is a case in which a rule's match is no detection.
type Exception struct {
	Name    string
	Author  string
	Reason  string
	Expires time.Time // the first day, in UTC, on which it is inert
	// File is where the exception stands: not always where its rule does.
	File string
	// Condition is type-checked. Rules for events of agents have it lowered as well.
	Condition Expression

	condition boolCode
	expired   bool
}

// Expired reports whether the exception was inert already when it was loaded.
func (e *Exception) Expired() bool { return e.expired }

// evidence is one named fact of a detection.
type evidence struct {
	name    string
	program cel.Program
}
