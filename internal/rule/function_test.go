package rule

import (
	"errors"
	"strings"
	"testing"
)

// withFunctions are two files, as rules and functions mostly are.
func withFunctions(condition string) []Source {
	return []Source{
		{Name: "f.yaml", Data: []byte(functions)},
		{Name: "r.yaml", Data: []byte(withRule(condition, "expensive: true"))},
	}
}

const functions = `
lists: {names: [bash, nginx]}
functions:
  old: {of: p, is: 'p.unknown || p.name in names && has(p.exe)'}
  below: {of: p, is: 'ancestors.exists(a, a.pid == p.pid)'}
`

// A call says what its body says with the argument in the parameter's place.
func TestFunctionIsItsBody(t *testing.T) {
	for call, spelled := range map[string]string{
		`old(process)`:                         `process.unknown || process.name in names && has(process.exe)`,
		`!old(process) && open.read`:           `!(process.unknown || process.name in names && has(process.exe)) && open.read`,
		`ancestors.exists(a, old(a))`:          `ancestors.exists(a, a.unknown || a.name in names && has(a.exe))`,
		`below(process)`:                       `ancestors.exists(a, a.pid == process.pid)`,
		`old(exec.before) || below(process)`:   `exec.before.unknown || exec.before.name in names && has(exec.before.exe) || ancestors.exists(a, a.pid == process.pid)`,
		`old(process.exe.origin) || open.read`: "",
	} {
		called, err := Load(withFunctions(call), testNow())
		if spelled == "" {
			if err == nil || !strings.Contains(err.Error(), "undefined field") {
				t.Errorf("%s: %v", call, err)
			}
			continue
		}
		if err != nil {
			t.Fatalf("%s: %v", call, err)
		}
		plain, err := Load(withFunctions(spelled), testNow())
		if err != nil {
			t.Fatalf("%s: %v", spelled, err)
		}
		g := newGenerator(1)
		matched := 0
		for range 2000 {
			e := g.event()
			var got, want int
			called.NewMatcher(nil).Match(e, func(*Rule) { got++ })
			plain.NewMatcher(nil).Match(e, func(*Rule) { want++ })
			if got != want {
				t.Fatalf("%s: %d matches, spelled out %d", call, got, want)
			}
			matched += want
		}
		if matched == 0 {
			t.Errorf("%s never matches: the comparison says nothing", call)
		}
	}
}

func TestFunctionCallsThatMeanSomethingElse(t *testing.T) {
	for call, want := range map[string]string{
		`ancestors.exists(a, below(a))`: "below() uses the name a itself; call the variable something else",
		`old(process.name == "x")`:      "old() takes a variable or a field",
		`old(process, process)`:         "undeclared reference to 'old'",
	} {
		_, err := Load(withFunctions(call), testNow())
		var problems Problems
		if !errors.As(err, &problems) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", call, err, want)
		}
	}
}
