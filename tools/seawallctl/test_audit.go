package main

import (
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/seawall-security/seawall/internal/rule"
	"github.com/seawall-security/seawall/internal/rule/auditrule"
	"github.com/seawall-security/seawall/tools/replay/player"
)

// testAuditRules plays the recordings of the audit rules among given, and says how many
// rules those are.
func testAuditRules(brought, given []rule.Source, now time.Time) (tested int, cases []player.Case, err error) {
	set, err := auditrule.Load(slices.Concat(brought, given), now)
	if err != nil {
		return 0, nil, fmt.Errorf("load rules:\n%w", err)
	}
	for _, r := range set.Rules() {
		if !slices.ContainsFunc(given, func(s rule.Source) bool { return s.Name == r.File }) {
			continue
		}
		tested++
		for _, positive := range []bool{true, false} {
			names := r.Recordings.Negative
			if positive {
				names = r.Recordings.Positive
			}
			if len(names) == 0 {
				c := player.Case{Rule: r.ID, Positive: positive}
				c.Problem = "no " + c.Sort() + " recording"
				cases = append(cases, c)
			}
			for _, name := range names {
				cases = append(cases, player.Case{Rule: r.ID, Recording: name, Positive: positive, Problem: judgeAudit(set, r, name, positive)})
			}
		}
	}
	return tested, cases, nil
}

// judgeAudit says what is wrong with how a rule meets a recording; empty: nothing.
func judgeAudit(set *auditrule.Set, r *auditrule.Rule, name string, positive bool) string {
	if !filepath.IsAbs(name) {
		name = filepath.Join(filepath.Dir(r.File), name)
	}
	var errs strings.Builder
	log, err := openAuditLog([]string{name}, &errs)
	if err != nil {
		return err.Error()
	}
	defer log.close()
	var fired []string
	err = playAudit(set, log, io.Discard, func() error { return nil }, func(a *auditAlert) error {
		if a.Rule == r.ID {
			fired = append(fired, a.Summary)
		}
		return nil
	})
	switch {
	case err != nil:
		return err.Error()
	case log.bad > 0:
		return strings.TrimSpace(errs.String())
	case positive && len(fired) == 0:
		return "did not fire"
	case !positive && len(fired) > 0:
		return fmt.Sprintf("fired %d times: %s", len(fired), fired[0])
	}
	return ""
}
