package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/seawall-security/seawall/internal/rule"
	"github.com/seawall-security/seawall/internal/rule/builtin/recordings"
	"github.com/seawall-security/seawall/tools/replay/player"
)

// testRules plays the recordings that the rules in paths name, and those of rules that
// exceptions in paths are to, or those of the built-in rules. Of the last each has to
// have some of both sorts, but audit rules: their recordings are no part of this program.
func testRules(paths []string, out io.Writer, now time.Time) error {
	brought, given, err := sources(paths)
	if err != nil {
		return err
	}
	set, err := rule.Load(slices.Concat(brought, given), now)
	if err != nil {
		return fmt.Errorf("load rules:\n%w", err)
	}
	tested := slices.Clone(set.Rules())
	if len(paths) > 0 {
		tested = slices.DeleteFunc(tested, func(r *rule.Rule) bool {
			builtin := func(file string) bool {
				return slices.ContainsFunc(brought, func(s rule.Source) bool { return s.Name == file })
			}
			return builtin(r.File) && !slices.ContainsFunc(r.Exceptions, func(e rule.Exception) bool { return !builtin(e.File) })
		})
	}
	cases := player.Check(set, tested, openRecording)
	audit, more, err := testAuditRules(brought, given, now)
	if err != nil {
		return err
	}
	played, failed := 0, 0
	for _, c := range append(cases, more...) {
		verdict := "ok  "
		switch {
		case c.Recording == "" && len(paths) > 0:
			verdict = "none"
		case c.Problem != "":
			verdict = "FAIL"
			failed++
		}
		if c.Recording != "" {
			played++
		}
		line := fmt.Sprintf("%s  %s  %s  %s", verdict, c.Rule, c.Sort(), orDash(c.Recording))
		if c.Problem != "" {
			line += ": " + c.Problem
		}
		if _, err := fmt.Fprintln(out, line); err != nil {
			return err
		}
	}
	if failed > 0 {
		return fmt.Errorf("failures: %d", failed)
	}
	_, err = fmt.Fprintf(out, "rules: %d, recordings: %d, failures: 0\n", len(tested)+audit, played)
	return err
}

// openRecording finds a recording beside the rule's file. Those of the built-in
// rules are part of this program.
func openRecording(r *rule.Rule, name string) (*player.Recording, error) {
	if builtin, ok := strings.CutPrefix(name, "recordings/"); ok && strings.HasPrefix(r.File, builtinPrefix) {
		return player.Open(recordings.FS, builtin)
	}
	dir := filepath.Dir(r.File)
	if filepath.IsAbs(name) {
		dir = "/"
		name = strings.TrimPrefix(name, "/")
	}
	path := filepath.Join(dir, name)
	return player.Open(os.DirFS(filepath.Dir(path)), filepath.Base(path))
}

func orDash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}
