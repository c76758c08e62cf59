package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seawall-security/seawall/internal/rule/builtin/recordings"
)

const good = `
rules:
  - id: netcat-started
    title: Netcat was started
    description: A test.
    severity: low
    attack: {tactics: [TA0011], techniques: [T1095]}
    kinds: [process_exec]
    condition: process.name == "nc"
    summary: |
      "netcat"
`

const exception = `
exceptions:
  - rule: [exec-fileless-memfd]
    name: everything
    condition: process.pid > 0u
    author: ops
    reason: a test
    expires: UNTIL
`

const recorded = `
rules:
  - id: memfd-seen
    title: A memfd was run
    description: A test.
    severity: low
    kinds: [process_exec]
    condition: process.exe.memfd
    summary: |
      "seen"
    recordings:
      positive: [../recordings/exec-fileless-memfd/positive-memfd.jsonl]
      negative: [../recordings/exec-fileless-memfd/positive-memfd.jsonl, nowhere.jsonl]
`

// tree writes rule files into a folder.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	folder := t.TempDir()
	for name, text := range files {
		path := filepath.Join(folder, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return folder
}

func TestRun(t *testing.T) {
	folder := tree(t, map[string]string{
		"good/nested/good.yaml": good,
		"good/README.md":        "not a rule file",
		"bad/bad.yaml":          strings.Replace(good, `process.name == "nc"`, `process.nam == "nc"`, 1),
		"twice/twice.yaml":      strings.Replace(good, "netcat-started", "exec-fileless-memfd", 1),
		"empty/README.md":       "nothing",
		"except/except.yaml":    strings.ReplaceAll(exception, "UNTIL", "2999-01-01"),
		"expired/except.yaml":   strings.ReplaceAll(exception, "UNTIL", "2020-01-01"),
		"nobody/except.yaml":    strings.ReplaceAll(exception, "[exec-fileless-memfd]", "exec-fileles-memfd"),
		"recorded/memfd.yaml":   recorded,
		"audit/audit.yaml":      auditRules + "    recordings: {positive: [shell.jsonl], negative: [other.jsonl, shell.jsonl, none.jsonl, bad.jsonl]}\n",
		"audit/shell.jsonl":     exec("1", "ResponseStarted", "10:00:00", "10:00:00", "web", 101),
		"audit/other.jsonl":     strings.ReplaceAll(exec("1", "ResponseStarted", "10:00:00", "10:00:00", "web", 101), "command=sh", "command=ls"),
		"audit/bad.jsonl":       "nothing\n",
		"wrong/audit.yaml":      strings.Replace(auditRules, "command_line.", "manifest.", 1) + "    needs: all\n",
	})
	if err := os.CopyFS(filepath.Join(folder, "recordings"), recordings.FS); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		args   string // DIR stands for the folder
		status int
		out    []string
		errs   string
		absent string // from out
	}{
		{args: "version", status: statusOK, out: []string{"seawallctl "}},
		{args: "help", status: statusOK, out: []string{"seawallctl rules lint [PATH...]"}},
		{args: "", status: statusUsage, errs: "Usage:"},
		{args: "rules", status: statusUsage, errs: "Usage:"},
		{args: "version now", status: statusUsage, errs: `unexpected argument "now"`},
		{args: "rules lint --fix", status: statusUsage, errs: `unexpected argument "--fix"`},
		{args: "agents list web", status: statusFailed, errs: `unexpected argument "web"`},
		{args: "audit status web", status: statusFailed, errs: `unexpected argument "web"`},
		{args: "bundle show web", status: statusFailed, errs: `unexpected argument "web"`},
		{args: "alerts list web", status: statusFailed, errs: `unexpected argument "web"`},
		{args: "rules lint", status: statusOK, out: []string{"exec-fileless-memfd: process_exec", "problems: 0"}},
		{args: "rules lint DIR/good", status: statusOK, out: []string{"netcat-started: process_exec", "rules: 1, problems: 0"}, absent: "exec-fileless-memfd"},
		{args: "rules lint DIR/good/nested/good.yaml", status: statusOK, out: []string{"rules: 1, problems: 0"}},
		{args: "rules lint DIR/bad", status: statusFailed, out: []string{"DIR/bad/bad.yaml:9:", "rule netcat-started", "nam"}, errs: "problems: 1"},
		{args: "rules lint DIR/twice", status: statusFailed, out: []string{"DIR/twice/twice.yaml:", "exec-fileless-memfd", "has this id"}, errs: "problems: 1"},
		{args: "rules lint DIR/empty DIR/nowhere", status: statusFailed, errs: "DIR/empty holds no *.yaml\nread rules: stat DIR/nowhere"},
		{args: "rules list", status: statusOK, out: []string{"exec-fileless-memfd", "critical", "T1620"}, absent: "netcat-started"},
		{args: "rules list DIR/good", status: statusOK, out: []string{"exec-fileless-memfd", "netcat-started"}},
		{args: "rules test", status: statusOK, out: []string{"ok    exec-fileless-memfd  positive  recordings/exec-fileless-memfd/positive-memfd.jsonl", "failures: 0"}, absent: "FAIL"},
		{args: "rules test DIR/good", status: statusOK, out: []string{"none  netcat-started  negative  -: no negative recording", "rules: 1, recordings: 0, failures: 0"}, absent: "exec-fileless-memfd"},
		{args: "rules test DIR/recorded", status: statusFailed, out: []string{
			"ok    memfd-seen  positive  ../recordings/exec-fileless-memfd/positive-memfd.jsonl",
			"FAIL  memfd-seen  negative  ../recordings/exec-fileless-memfd/positive-memfd.jsonl: fired 1 times: seen",
			"FAIL  memfd-seen  negative  nowhere.jsonl: open recording",
		}, errs: "failures: 2"},
		{args: "rules test DIR/bad", status: statusFailed, errs: "DIR/bad/bad.yaml:9:"},
		{args: "rules lint DIR/except", status: statusOK, out: []string{
			"exec-fileless-memfd: except \"everything\", until 2999-01-01 (ops: a test)\nrules: 0, problems: 0"}, absent: "warning"},
		{args: "rules lint DIR/expired", status: statusOK, out: []string{"warning: rule exec-fileless-memfd: exception \"everything\" expired on 2020-01-01", "expired on 2020-01-01 (ops"}},
		{args: "rules lint DIR/nobody", status: statusFailed, out: []string{`DIR/nobody/except.yaml:3:11: rule exec-fileles-memfd: exception "everything" is to a rule that there is not`}, errs: "problems: "},
		{args: "rules list DIR/except", status: statusOK, out: []string{"EXCEPTIONS", "T1620,T1027                1 "}},
		{args: "rules list DIR/expired", status: statusOK, out: []string{"T1620,T1027                0 "}},
		{args: "rules test DIR/except", status: statusFailed, out: []string{"FAIL  exec-fileless-memfd  positive  recordings/exec-fileless-memfd/positive-memfd.jsonl: did not fire"}, errs: "failures: ", absent: "sensitive-file-read"},
		{args: "rules test DIR/expired", status: statusOK, out: []string{"ok    exec-fileless-memfd  positive"}},
		{args: "rules lint DIR/audit", status: statusOK, out: []string{"shell-in-pod: audit, level metadata: pods/exec\nrules: 1, problems: 0"}},
		{args: "rules lint DIR/wrong", status: statusFailed, out: []string{`DIR/wrong/audit.yaml:13:12: rule shell-in-pod: needs "all" is not one of`}, errs: "problems: 1"},
		{args: "rules list DIR/audit", status: statusOK, out: []string{"shell-in-pod", "cluster", "exec-fileless-memfd"}},
		{args: "rules test DIR/audit", status: statusFailed, out: []string{
			"ok    shell-in-pod  positive  shell.jsonl", "ok    shell-in-pod  negative  other.jsonl",
			"FAIL  shell-in-pod  negative  shell.jsonl: fired 1 times: alice ran sh -c id in web",
			"FAIL  shell-in-pod  negative  none.jsonl: open ", "FAIL  shell-in-pod  negative  bad.jsonl: DIR/audit/bad.jsonl:1: ",
		}, errs: "failures: 3", absent: "exec-fileless-memfd"},
		{args: "rules list DIR/bad", status: statusFailed, errs: "DIR/bad/bad.yaml:9:"},
	} {
		t.Run(test.args, func(t *testing.T) {
			in := func(text string) string { return strings.ReplaceAll(text, "DIR", folder) }
			var out, errs bytes.Buffer
			if status := run(t.Context(), strings.Fields(in(test.args)), &out, &errs); status != test.status {
				t.Errorf("status %d, want %d", status, test.status)
			}
			for _, part := range test.out {
				if !strings.Contains(out.String(), in(part)) {
					t.Errorf("output lacks %q", in(part))
				}
			}
			if test.absent != "" && strings.Contains(out.String(), test.absent) {
				t.Errorf("output has %q", test.absent)
			}
			if !strings.Contains(errs.String(), in(test.errs)) || test.errs == "" && errs.Len() > 0 {
				t.Errorf("errors lack %q", in(test.errs))
			}
			if t.Failed() {
				t.Logf("output:\n%serrors:\n%s", &out, &errs)
			}
		})
	}
}
