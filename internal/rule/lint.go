package rule

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// Report is what [Lint] finds.
type Report struct {
	Errors   Problems
	Warnings Problems
	Rules    []*Rule
	// Audit are the rules for requests to the Kubernetes API; Lint checks none.
	Audit []*AuditRule
	// Exceptions are those of all rules, whatever file they stand in.
	Exceptions []RuleException
}

// RuleException is an exception and the id of the rule it is to.
type RuleException struct {
	Rule string
	Exception
}

// Lint checks rule files as [Load] does and tells what each rule costs.
func Lint(sources []Source, now time.Time) Report {
	set, problems := load(sources, now)
	var report Report
	report.Errors, report.Warnings = problems.split()
	if set != nil {
		report.Rules = set.Rules()
	}
	for _, r := range report.Rules {
		for _, e := range r.Exceptions {
			report.Exceptions = append(report.Exceptions, RuleException{r.ID, e})
		}
	}
	return report
}

// AddAudit adds what [LintAudit] finds in the same sources. What is wrong with a file as
// such both find.
func (r *Report) AddAudit(rules []*AuditRule, errs, warnings Problems) {
	r.Audit = rules
	for _, rule := range rules {
		for _, e := range rule.Exceptions {
			r.Exceptions = append(r.Exceptions, RuleException{rule.ID, e})
		}
	}
	known := make(map[Problem]bool)
	for _, problem := range slices.Concat(r.Errors, r.Warnings) {
		known[problem] = true
	}
	isKnown := func(p Problem) bool { return known[p] }
	all := slices.Concat(r.Errors, r.Warnings, slices.DeleteFunc(slices.Concat(errs, warnings), isKnown))
	r.Errors, r.Warnings = all.split()
}

// Write prints the problems, the rules with what the kernel admits for each, and the
// exceptions.
func (r Report) Write(w io.Writer) error {
	var b strings.Builder
	for _, list := range []Problems{r.Errors, r.Warnings} {
		for _, problem := range list {
			fmt.Fprintln(&b, problem)
		}
	}
	for _, rule := range r.Rules {
		kinds := make([]string, len(rule.Kinds))
		for i, kind := range rule.Kinds {
			kinds[i] = kind.String()
		}
		fmt.Fprintf(&b, "%s: %s\n", rule.ID, strings.Join(kinds, ", "))
		lines := rule.Interest.Lines()
		if len(lines) == 0 {
			lines = []string{"nothing beyond what is always admitted"}
		}
		for _, line := range lines {
			fmt.Fprintf(&b, "    %s\n", line)
		}
	}
	for _, rule := range r.Audit {
		about := append(append([]string{}, rule.Verbs...), rule.resources()...)
		if len(about) == 0 {
			about = []string{"every request"}
		}
		fmt.Fprintf(&b, "%s: audit, level %s: %s\n", rule.ID, rule.Needs, strings.Join(about, " "))
	}
	for _, e := range r.Exceptions {
		state := "until "
		if e.Expired() {
			state = "expired on "
		}
		fmt.Fprintf(&b, "%s: except %q, %s%s (%s: %s)\n", e.Rule, e.Name, state, e.Expires.Format(time.DateOnly), e.Author, e.Reason)
	}
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("write lint report: %w", err)
	}
	return nil
}
