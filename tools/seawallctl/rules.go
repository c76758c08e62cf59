package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/seawall-security/seawall/internal/rule"
	"github.com/seawall-security/seawall/internal/rule/auditrule"
	"github.com/seawall-security/seawall/internal/rule/builtin"
)

// lintRules checks the files of paths together with the built-in ones, whose
// names they may use and whose ids they must not, and shows the cost of the
// rules in paths.
func lintRules(paths []string, out io.Writer, now time.Time) error {
	brought, given, err := sources(paths)
	if err != nil {
		return err
	}
	report := lint(slices.Concat(brought, given), now)
	if len(paths) > 0 {
		keep(&report, given)
	}
	if err := report.Write(out); err != nil {
		return err
	}
	if n := len(report.Errors); n > 0 {
		return fmt.Errorf("problems: %d", n)
	}
	_, err = fmt.Fprintf(out, "rules: %d, problems: 0\n", len(report.Rules)+len(report.Audit))
	return err
}

// lint checks the rules of every source.
func lint(all []rule.Source, now time.Time) rule.Report {
	report := rule.Lint(all, now)
	report.AddAudit(auditrule.Lint(all, now))
	return report
}

// keep leaves in a report only the rules and exceptions of some files.
func keep(report *rule.Report, of []rule.Source) {
	elsewhere := func(file string) bool {
		return !slices.ContainsFunc(of, func(s rule.Source) bool { return s.Name == file })
	}
	report.Rules = slices.DeleteFunc(slices.Clone(report.Rules), func(r *rule.Rule) bool { return elsewhere(r.File) })
	report.Audit = slices.DeleteFunc(slices.Clone(report.Audit), func(r *rule.AuditRule) bool { return elsewhere(r.File) })
	report.Exceptions = slices.DeleteFunc(report.Exceptions, func(e rule.RuleException) bool { return elsewhere(e.File) })
}

// listRules prints a line for each rule.
func listRules(paths []string, out io.Writer, now time.Time) error {
	brought, given, err := sources(paths)
	if err != nil {
		return err
	}
	all := slices.Concat(brought, given)
	set, err := rule.Load(all, now)
	if err != nil {
		return fmt.Errorf("load rules:\n%w", err)
	}
	audit, err := auditrule.Load(all, now)
	if err != nil {
		return fmt.Errorf("load rules:\n%w", err)
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "ID\tSEVERITY\tSCOPE\tKINDS\tTECHNIQUES\tEXCEPTIONS\tTITLE")
	for _, r := range set.Rules() {
		kinds := make([]string, len(r.Kinds))
		for i, kind := range r.Kinds {
			kinds[i] = kind.String()
		}
		listRule(table, &r.About, string(r.Scope), strings.Join(kinds, ","))
	}
	for _, r := range audit.Rules() {
		listRule(table, &r.About, "cluster", "audit")
	}
	return table.Flush()
}

func listRule(table io.Writer, r *rule.About, scope, kinds string) {
	inForce := slices.DeleteFunc(slices.Clone(r.Exceptions), func(e rule.Exception) bool { return e.Expired() })
	fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%d\t%s\n", r.ID, severityOf(r.Severity), scope, kinds,
		strings.Join(r.Techniques, ","), len(inForce), r.Title)
}

// builtinPrefix begins the names of the built-in rules' files.
const builtinPrefix = "builtin/"

// sources reads the built-in rule files and those of paths.
func sources(paths []string) (brought, given []rule.Source, err error) {
	if brought, err = rule.ReadFS(builtin.FS); err != nil {
		return nil, nil, err
	}
	for i := range brought {
		brought[i].Name = builtinPrefix + brought[i].Name
	}
	var problems []error
	for _, path := range paths {
		more, err := rule.ReadPath(path)
		for i := range more {
			more[i].Origin = rule.OriginLocal
		}
		problems = append(problems, err)
		given = append(given, more...)
	}
	return brought, given, errors.Join(problems...)
}
