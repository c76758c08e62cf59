package auditrule_test

import (
	"strings"
	"testing"
	"time"

	"github.com/seawall-security/seawall/internal/rule"
	"github.com/seawall-security/seawall/internal/rule/auditrule"
)

// TestProblems is that what is wrong with a file is said by place.
func TestProblems(t *testing.T) {
	for name, test := range map[string]struct{ file, want string }{
		"unknown source":      {"source: cloud\nrules: []\n", `test.yaml:1:9: source "cloud" is not one of runtime, audit`},
		"runtime key":         {oneRule("kinds: [process_exec]"), `test.yaml:8:5: rule tested: an audit rule has no key "kinds"`},
		"unknown field":       {oneRule(`condition: object.nmae == "x"`), "test.yaml:7:22: rule tested: undefined field 'nmae'"},
		"unknown name":        {oneRule("condition: process.name == 'x'"), "test.yaml:7:16: rule tested: undeclared reference to 'process'"},
		"not a condition":     {oneRule("condition: verb"), "test.yaml:7:16: rule tested: expression is of type string, not bool"},
		"JSON as condition":   {oneRule("condition: manifest.spec.hostPID"), "test.yaml:7:16: rule tested: expression is of type dyn, not bool"},
		"JSON in and":         {oneRule("condition: allowed && manifest.spec.hostPID"), "test.yaml:7:40: rule tested: JSON is no condition; write == true"},
		"JSON in exists":      {oneRule("condition: containers.exists(c, c.privileged)"), "test.yaml:7:38: rule tested: JSON is no condition; write == true"},
		"JSON in order":       {oneRule("condition: manifest.spec.replicas > 3"), "test.yaml:7:29: rule tested: JSON is of no fixed type; write text(…) or number(…)"},
		"JSON as text":        {oneRule("summary: '\"a\" + manifest.kind'"), "test.yaml:7:29: rule tested: JSON is no text; write text(…), or number(…) to calculate"},
		"JSON and null":       {oneRule("condition: manifest.kind == null"), "test.yaml:7:33: rule tested: write has(…) instead of a comparison with null"},
		"index of a list":     {oneRule("condition: source_ips[0] == 'x'"), "test.yaml:7:26: rule tested: an index that is not there would be an error; write .at(i) or .get(key)"},
		"index of a map":      {oneRule("condition: annotations['a'] == 'x'"), "test.yaml:7:27: rule tested: an index that is not there would be an error; write .at(i) or .get(key)"},
		"pattern":             {oneRule("condition: verb.matches('(')"), "test.yaml:7:29: rule tested: error parsing regexp: missing closing ): `(`"},
		"pattern not fixed":   {oneRule("condition: verb.matches(path)"), "test.yaml:7:29: rule tested: the expression of matches() has to be a constant"},
		"large pattern":       {oneRule("condition: verb.matches('(a{100}b{100}c{100}){3}d{200}')"), "test.yaml:7:29: rule tested: the expression of matches() is too large"},
		"count too early":     {oneRule("condition: count > 3"), "test.yaml:7:16: rule tested: undeclared reference to 'count'"},
		"within a macro":      {oneRule("condition: |\n  allowed &&\n  containers.exists(c, c.nmae.privileged)"), "test.yaml:9:34: rule tested: JSON is no condition; write == true"},
		"resource":            {oneRule("resources: [pods/]"), `test.yaml:8:17: rule tested: resource "pods/" is not resource, resource.group, resource/subresource or a path`},
		"path":                {oneRule("resources: ['/a*b']"), `test.yaml:8:17: rule tested: path "/a*b" has a * that is not its end`},
		"level":               {oneRule("needs: everything"), `test.yaml:8:12: rule tested: needs "everything" is not one of metadata, request, response`},
		"outcome":             {oneRule("outcomes: [lost]"), `test.yaml:8:16: rule tested: outcome "lost" is not one of allowed, denied, failed`},
		"window without by":   {oneRule("window: {over: 5m, count: {above: 3}}"), "test.yaml:3:5: rule tested: by is missing or not usable"},
		"window of nothing":   {oneRule("by: []\nwindow: {over: 5m}"), "test.yaml:9:13: rule tested: window needs one of count, distinct, score, first"},
		"two windows":         {oneRule("by: []\nwindow: {over: 5m, count: {above: 3}, first: {}}"), "test.yaml:9:13: rule tested: window needs one of count, distinct, score, first"},
		"window of no time":   {oneRule("by: []\nwindow: {count: {above: 3}}"), "test.yaml:9:13: rule tested: over is missing or not usable"},
		"endless window":      {oneRule("by: []\nwindow: {over: 100h, count: {above: 3}}"), `test.yaml:9:20: rule tested: over "100h" is not a time such as 5m, at most 24h0m0s`},
		"above too much":      {oneRule("by: []\nwindow: {over: 5m, count: {above: 1000}}"), `test.yaml:9:39: rule tested: above "1000" is not a number from 1 to 256`},
		"distinct of what":    {oneRule("by: []\nwindow: {over: 5m, distinct: {above: 3}}"), "test.yaml:9:13: rule tested: of is missing or not usable"},
		"first of two things": {oneRule("by: []\nwindow: {first: {of: verb, each: '[verb]', learn: 1h, remember: 1h}}"), "test.yaml:9:13: rule tested: of is missing or not usable"},
		"first of no texts":   {oneRule("by: []\nwindow: {first: {each: verb, learn: 1h, remember: 1h}}"), "test.yaml:9:28: rule tested: expression is of type string, not list(string)"},
		"score of what":       {oneRule("by: []\nwindow: {over: 5m, score: {above: 3, of: verb}}"), "test.yaml:9:13: rule tested: weight is missing or not usable"},
		"weight is text":      {oneRule("by: []\nwindow: {over: 5m, score: {above: 3, of: verb, weight: verb}}"), "test.yaml:9:60: rule tested: expression is of type string, not int"},
		"by is JSON":          {oneRule("by: [manifest.kind]"), "test.yaml:8:10: rule tested: expression is of type dyn, not string"},
		"first for how long": {oneRule("by: []\nwindow: {first: {of: verb, learn: 1h}}"),
			"test.yaml:9:13: rule tested: remember is missing or not usable"},
		"severity without if": {oneRule("severities: [{severity: high}]"), "test.yaml:8:18: rule tested: if is missing or not usable"},
		"list of a variable":  {"source: audit\nlists: {pod: [x]}\n", "test.yaml:2:9: the name pod is taken by the language"},
		"function":            {"source: audit\nfunctions: {f: {of: x, is: x ==}}\n", "test.yaml:2:32: function f: Syntax error: mismatched input '<EOF>' expecting {'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}"},
		"captured name": {"functions: {f: {of: x, is: 'containers.exists(c, c.name == text(x))'}}\n" + oneRule("condition: containers.exists(c, f(c.name))"),
			"test.yaml:8:40: rule tested: f() uses the name c itself; call the variable something else"},
		"same id twice": {oneRule("") + "  - {id: tested, title: T, severity: low, condition: 'true', summary: verb}\n", "test.yaml:9:5: rule tested: another rule in test.yaml has this id"},
		"exception to none": {oneRule("") + "exceptions:\n  - {rule: other, name: n, condition: 'true', author: a, reason: r, expires: 2030-01-01}\n",
			`test.yaml:10:12: rule other: exception "n" is to a rule that there is not`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := auditrule.Load([]rule.Source{{Name: "test.yaml", Data: []byte(test.file)}}, day)
			if err == nil {
				t.Fatalf("loads:\n%s", test.file)
			}
			if got, _, _ := strings.Cut(err.Error(), "\n"); got != test.want {
				t.Errorf("problem %s\nwant    %s\nin\n%s", err, test.want, test.file)
			}
		})
	}
}

const runtimeRule = `
lists: {shells: [sh]}
rules:
  - {id: other, title: T, severity: low, kinds: [process_exec], condition: 'process.name in shells', summary: process.name}
`

// TestSources is that each side passes over the rules of the other, and still knows them.
func TestSources(t *testing.T) {
	sources := func(audit string) []rule.Source {
		return []rule.Source{{Name: "runtime.yaml", Data: []byte(runtimeRule)}, {Name: "audit.yaml", Data: []byte(audit)}}
	}
	exception := func(condition string) string {
		return oneRule("condition: command_line in shells") +
			"exceptions:\n  - {rule: [tested, other], name: n, condition: '" + condition + "', author: a, reason: r, expires: 2030-01-01}\n"
	}
	both := sources(exception("true"))
	set, err := rule.Load(both, day)
	if err != nil || len(set.Rules()) != 1 || len(set.Rules()[0].Exceptions) != 1 {
		t.Errorf("agents load %d rules, error %v", len(set.Rules()), err)
	}
	audit, err := auditrule.Load(both, day)
	if err != nil || len(audit.Rules()) != 1 || len(audit.Rules()[0].Exceptions) != 1 {
		t.Fatalf("collectors load %d rules, error %v", len(audit.Rules()), err)
	}
	if want := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC); !audit.Expires().Equal(want) {
		t.Errorf("expires %s, want %s", audit.Expires(), want)
	}
	// An exception speaks the language of each rule that it is to.
	if _, err := rule.Load(sources(exception("verb == \"get\"")), day); err == nil || !strings.Contains(err.Error(), "verb") {
		t.Errorf("agents load an exception to a runtime rule that asks for the verb: %v", err)
	}
	if _, err := auditrule.Load(sources(exception("verb == \"get\"")), day); err != nil {
		t.Errorf("collectors: %v", err)
	}
	// What is wrong with an audit rule is none of an agent's business.
	wrong := sources(strings.Replace(oneRule("no-such-key: 1"), "severity: medium", "severity: terrible", 1))
	if _, err := rule.Load(wrong, day); err != nil {
		t.Errorf("agents refuse a file because of its audit rules: %v", err)
	}
	report := rule.Lint(wrong, day)
	report.AddAudit(auditrule.Lint(wrong, day))
	if len(report.Rules) != 1 || len(report.Audit) != 1 || len(report.Errors) != 3 {
		t.Errorf("lint finds %d rules, %d audit rules and the problems\n%v", len(report.Rules), len(report.Audit), report.Errors)
	}
	// What is wrong with a file as such is said once.
	wrong[0].Data = append(wrong[0].Data, "nothing: 1\n"...)
	report = rule.Lint(wrong, day)
	report.AddAudit(auditrule.Lint(wrong, day))
	if n := len(report.Errors); n != 4 {
		t.Errorf("lint finds %d problems, want 4:\n%v", n, report.Errors)
	}
}

// TestOrigins is that a bundle replaces built-in rules and no others.
func TestOrigins(t *testing.T) {
	source := func(origin rule.Origin, severity string) rule.Source {
		return rule.Source{Name: severity, Data: []byte(strings.Replace(oneRule(""), "medium", severity, 1)), Origin: origin}
	}
	set, err := auditrule.Load([]rule.Source{source(rule.OriginBundle, "high"), source(rule.OriginBuiltin, "low")}, day)
	if err != nil {
		t.Fatal(err)
	}
	if got := set.Rules()[0].File; len(set.Rules()) != 1 || got != "high" {
		t.Errorf("the rule is that of %s", got)
	}
	if _, err := auditrule.Load([]rule.Source{source(rule.OriginBundle, "high"), source(rule.OriginLocal, "low")}, day); err == nil {
		t.Error("a bundle replaces a local rule")
	}
}
