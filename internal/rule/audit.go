package rule

import (
	"time"

	"cel.dev/cel-go/cel"

	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

// AuditRule is a rule for requests to the Kubernetes API, type-checked. It never changes.
// internal/rule/auditrule runs it.
type AuditRule struct {
	About
	// Verbs and Resources are those of the requests that the rule is about. Empty: all.
	Verbs     []string
	Resources []AuditResource
	// Needs is how much the audit policy has to record of them.
	Needs AuditLevel
	// Outcomes are those of the requests that count.
	Outcomes  Outcomes
	Condition Expression
	// By are texts; requests that have them in common are one alert.
	By []Expression
	// Window is nil for a rule that speaks of single requests.
	Window *AuditWindow
	// Severities take the place of Severity: the first that holds.
	Severities []AuditSeverity
	// Attempt is nil for a rule that has nothing to say of refused requests.
	Attempt  *AuditAttempt
	Summary  Expression
	Evidence []AuditEvidence
}

// Expression is a piece of CEL, type-checked. The zero value: the rule says none.
type Expression struct {
	Text    string
	Checked *cel.Ast
}

// AuditResource is a pattern of what requests are for.
type AuditResource struct {
	// Resource and Subresource may be *: any. An empty Subresource is the resource itself.
	Resource, Subresource string
	// Group is the API group; empty: any, core: that without a name.
	Group string
	// Path is of requests for no resource; with * at its end its beginning. Resource is
	// empty then.
	Path string
}

// AuditLevel is how much of a request is recorded.
type AuditLevel uint8

// Levels in the order of what they record.
const (
	AuditMetadata AuditLevel = iota
	AuditRequest
	AuditResponse
)

func (l AuditLevel) String() string { return [...]string{"metadata", "request", "response"}[l] }

// resources are the rule's as its file says them.
func (r *AuditRule) resources() []string {
	var all []string
	for _, p := range r.Resources {
		name := p.Resource + p.Path
		if p.Group != "" {
			name += "." + p.Group
		}
		if p.Subresource != "" {
			name += "/" + p.Subresource
		}
		all = append(all, name)
	}
	return all
}

// Outcomes is a set of how requests ended.
type Outcomes uint8

// Outcomes of requests, by their HTTP status: below 400, 401 and 403, others.
const (
	OutcomeAllowed Outcomes = 1 << iota
	OutcomeDenied
	OutcomeFailed
)

// AuditSeverity is the severity of a match for which a condition holds.
type AuditSeverity struct {
	If       Expression
	Severity sensorv1.Severity
}

// AuditAttempt is what a rule says of a request that was refused.
type AuditAttempt struct {
	Severity sensorv1.Severity // 0: as for others
	Summary  Expression        // zero: as for others
}

// AuditEvidence is one named fact of a match.
type AuditEvidence struct {
	Name string
	Text Expression
}

// Measure is what a window adds up.
type Measure uint8

// Measures of the requests of a window.
const (
	MeasureCount    Measure = iota // requests
	MeasureDistinct                // different values of them
	MeasureScore                   // weights of the different values
	MeasureFirst                   // whether the value is new
)

// AuditWindow is a condition over several requests.
type AuditWindow struct {
	Measure Measure
	// Over is the length of time within which they come, and Above what they have to
	// exceed. Of MeasureFirst there is neither.
	Over  time.Duration
	Above int64
	// Of is the value and Weight, of MeasureScore, what one weighs. Also, of MeasureDistinct,
	// is told along with the values.
	Of, Weight, Also Expression
	// Each, of MeasureFirst, are the values in the place of Of, and requests for which Always
	// holds raise whatever the value is.
	Each, Always Expression
	// Of MeasureFirst: how old a key has to be before a value counts as new, and for how
	// long one is remembered.
	Learn, Remember time.Duration
}

// AuditLanguage is what conditions of audit rules are written in.
type AuditLanguage struct {
	// Declare makes the environment, in which lists are variables.
	Declare func(lists map[string][]string) (*cel.Env, error)
	// Matched are what is known beyond that once a rule has matched.
	Matched []cel.EnvOption
	// Reserved reports whether a name is taken, so that no list can have it.
	Reserved func(name string) bool
	// Judge finds what is of the right types and still not to be written, and the id of
	// the expression that is to blame.
	Judge func(*cel.Ast) (at int64, err error)
}

// AuditSet is the rules for requests to the Kubernetes API among files.
type AuditSet struct {
	Rules []*AuditRule
	Lists map[string][]string
	// Env is the environment that the conditions were checked in, and Matched the one of
	// what is evaluated after them.
	Env, Matched *cel.Env
	// Expires is when the next exception does. Zero: never.
	Expires  time.Time
	Warnings Problems
}

// LoadAudit reads the audit rules of all sources and type-checks them in a language, as
// [Load] does the others.
func LoadAudit(sources []Source, language AuditLanguage, now time.Time) (*AuditSet, error) {
	set, problems := loadAudit(sources, language, now)
	errs, warnings := problems.split()
	if len(errs) > 0 {
		return nil, errs
	}
	set.Warnings = warnings
	return set, nil
}

// LintAudit is like LoadAudit, but returns what is right along with what is wrong.
func LintAudit(sources []Source, language AuditLanguage, now time.Time) (rules []*AuditRule, errs, warnings Problems) {
	set, problems := loadAudit(sources, language, now)
	if set != nil {
		rules = set.Rules
	}
	errs, warnings = problems.split()
	return rules, errs, warnings
}

func loadAudit(sources []Source, of AuditLanguage, now time.Time) (*AuditSet, Problems) {
	l := loader{source: sourceAudit, now: now, judge: of.Judge}
	files := l.parse(sources)
	declare := func(lists map[string][]string) (*language, error) {
		env, err := of.Declare(lists)
		return &language{env: env, lists: lists}, err
	}
	if !l.declare(files, declare, of.Reserved) {
		return nil, l.problems
	}
	matched, err := l.language.env.Extend(of.Matched...)
	if err != nil {
		l.problems = append(l.problems, Problem{Message: err.Error()})
		return nil, l.problems
	}
	own, foreign, ok := l.choose(files)
	if !ok {
		return nil, l.problems
	}
	set := &AuditSet{Lists: l.language.lists, Env: l.language.env, Matched: matched}
	var abouts []*About
	for _, chosen := range own {
		r := l.auditRule(chosen.file, chosen.spec, matched)
		set.Rules, abouts = append(set.Rules, r), append(abouts, &r.About)
	}
	l.exceptions(files, abouts, foreign)
	for _, about := range abouts {
		set.Expires = about.nextExpiry(set.Expires)
	}
	return set, l.problems
}

func (l *loader) auditRule(f *file, spec *ruleSpec, matched *cel.Env) *AuditRule {
	written := &spec.audit
	r := written.rule
	expression := func(env *cel.Env, t text, want *cel.Type) Expression {
		return Expression{t.value, l.checkIn(env, f, spec.label, t, want)}
	}
	r.Condition = expression(l.language.env, spec.condition, cel.BoolType)
	for _, t := range written.by {
		r.By = append(r.By, expression(l.language.env, t, cel.StringType))
	}
	if r.Window != nil {
		window := *r.Window
		window.Of = expression(l.language.env, written.of, cel.StringType)
		window.Weight = expression(l.language.env, written.weight, cel.IntType)
		window.Also = expression(l.language.env, written.also, cel.StringType)
		window.Each = expression(l.language.env, written.each, cel.ListType(cel.StringType))
		window.Always = expression(l.language.env, written.always, cel.BoolType)
		r.Window = &window
	}
	for i, t := range written.ifs {
		r.Severities[i].If = expression(matched, t, cel.BoolType)
	}
	if r.Attempt != nil {
		attempt := *r.Attempt
		attempt.Summary = expression(matched, written.attemptSummary, cel.StringType)
		r.Attempt = &attempt
	}
	r.Summary = expression(matched, spec.summary, cel.StringType)
	for _, e := range spec.evidence {
		r.Evidence = append(r.Evidence, AuditEvidence{e.name, expression(matched, e.expr, cel.StringType)})
	}
	for i := range spec.exceptions {
		if e, ok := l.exception(f, spec.label, &spec.exceptions[i]); ok {
			l.except(f, &r.About, e, spec.exceptions[i].node)
		}
	}
	return &r
}
