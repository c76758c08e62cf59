package auditrule

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"cel.dev/cel-go/cel"

	"github.com/seawall-security/seawall/internal/rule"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

// maxTextBytes bounds summary and each piece of evidence.
const maxTextBytes = 4096

// Rule is a loaded rule. It never changes.
type Rule struct {
	*rule.AuditRule

	condition  program
	exceptions []program // by place in Exceptions
	by         []program
	severities []severity
	attempt    program // the summary of one
	summary    program
	evidence   []evidence
	window     windowPrograms
	// signature tells the rule's window from others that the rule may have had.
	signature string
}

type severity struct {
	condition program
	severity  sensorv1.Severity
}

type evidence struct {
	name string
	text program
}

// windowPrograms are the expressions of a window.
type windowPrograms struct{ of, weight, also, each, always program }

// program is an expression that can be run; the zero value: the rule has none.
type program struct {
	program cel.Program
	// bounded says that its macros are to be counted.
	bounded bool
}

// Set is the loaded rules, indexed. It never changes and may be shared.
type Set struct {
	rules    []*Rule
	language *language
	expires  time.Time
	warnings rule.Problems
	// index is by resource; any is of rules for all of them or none.
	index map[string][]place
	any   []place
	paths []place
}

// place is a rule under something that it is about.
type place struct {
	rule    int
	pattern rule.AuditResource
}

// Load makes a set of the audit rules of all sources, which are those that [rule.Load]
// takes. Exceptions that have expired at now are inert; see [Set.Expires]. The error is of
// type [rule.Problems] and has everything that is wrong.
func Load(sources []rule.Source, now time.Time) (*Set, error) {
	l := newLanguage()
	read, err := rule.LoadAudit(sources, l.definition(), now)
	if err != nil {
		return nil, err
	}
	s := &Set{language: l, expires: read.Expires, warnings: read.Warnings, index: make(map[string][]place)}
	for _, r := range read.Rules {
		made, err := prepare(read, r)
		if err != nil {
			return nil, rule.Problems{{File: r.File, Rule: r.ID, Message: err.Error()}}
		}
		s.add(made)
	}
	return s, nil
}

// Lint checks the audit rules of the sources as [Load] does.
func Lint(sources []rule.Source, now time.Time) (rules []*rule.AuditRule, errs, warnings rule.Problems) {
	return rule.LintAudit(sources, newLanguage().definition(), now)
}

// Rules lists the rules in the order of their files.
func (s *Set) Rules() []*Rule { return s.rules }

// Expires is when the next exception of the set does: from then on the rules have to be
// loaded again. Zero: never.
func (s *Set) Expires() time.Time { return s.expires }

// Warnings are what is odd about the files of the set.
func (s *Set) Warnings() rule.Problems { return s.warnings }

// prepare makes programs of a rule's expressions.
func prepare(read *rule.AuditSet, r *rule.AuditRule) (*Rule, error) {
	var errs []error
	make := func(env *cel.Env, e rule.Expression) program {
		if e.Checked == nil {
			return program{}
		}
		options := []cel.ProgramOption{cel.EvalOptions(cel.OptOptimize)}
		bounded := isNested(e.Checked)
		if bounded {
			options = append(options, cel.InterruptCheckFrequency(maxRounds))
		}
		made, err := env.Program(e.Checked, options...)
		if err != nil {
			errs = append(errs, fmt.Errorf("prepare %q: %w", e.Text, err))
		}
		return program{made, bounded}
	}
	before, after := read.Env, read.Matched
	made := &Rule{AuditRule: r, condition: make(before, r.Condition), summary: make(after, r.Summary)}
	for _, e := range r.Exceptions {
		made.exceptions = append(made.exceptions, make(before, e.Condition))
	}
	parts := []string{r.ID}
	for _, e := range r.By {
		made.by = append(made.by, make(before, e))
		parts = append(parts, e.Text)
	}
	for _, s := range r.Severities {
		made.severities = append(made.severities, severity{make(after, s.If), s.Severity})
	}
	if r.Attempt != nil {
		made.attempt = make(after, r.Attempt.Summary)
	}
	for _, e := range r.Evidence {
		made.evidence = append(made.evidence, evidence{e.Name, make(after, e.Text)})
	}
	if w := r.Window; w != nil {
		made.window = windowPrograms{make(before, w.Of), make(before, w.Weight), make(before, w.Also), make(before, w.Each), make(before, w.Always)}
		parts = append(parts, fmt.Sprint(w.Measure, w.Over, w.Learn, w.Remember), w.Of.Text, w.Weight.Text)
		if more := w.Also.Text + w.Each.Text; more != "" {
			parts = append(parts, more)
		}
	}
	made.signature = hash(parts...)[:16]
	return made, errors.Join(errs...)
}

func (s *Set) add(r *Rule) {
	i := len(s.rules)
	s.rules = append(s.rules, r)
	if len(r.Resources) == 0 {
		s.any = append(s.any, place{i, rule.AuditResource{Resource: "*"}}, place{i, rule.AuditResource{Resource: "*", Subresource: "*"}})
		s.paths = append(s.paths, place{i, rule.AuditResource{Path: "*"}})
	}
	for _, pattern := range r.Resources {
		switch {
		case pattern.Path != "":
			s.paths = append(s.paths, place{i, pattern})
		case pattern.Resource == "*":
			s.any = append(s.any, place{i, pattern})
		default:
			s.index[pattern.Resource] = append(s.index[pattern.Resource], place{i, pattern})
		}
	}
}

// covers reports whether a pattern, which stands under the resource, is of these parts.
func covers(p rule.AuditResource, group, subresource string) bool {
	if p.Subresource != subresource && (p.Subresource != "*" || subresource == "") {
		return false
	}
	return p.Group == "" || p.Group == group || (p.Group == "core" && group == "")
}

func coversPath(pattern, path string) bool {
	if beginning, ok := strings.CutSuffix(pattern, "*"); ok {
		return strings.HasPrefix(path, beginning)
	}
	return pattern == path
}
