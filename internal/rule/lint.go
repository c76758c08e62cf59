package rule

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// Report is what [Lint] finds.
type Report struct {
	Errors   Problems
	Warnings Problems
	Rules    []*Rule
}

// Lint checks rule files as [Load] does and tells what each rule costs.
func Lint(sources []Source, now time.Time) Report {
	set, problems := load(sources, now)
	var report Report
	report.Errors, report.Warnings = problems.split()
	if set != nil {
		report.Rules = set.Rules()
	}
	return report
}

// Write prints the problems, then the rules with what the kernel admits for each.
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
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("write lint report: %w", err)
	}
	return nil
}
