package rule

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seawall-security/seawall/internal/event"
)

// ruleCalled is a file with a rule of that id about execs of a program.
func ruleCalled(id, program string) string {
	return fmt.Sprintf("rules:\n  - id: %s\n    title: A rule\n    severity: low\n    kinds: [process_exec]\n"+
		"    condition: process.name == %q\n    summary: process.name\n", id, program)
}

// exceptionTo is a file with an exception, in whose line 2 the rule stands.
func exceptionTo(rule, name, condition, expires string) string {
	return fmt.Sprintf("exceptions:\n  - rule: %s\n    name: %s\n    condition: %s\n    author: ops\n    reason: known\n    expires: %s\n",
		rule, name, condition, expires)
}

func source(origin Origin, name, text string) Source {
	return Source{Name: name, Data: []byte(text), Origin: origin}
}

func execOf(program string) *event.Event {
	return &event.Event{Header: event.Header{Kind: event.KindProcessExec}, Payload: &event.Exec{}, Process: chain(program)}
}

// matched are the rules that an event matches, with the files they are from.
func matched(m *Matcher, e *event.Event) (ids []string) {
	m.Match(e, func(r *Rule) { ids = append(ids, r.ID+" of "+r.File) })
	return ids
}

func mustLoad(t *testing.T, now time.Time, sources ...Source) *Set {
	t.Helper()
	set, err := Load(sources, now)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// What a bundle says of a built-in rule is the last word, wherever its file stands.
func TestBundleReplacesBuiltinRule(t *testing.T) {
	set := mustLoad(t, testNow(),
		source(OriginBundle, "bundle/b.yaml", ruleCalled("shell", "zsh")),
		source(OriginBuiltin, "execution.yaml", ruleCalled("shell", "bash")),
		source(OriginBuiltin, "other.yaml", ruleCalled("other", "nc")))
	m := set.NewMatcher(nil)
	for program, want := range map[string][]string{"bash": nil, "zsh": {"shell of bundle/b.yaml"}, "nc": {"other of other.yaml"}} {
		if diff := cmp.Diff(want, matched(m, execOf(program))); diff != "" {
			t.Errorf("%s: %s", program, diff)
		}
	}
}

func TestWhatOriginsMayNotDo(t *testing.T) {
	builtin := source(OriginBuiltin, "execution.yaml", ruleCalled("shell", "bash"))
	local := source(OriginLocal, "/etc/seawall/floor.yaml", ruleCalled("floor", "nc"))
	const until = "2999-01-01"
	for _, test := range []struct {
		name string
		more []Source
		want []string // nil: fine
	}{
		{"replace a rule of this host", []Source{source(OriginBundle, "bundle/b.yaml", ruleCalled("floor", "true"))},
			[]string{"bundle/b.yaml:2:5: rule floor: this host has a rule of this id in /etc/seawall/floor.yaml:2, which a bundle must not replace"}},
		{"except a rule of this host", []Source{source(OriginBundle, "bundle/b.yaml", exceptionTo("[shell, floor]", "x", "process.pid > 0u", until))},
			[]string{`bundle/b.yaml:2:19: rule floor: exception "x" is to a rule of this host in /etc/seawall/floor.yaml, to which a bundle must not make any`}},
		{"except a rule of this host, long ago", []Source{source(OriginBundle, "bundle/b.yaml", exceptionTo("floor", "x", "process.pid > 0u", "2020-01-01"))},
			[]string{`bundle/b.yaml:2:11: rule floor: exception "x" is to a rule of this host in /etc/seawall/floor.yaml, to which a bundle must not make any`}},
		{"give a word of this host another meaning", []Source{
			source(OriginLocal, "l.yaml", "lists: {words: [a]}"), source(OriginBundle, "bundle/b.yaml", "lists: {words: []}")},
			[]string{"bundle/b.yaml:1:9: list words is given twice"}},
		{"twice in a bundle", []Source{source(OriginBundle, "bundle/a.yaml", ruleCalled("shell", "a")), source(OriginBundle, "bundle/b.yaml", ruleCalled("shell", "b"))},
			[]string{"bundle/b.yaml:2:5: rule shell: another rule in bundle/a.yaml has this id"}},
		{"this host's beside a built-in one", []Source{source(OriginLocal, "l.yaml", ruleCalled("shell", "a"))},
			[]string{"l.yaml:2:5: rule shell: another rule in execution.yaml has this id"}},
		{"except on this host what is built in, and what came from afar", []Source{
			source(OriginBundle, "bundle/b.yaml", ruleCalled("new", "a")), source(OriginLocal, "l.yaml", exceptionTo("[shell, new]", "x", "process.pid > 0u", until))}, nil},
		{"except in a bundle what the bundle replaces", []Source{source(OriginBundle, "bundle/b.yaml", ruleCalled("shell", "a")),
			source(OriginBundle, "bundle/c.yaml", exceptionTo("shell", "x", "process.pid > 0u", until))}, nil},
		{"a rule that there is not", []Source{source(OriginLocal, "l.yaml", exceptionTo("shel", "x", "process.pid > 0u", until))},
			[]string{`l.yaml:2:11: rule shel: exception "x" is to a rule that there is not`}},
		{"one name twice", []Source{source(OriginLocal, "k.yaml", exceptionTo("shell", "x", "process.pid > 0u", until)),
			source(OriginLocal, "l.yaml", exceptionTo("shell", "x", "process.pid > 1u", until))},
			[]string{`l.yaml:2:11: rule shell: the rule has another exception "x", in k.yaml`}},
		{"a condition that is none", []Source{source(OriginLocal, "l.yaml", exceptionTo("shell", "x", "process.nmae == 'a'", until))},
			[]string{`l.yaml:4:23: rule shell: undefined field 'nmae'`}},
		{"no rule at all", []Source{source(OriginLocal, "l.yaml", exceptionTo("[]", "x", "process.pid > 0u", until))},
			[]string{`l.yaml:2:11: rule is missing or not usable`}},
		{"nothing said", []Source{source(OriginLocal, "l.yaml", "exceptions:\n  - rule: shell\n")}, []string{
			`l.yaml:2:5: rule shell: condition is missing or not usable`, `l.yaml:2:5: rule shell: name is missing or not usable`,
			`l.yaml:2:5: rule shell: author is missing or not usable`, `l.yaml:2:5: rule shell: reason is missing or not usable`,
			`l.yaml:2:5: rule shell: expires is missing or not usable`}},
		{"rule named within a rule", []Source{source(OriginLocal, "l.yaml", ruleCalled("r", "a")+
			"    exceptions: [{rule: shell, name: x, condition: process.pid > 0u, author: a, reason: b, expires: 2999-01-01}]\n")},
			[]string{`l.yaml:8:19: rule r: an exception has no key "rule"`}},
		{"a name without end", []Source{source(OriginLocal, "l.yaml", exceptionTo("shell", strings.Repeat("x", 129), "process.pid > 0u", until))},
			[]string{`l.yaml:3:11: rule shell: name has 129 bytes, more than 128`}},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := Load(append([]Source{builtin, local}, test.more...), testNow())
			var got []string
			if err != nil {
				got = strings.Split(err.Error(), "\n")
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestExceptionsAreBounded(t *testing.T) {
	text := &strings.Builder{}
	text.WriteString("exceptions:\n")
	for i := range maxExceptions/2 + 1 {
		fmt.Fprintf(text, "  - {rule: [a, b], name: n%d, condition: process.pid > 0u, author: a, reason: r, expires: 2999-01-01}\n", i)
	}
	_, err := Load([]Source{source(OriginLocal, "a.yaml", ruleCalled("a", "a")), source(OriginLocal, "b.yaml", ruleCalled("b", "b")),
		source(OriginLocal, "c.yaml", text.String())}, testNow())
	if err == nil || err.Error() != "c.yaml:514:13: rule a: more than 1024 exceptions" {
		t.Errorf("got %v", err)
	}
}

// An exception outside of rules lives to its day; the set says which day is the next.
func TestSetSaysWhenItsNextExceptionExpires(t *testing.T) {
	sources := []Source{
		source(OriginBuiltin, "r.yaml", ruleCalled("shell", "bash")),
		source(OriginBundle, "bundle/late.yaml", exceptionTo("shell", "late", "container.name == 'late'", "2026-12-24")),
		source(OriginBundle, "bundle/soon.yaml", exceptionTo("shell", "soon", "container.name == 'soon'", "2026-12-01")),
	}
	e := execOf("bash")
	e.Container = &event.Container{Name: "soon"}
	for _, step := range []struct {
		day, next string
		silent    bool
		warnings  int
	}{{"2026-11-30", "2026-12-01", true, 0}, {"2026-12-01", "2026-12-24", false, 1}, {"2026-12-24", "0001-01-01", false, 2}} {
		now, err := time.Parse(time.DateOnly, step.day)
		if err != nil {
			t.Fatal(err)
		}
		set := mustLoad(t, now, sources...)
		if got := set.Expires().Format(time.DateOnly); got != step.next {
			t.Errorf("on %s the next exception expires on %s, not %s", step.day, got, step.next)
		}
		if silent := len(matched(set.NewMatcher(nil), e)) == 0; silent != step.silent {
			t.Errorf("on %s silent is %v", step.day, silent)
		}
		if n := len(set.Warnings()); n != step.warnings {
			t.Errorf("on %s there are warnings: %v", step.day, set.Warnings())
		}
	}
}

// Nothing is silenced silently: whatever an exception takes out is counted, over all sets.
func TestWhatExceptionsTakeOutIsCounted(t *testing.T) {
	var counts Excepted
	sources := []Source{
		source(OriginBuiltin, "r.yaml", ruleCalled("shell", "bash")),
		source(OriginBuiltin, "s.yaml", ruleCalled("other", "bash")),
		source(OriginBundle, "bundle/e.yaml", exceptionTo("[shell, other]", "nightly", "container.name == 'backup'", "2999-01-01")),
		source(OriginBundle, "bundle/f.yaml", exceptionTo("shell", "never", "container.name == 'none'", "2999-01-01")),
	}
	backup := execOf("bash")
	backup.Container = &event.Container{Name: "backup"}
	for range 2 { // sets
		m := mustLoad(t, testNow(), sources...).NewMatcher(&counts)
		for range 3 {
			matched(m, backup)
		}
		if got := matched(m, execOf("bash")); len(got) != 2 {
			t.Errorf("of the host's bash: %v", got)
		}
	}
	mustLoad(t, testNow(), sources[:2]...).NewMatcher(&counts) // they are gone, their counts are not
	want := []ExceptedCount{{"other", "nightly", 6}, {"shell", "never", 0}, {"shell", "nightly", 6}}
	if diff := cmp.Diff(want, counts.Counts()); diff != "" {
		t.Error(diff)
	}
}

func TestCountsOfExceptionsAreBounded(t *testing.T) {
	var counts Excepted
	for i := range maxExcepted + 10 {
		counts.Counter("rule", fmt.Sprint(i)).Add(1)
	}
	counts.Counter("rule", "3").Add(1)
	all := counts.Counts()
	if len(all) != maxExcepted+1 || all[0] != (ExceptedCount{ExceptedOthers, ExceptedOthers, 10}) {
		t.Errorf("%d counts, the first is %v", len(all), all[0])
	}
	sum := uint64(0)
	for _, c := range all {
		sum += c.Count
	}
	if sum != maxExcepted+11 {
		t.Errorf("%d are counted", sum)
	}
}

// What a kernel cannot hold is refused when rules are loaded, not when they are put in force.
func TestInterestIsBounded(t *testing.T) {
	list := func(n int, format string) string {
		var words []string
		for i := range n {
			words = append(words, fmt.Sprintf(format, i))
		}
		return "lists: {words: [" + strings.Join(words, ", ") + "]}\n"
	}
	rule := func(condition string) string {
		return "rules:\n  - {id: x, title: X, severity: low, kinds: [file_open], summary: process.name, condition: 'open.write && " + condition + "'}\n"
	}
	for _, test := range []struct{ text, want string }{
		{list(MaxNames, "w%d") + rule("open.file.name in words"), ""},
		{list(MaxNames+1, "w%d") + rule("open.file.name in words"), "x.yaml:3:5: rule x: with this rule the kernel is asked for 4097 names, more than 4096"},
		{list(MaxSuffixes+1, "'.w%d'") + rule("open.file.name.ext() in words"), "x.yaml:3:5: rule x: with this rule the kernel is asked for 257 suffixes, more than 256"},
		{list(MaxPrefixes+1, "/w%d/") + rule("words.exists(w, open.file.path.startsWith(w))"), "x.yaml:3:5: rule x: with this rule the kernel is asked for 1025 prefixes, more than 1024"},
		{list(MaxMarks+1, "w%d") + "marks: {download: [words]}\n", "x.yaml:2:20: with this mark 1025 programs are marked, more than 1024"},
	} {
		_, err := Load([]Source{source(OriginBundle, "x.yaml", test.text)}, testNow())
		got := ""
		if err != nil {
			got = err.Error()
		}
		if got != test.want {
			t.Errorf("got %q, want %q", got, test.want)
		}
	}
}

// BenchmarkLoad is what putting a bundle of 100 rules in force costs before the kernel
// is asked.
func BenchmarkLoad(b *testing.B) {
	var text strings.Builder
	text.WriteString("rules:\n")
	for i := range 100 {
		fmt.Fprintf(&text, "  - {id: rule-%d, title: X, severity: low, kinds: [file_open, process_exec], summary: process.name + ' ' + open.file.path, "+
			"condition: 'process.name == \"p%d\" && has(exec) || open.write && open.file.name == \"n%d\" && !ancestors.exists(a, a.name == \"sshd\")', "+
			"evidence: {chain: 'ancestors.map(a, a.name).join(\" < \")'}}\n", i, i, i)
	}
	sources := []Source{source(OriginBundle, "bundle/b.yaml", text.String())}
	for b.Loop() {
		if _, err := Load(sources, testNow()); err != nil {
			b.Fatal(err)
		}
	}
}
