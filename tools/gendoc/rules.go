package main

import (
	"bytes"
	"cmp"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/seawall-security/seawall/internal/rule"
	"github.com/seawall-security/seawall/internal/rule/auditrule"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

const rulesIntro = `# Audit rules

Written by ` + "`go generate ./tools/gendoc`" + ` from ` + "`internal/rule/builtin/audit-*.yaml`" + `: change it there. What a rule says, what looks
alike and how to except it is in its description.

Severities are those that a rule may give, the first if nothing else holds; in brackets that of a request that was
refused. Levels are what the audit policy has to record at least; ` + "`seawallctl`" + ` and the collector name the rules
that a policy leaves blind. Rules that learn say nothing until they have.
`

// auditRules renders the built-in rules for the audit log, by file.
func auditRules(fsys fs.FS) ([]byte, error) {
	sources, err := rule.ReadFS(fsys)
	if err != nil {
		return nil, err
	}
	// Nothing that the page shows depends on the time: built-in rules have no exceptions that expire.
	set, err := auditrule.Load(sources, time.Unix(0, 0))
	if err != nil {
		return nil, fmt.Errorf("load the built-in rules: %w", err)
	}
	b := bytes.NewBufferString(rulesIntro)
	for _, source := range sources {
		heading := fmt.Sprintf("\n## %s\n\n| Rule | What | Severity | Level | Techniques |\n|---|---|---|---|---|\n",
			strings.TrimSuffix(strings.TrimPrefix(source.Name, "audit-"), ".yaml"))
		for _, r := range set.Rules() {
			if r.File == source.Name {
				b.WriteString(heading)
				row(b, "`"+r.ID+"`", what(r), severities(r), r.Needs.String(), strings.Join(r.Techniques, " "))
				heading = ""
			}
		}
	}
	return b.Bytes(), nil
}

func what(r *auditrule.Rule) string {
	text := r.Title
	if w := r.Window; w != nil && w.Learn > 0 {
		text += fmt.Sprintf("; learns for %d h", int(w.Learn.Hours()))
	}
	var others []string
	for _, id := range r.Catalogue {
		if id != r.ID {
			others = append(others, id)
		}
	}
	if len(others) > 0 {
		text += " (of " + strings.Join(others, ", ") + ")"
	}
	return text
}

// severities are those a rule may give, the usual one first, then from the worst on.
func severities(r *auditrule.Rule) string {
	others := make([]sensorv1.Severity, 0, len(r.Severities))
	for _, s := range r.Severities {
		if s.Severity != r.Severity && !slices.Contains(others, s.Severity) {
			others = append(others, s.Severity)
		}
	}
	slices.SortFunc(others, func(a, b sensorv1.Severity) int { return cmp.Compare(b, a) })
	names := []string{severityName(r.Severity)}
	for _, s := range others {
		names = append(names, severityName(s))
	}
	text := strings.Join(names, ", ")
	if r.Attempt != nil {
		text += " (" + severityName(r.Attempt.Severity) + ")"
	}
	return text
}

func severityName(s sensorv1.Severity) string {
	return strings.ToLower(strings.TrimPrefix(s.String(), "SEVERITY_"))
}
