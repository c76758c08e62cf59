package rule

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Problem is something wrong with a rule file. Line and Column count from 1; 0: unknown.
type Problem struct {
	File    string
	Rule    string // id, or ordinal of a rule without one; empty: the file as a whole
	Line    int
	Column  int
	Message string
	// Warning says that the file loads all the same.
	Warning bool
}

// String is file:line:column: rule id: message.
func (p Problem) String() string {
	var b strings.Builder
	b.WriteString(p.File)
	if p.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", p.Line, p.Column)
	}
	if p.Warning {
		b.WriteString(": warning")
	}
	if p.Rule != "" {
		fmt.Fprintf(&b, ": rule %s", p.Rule)
	}
	b.WriteString(": ")
	b.WriteString(p.Message)
	return b.String()
}

// Problems is all that is wrong with a set of rule files, in the order of file
// and line. It is the error of [Load].
type Problems []Problem

// Error lists the problems, one to a line.
func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i := range p {
		lines[i] = p[i].String()
	}
	return strings.Join(lines, "\n")
}

// split sorts the problems and takes the warnings from the errors.
func (p Problems) split() (errs, warnings Problems) {
	slices.SortStableFunc(p, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	for _, problem := range p {
		if problem.Warning {
			warnings = append(warnings, problem)
		} else {
			errs = append(errs, problem)
		}
	}
	return errs, warnings
}
