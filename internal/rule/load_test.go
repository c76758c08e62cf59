package rule

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seawall-security/seawall/internal/event"
)

// withRule is a rule file with one rule whose condition stands on line 9 and further lines
// follow; column 5 is the condition's first.
func withRule(condition string, more ...string) string {
	return `lists:
  shells: [bash]
rules:
  - id: a-rule
    title: A rule
    severity: low
    kinds: [process_exec, file_open]
    condition: |
      ` + strings.ReplaceAll(condition, "\n", "\n      ") + `
    summary: process.name
    ` + strings.Join(more, "\n    ") + "\n"
}

func TestLoadNamesFileRuleLineAndColumn(t *testing.T) {
	for _, test := range []struct {
		name, yaml string
		want       []string
	}{
		{"unknown field", withRule(`process.nmae == "x"`), []string{`rules.yaml:9:14: rule a-rule: undefined field 'nmae'`}},
		{"second line of a block", withRule("has(exec) &&\n  process.name = 3"), []string{`rules.yaml:10:22: rule a-rule: Syntax error: token recognition error at: '= '`, `rules.yaml:10:24: rule a-rule: Syntax error: extraneous input '3' expecting <EOF>`}},
		{"unknown list", withRule(`process.name in shels`), []string{`rules.yaml:9:23: rule a-rule: undeclared reference to 'shels' (did you mean 'shells'?)`}},
		{"index", withRule(`has(exec) && process.args[0] == "x"`), []string{`rules.yaml:9:32: rule a-rule: an index out of range would be an error; write .at(i) or .get(key)`}},
		{"arithmetic", withRule(`has(exec) && process.pid + 1u == 3u`), []string{`rules.yaml:9:32: rule a-rule: conditions cannot use +`}},
		{"map macro", withRule(`has(exec) && process.args.map(a, a).size() == 1`), []string{`rules.yaml:9:36: rule a-rule: of the macros conditions can use has, exists and all`}},
		{"process id", withRule(`has(exec) && process.id == ""`), []string{`rules.yaml:9:27: rule a-rule: conditions cannot read id: a process id is not known before it is computed; compare pid and start_time_ns`}},
		{"address that no event has", withRule(`connect.remote.ip == "010.0.0.1"`), []string{`rules.yaml:9:28: rule a-rule: "010.0.0.1" is not an address as events write it`}},
		{"macros over what an intruder chooses", withRule(`has(exec) && process.args.exists(a, process.args.exists(b, a + b == "x"))`),
			[]string{`rules.yaml:9:62: rule a-rule: macros within macros may run 67108864 times for one event, more than 262144`}},
		{"nested too deep", withRule(`has(exec) && ancestors.exists(a, ancestors.exists(b, ancestors.exists(c, ancestors.exists(d, ancestors.exists(e, a.name == e.name)))))`),
			[]string{`rules.yaml:9:116: rule a-rule: macros nest more than 4 deep`}},
		{"type", withRule(`process.name`), []string{`rules.yaml:9:7: rule a-rule: expression is of type string, not bool`}},
		{"unbounded", withRule(`open.write`), []string{`rules.yaml:9:7: rule a-rule: the condition does not bound which events it needs (open for write): EVERY ONE on the node is sent to the agent; bound them by name, suffix, prefix or port, or say expensive: true`}},
		{"exception", withRule(`process.name in shells && has(exec)`, `exceptions:`, `  - name: x`, `    author: y`, `    reason: z`, `    expires: 2030-01-01`, `    condition: "process.nam == 'x'"`),
			[]string{`rules.yaml:16:28: rule a-rule: undefined field 'nam'`}},
		{"exception without a date", withRule(`has(exec)`, `exceptions:`, `  - {name: x, author: y, reason: z, expires: soon, condition: has(exec)}`),
			[]string{`rules.yaml:12:50: rule a-rule: expires "soon" is not a day such as 2027-03-31`, `rules.yaml:12:50: rule a-rule: expires is missing or not usable`}},
		{"summary of another type", strings.Replace(withRule(`has(exec)`), "summary: process.name", "summary: process.pid", 1),
			[]string{`rules.yaml:10:14: rule a-rule: expression is of type uint, not string`}},
		{"unknown key", withRule(`has(exec)`, `colour: red`), []string{`rules.yaml:11:5: rule a-rule: a rule has no key "colour"`}},
		{"key twice", withRule(`has(exec)`, `title: again`), []string{`rules.yaml:11:5: rule a-rule: key "title" is given twice`}},
		{"unknown kind", strings.Replace(withRule(`has(exec)`), "file_open", "file_opened", 1), []string{`rules.yaml:7:27: rule a-rule: "file_opened" is no kind of event`}},
		{"severity", strings.Replace(withRule(`has(exec)`), "low", "loud", 1), []string{`rules.yaml:6:15: rule a-rule: severity "loud" is not one of info, low, medium, high, critical`, `rules.yaml:6:15: rule a-rule: severity is missing or not usable`}},
		{"id", strings.Replace(withRule(`has(exec)`), "a-rule", "A_rule", 1), []string{`rules.yaml:4:9: rule A_rule: id is missing or not usable`}},
		{"no rule at all", "rules:\n  - {}\n", []string{
			`rules.yaml:2:5: rule #1: id is missing or not usable`, `rules.yaml:2:5: rule #1: title is missing or not usable`,
			`rules.yaml:2:5: rule #1: severity is missing or not usable`, `rules.yaml:2:5: rule #1: kinds is missing or not usable`,
			`rules.yaml:2:5: rule #1: condition is missing or not usable`, `rules.yaml:2:5: rule #1: summary is missing or not usable`,
		}},
		{"list name of the language", "lists: {process: [a]}", []string{`rules.yaml:1:9: the name process is taken by the language`}},
		{"function without body", "functions: {f: {of: p}}", []string{`rules.yaml:1:13: function f needs of, the name of what it tests, and is`}},
		{"function by a word of the language", "functions: {in: {of: p, is: p.unknown}}", []string{`rules.yaml:1:13: function in is given twice, or a word of the language`}},
		{"function whose body is no CEL", "functions: {f: {of: p, is: 'p.unknown &&'}}", []string{`rules.yaml:1:41: function f: Syntax error: mismatched input '<EOF>' expecting {'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}`}},
		{"function whose parameter a macro takes", "functions: {f: {of: p, is: 'ancestors.exists(p, p.unknown)'}}", []string{`rules.yaml:1:13: function f: a macro uses the name of its parameter p`}},
		{"mark without list", "marks: {download: [tools]}", []string{`rules.yaml:1:20: there is no list tools`}},
		{"mark of no tree", "marks: {entered: [tools]}", []string{`rules.yaml:1:9: mark "entered" is not one of web-server, web, download`}},
		{"alias", "lists: {a: &x [b], c: *x}", []string{`rules.yaml:1:23: aliases are not supported`}},
		{"two documents", "lists: {}\n---\nlists: {}\n", []string{`rules.yaml: file has more than one document`}},
		{"empty", "", []string{`rules.yaml: file is empty`}},
		{"no YAML", "rules: [", []string{`rules.yaml: line 1: did not find expected node content`}},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := Load([]Source{{Name: "rules.yaml", Data: []byte(test.yaml)}}, testNow())
			var problems Problems
			if !errors.As(err, &problems) {
				t.Fatalf("loads, want %v", test.want)
			}
			if diff := cmp.Diff(test.want, strings.Split(err.Error(), "\n")); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// However YAML folds or quotes a condition, a position is that of the file.
func TestPositionInEveryScalarStyle(t *testing.T) {
	for _, test := range []struct {
		name, scalar string
		line, column int
	}{
		{"plain", "has(exec) && process.nope", 8, 36},
		{"double", `"has(exec) && process.\x6eope == \"x\""`, 8, 37},
		{"single", `'process.name != ''a'' && process.nope == ''b'''`, 8, 49},
		{"plain over lines", "has(exec) &&\n       process.nope", 9, 15},
		{"folded", ">-\n      has(exec) &&\n\n      process.nope", 11, 14},
		{"literal, indented", "|\n      has(exec) &&\n         process.nope", 10, 17},
	} {
		t.Run(test.name, func(t *testing.T) {
			data := strings.Replace(withRule("X"), "|\n      X", test.scalar, 1)
			_, err := Load([]Source{{Name: "rules.yaml", Data: []byte(data)}}, testNow())
			var problems Problems
			if !errors.As(err, &problems) {
				t.Fatalf("error %v", err)
			}
			if problems[0].Line != test.line || problems[0].Column != test.column {
				t.Errorf("%v, want line %d column %d", problems[0], test.line, test.column)
			}
		})
	}
}

func TestListsOfAllFilesAreShared(t *testing.T) {
	fsys := fstest.MapFS{
		"b/lists.yaml": {Data: []byte("lists: {tools: [curl]}\nmarks: {download: [tools]}")},
		"a.yaml":       {Data: []byte(strings.Replace(withRule("process.name in tools && has(exec)"), "lists:\n  shells: [bash]\n", "", 1))},
		"README.md":    {Data: []byte("not a rule")},
	}
	sources, err := ReadFS(fsys)
	if err != nil {
		t.Fatal(err)
	}
	set, err := Load(sources, testNow())
	if err != nil {
		t.Fatal(err)
	}
	if got := set.Interest().Marks["curl"]; got != event.TreeDownload {
		t.Errorf("mark of curl is %v", got.Names())
	}
	again := append(sources, Source{Name: "c.yaml", Data: []byte("lists: {tools: [wget]}")})
	if _, err := Load(again, testNow()); err == nil || err.Error() != "c.yaml:1:9: list tools is given twice" {
		t.Errorf("a list in two files: %v", err)
	}
	twice := append(sources, Source{Name: "c.yaml", Data: sources[0].Data})
	if _, err := Load(twice, testNow()); err == nil || !strings.Contains(err.Error(), "another rule in a.yaml has this id") {
		t.Errorf("a rule in two files: %v", err)
	}
}

func TestExceptionHoldsUntilItExpires(t *testing.T) {
	data := []byte(withRule("process.name in shells && has(exec)", "exceptions:",
		"  - {name: backup, author: ops, reason: nightly, expires: 2026-12-01, condition: 'container.name == \"backup\"'}"))
	e := &event.Event{
		Header: event.Header{Kind: event.KindProcessExec}, Payload: &event.Exec{},
		Process: &event.Process{Name: "bash"}, Container: &event.Container{Name: "backup"},
	}
	for _, test := range []struct {
		day  string
		want int
	}{{"2026-11-30", 0}, {"2026-12-01", 1}} {
		now, err := time.Parse(time.DateOnly, test.day)
		if err != nil {
			t.Fatal(err)
		}
		source := []Source{{Name: "rules.yaml", Data: data}}
		set, err := Load(source, now)
		if err != nil {
			t.Fatal(err)
		}
		matches := 0
		set.NewMatcher(nil).Match(e, func(*Rule) { matches++ })
		if matches != test.want {
			t.Errorf("on %s the rule matches %d times, want %d", test.day, matches, test.want)
		}
		warnings := Lint(source, now).Warnings.Error()
		if expired := strings.Contains(warnings, `exception "backup" expired on 2026-12-01`); expired != (test.want == 1) {
			t.Errorf("on %s warnings are %v", test.day, warnings)
		}
	}
}

func TestLintTellsCostAndDeadKinds(t *testing.T) {
	data := []byte(withRule(`open.write && open.file.name == "x" || protect.write_to_execute`, "expensive: true"))
	report := Lint([]Source{{Name: "rules.yaml", Data: data}}, testNow())
	var b strings.Builder
	if err := report.Write(&b); err != nil {
		t.Fatal(err)
	}
	want := `rules.yaml:9:7: warning: rule a-rule: the condition is false for every event of kind process_exec
rules.yaml:9:7: warning: rule a-rule: says expensive: true but is not
a-rule: process_exec, file_open
    open for write: names x
`
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Error(diff)
	}
}

// A rule file cannot make loading it long: lists and choices within each other
// are given up on, and count as not bounded.
func TestLoadIsBounded(t *testing.T) {
	list := "[" + strings.Repeat("aa, ", 60000) + "b]"
	choice := "open.write"
	for range 15 {
		choice = "(" + choice + ") ? open.read : open.failed"
	}
	for _, condition := range []string{
		"words.exists(a, a == process.name) && open.write",
		"open.write && open.file.name in words",
		choice,
	} {
		source := Source{Name: "rules.yaml", Data: fmt.Appendf(nil, "lists: {words: %s}\nrules:\n  - {id: x, title: X, severity: low, expensive: true, "+
			"kinds: [file_open], summary: process.name, condition: %q}\n", list, condition)}
		start := time.Now()
		if _, err := Load([]Source{source}, testNow()); err != nil {
			t.Errorf("%.40s: %v", condition, err)
		}
		if took := time.Since(start); took > 10*time.Second {
			t.Errorf("%.40s: loading takes %v", condition, took)
		}
	}
}

func FuzzLoad(f *testing.F) {
	f.Add([]byte(withRule("process.name in shells && has(exec)")))
	f.Add([]byte(withRule("open.file.name == 'x'\n  || [", "evidence: {a: process.cwd}", "tags: [x]")))
	f.Add([]byte("lists: {a: &x [b], c: *x}\nmarks: {web: [a]}"))
	f.Add([]byte(withRule("has(exec)") + exceptionTo("[a-rule, other]", "x", "process.nam == 'a'", "2020-01-01")))
	f.Add([]byte("rules: [{condition: 'é\\n', summary: \"\\u00e9[\"}]"))
	f.Fuzz(func(t *testing.T, data []byte) {
		report := Lint([]Source{{Name: "fuzz.yaml", Data: data}}, testNow())
		if _, err := Load([]Source{{Name: "fuzz.yaml", Data: data}}, testNow()); (err == nil) != (len(report.Errors) == 0) {
			t.Fatalf("load says %v, lint %v", err, report.Errors)
		}
		lines := len(splitLines(string(data)))
		for _, problem := range report.Errors {
			if problem.Line < 0 || problem.Line > lines || problem.Message == "" {
				t.Fatalf("problem %q in a file of %d lines", problem, lines)
			}
		}
	})
}

func TestFileThatNeverEndsIsRefused(t *testing.T) {
	sources, err := ReadPath("/dev/zero")
	if err != nil {
		t.Fatal(err)
	}
	_, err = Load(sources, testNow())
	if err == nil || !strings.Contains(err.Error(), "more than 1048576") {
		t.Errorf("error %v", err)
	}
}
