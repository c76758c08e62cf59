package rule

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"

	"github.com/seawall-security/seawall/internal/event"
)

// Load makes a set of the rules of all sources, whose lists share one namespace.
// What a source may do to another one's rules follows from its [Origin]. Exceptions
// that have expired at now are inert; see [Set.Expires]. The error is of type
// [Problems] and has everything that is wrong, not only the first.
func Load(sources []Source, now time.Time) (*Set, error) {
	set, problems := load(sources, now)
	errs, warnings := problems.split()
	if len(errs) > 0 {
		return nil, errs
	}
	set.warnings = warnings
	return set, nil
}

// loader turns the rules of one source into what can be run.
type loader struct {
	source   string
	language *language
	compiler *compiler // nil: not for rules of this source
	// judge finds what is of the right types and yet no part of the language, and the
	// expression that is to blame. May be nil.
	judge    func(*cel.Ast) (at int64, err error)
	now      time.Time
	problems Problems
	guards   map[*Rule]map[event.Kind]bound
	excepted int // exceptions so far
}

func load(sources []Source, now time.Time) (*Set, Problems) {
	l := loader{source: sourceRuntime, now: now, guards: make(map[*Rule]map[event.Kind]bound)}
	files := l.parse(sources)
	if !l.declare(files, newLanguage, isRuntimeName) {
		return nil, l.problems
	}
	l.compiler = &compiler{schema: newSchema(), lists: l.language.lists}

	interest := Interest{Marks: l.marks(files, l.language.lists)}
	var rules []*Rule
	var abouts []*About
	own, foreign, ok := l.choose(files)
	if !ok {
		return nil, l.problems
	}
	for _, chosen := range own {
		f, spec := chosen.file, chosen.spec
		rule := l.rule(f, spec)
		fitted := interest.excess() == ""
		interest.merge(rule.Interest)
		if excess := interest.excess(); excess != "" && fitted {
			l.report(f, spec.label, spec.node.Line, spec.node.Column, "with this rule the kernel is asked for %s", excess)
		}
		rules, abouts = append(rules, rule), append(abouts, &rule.About)
	}
	l.exceptions(files, abouts, foreign)
	return newSet(rules, interest, l.guards), l.problems
}

// parse reads the files, in the order of their origins.
func (l *loader) parse(sources []Source) []*file {
	var files []*file
	for _, source := range sources {
		files = append(files, parseFile(source, l.source, &l.problems))
	}
	slices.SortStableFunc(files, func(a, b *file) int { return cmp.Compare(a.origin, b.origin) })
	return files
}

// declare makes the language of lists and functions of the files. taken are names that
// lists cannot have. It reports whether there is one.
func (l *loader) declare(files []*file, language func(lists map[string][]string) (*language, error), taken func(string) bool) bool {
	lists := l.lists(files, taken)
	declared, err := language(lists)
	if err == nil {
		declared.env, err = declared.env.Extend(cel.Macros(l.functions(files, declared.env)...))
	}
	if err != nil {
		l.problems = append(l.problems, Problem{Message: err.Error()})
		return false
	}
	l.language = declared
	return true
}

// placed is a rule as written, and where.
type placed struct {
	file *file
	spec *ruleSpec
}

// choose returns the rules of the loader's source that count, in the order of the files: a
// bundle's in place of a built-in one of the same id. The files are in the order of their
// origins. foreign are the ids of the other sources' rules.
func (l *loader) choose(files []*file) (own []placed, foreign map[string]bool, ok bool) {
	var chosen []placed
	places := make(map[string]int)
	for _, f := range files {
		for i := range f.rules {
			this := placed{f, &f.rules[i]}
			report := func(format string, args ...any) {
				l.report(f, this.spec.label, this.spec.node.Line, this.spec.node.Column, format, args...)
			}
			place, taken := places[this.spec.id]
			if taken && this.spec.id != "" {
				switch other := chosen[place]; {
				case f.origin != OriginBundle || other.file.origin == OriginBundle:
					report("another rule in %s has this id", other.file.name)
				case other.file.origin == OriginLocal:
					report("this host has a rule of this id in %s:%d, which a bundle must not replace", other.file.name, other.spec.node.Line)
				default:
					chosen[place] = this
					continue
				}
			}
			places[this.spec.id] = len(chosen)
			chosen = append(chosen, this)
		}
	}
	if len(chosen) > maxRules {
		extra := chosen[maxRules]
		l.report(extra.file, extra.spec.label, extra.spec.node.Line, extra.spec.node.Column, "more than %d rules", maxRules)
		return nil, nil, false
	}
	foreign = make(map[string]bool)
	for _, this := range chosen {
		if this.file.source == l.source {
			own = append(own, this)
		} else {
			foreign[this.spec.id] = true
		}
	}
	return own, foreign, true
}

func (l *loader) report(f *file, rule string, line, column int, format string, args ...any) *Problem {
	l.problems = append(l.problems, Problem{
		File: f.name, Rule: rule, Line: line, Column: column, Message: fmt.Sprintf(format, args...),
	})
	return &l.problems[len(l.problems)-1]
}

// lists gathers the named lists of all files.
func (l *loader) lists(files []*file, taken func(string) bool) map[string][]string {
	all := make(map[string][]string)
	for _, f := range files {
		for _, list := range f.lists {
			if isReserved(list.name) || taken(list.name) {
				l.report(f, "", list.node.Line, list.node.Column, "the name %s is taken by the language", list.name)
				continue
			}
			if _, ok := all[list.name]; ok {
				l.report(f, "", list.node.Line, list.node.Column, "list %s is given twice", list.name)
				continue
			}
			all[list.name] = list.words
		}
	}
	return all
}

// isReserved reports whether CEL keeps the word to itself or names a type by it.
func isReserved(word string) bool {
	return slices.Contains(strings.Fields(`as break const continue else false for function if import in let loop namespace
		null package return true var void while bool bytes double dyn duration int list map null_type string timestamp type uint
		google seawall`), word)
}

func (l *loader) marks(files []*file, lists map[string][]string) map[string]event.Tree {
	marks := make(map[string]event.Tree)
	for _, f := range files {
		for _, mark := range f.marks {
			words, ok := lists[mark.list]
			if !ok {
				l.report(f, "", mark.node.Line, mark.node.Column, "there is no list %s", mark.list)
			}
			fitted := len(marks) <= MaxMarks
			for _, word := range words {
				marks[word] |= mark.tree
			}
			if fitted && len(marks) > MaxMarks {
				l.report(f, "", mark.node.Line, mark.node.Column, "with this mark %d programs are marked, more than %d", len(marks), MaxMarks)
			}
		}
	}
	return marks
}

func (l *loader) rule(f *file, spec *ruleSpec) *Rule {
	r := spec.rule
	r.Kinds, r.language = spec.kinds, l.language
	if typed := l.check(f, spec.label, spec.condition, cel.BoolType); typed != nil {
		checked := typed.NativeRep()
		r.condition = l.lower(f, spec.label, spec.condition, checked)
		r.Interest = l.compiler.derive(checked, r.Kinds)
		l.guards[&r] = make(map[event.Kind]bound, len(r.Kinds))
		for _, kind := range r.Kinds {
			guard := l.compiler.guard(checked, kind)
			if guard.isNever() {
				line, column := spec.condition.position(0)
				l.report(f, spec.label, line, column, "the condition is false for every event of kind %s", kind).Warning = true
			}
			l.guards[&r][kind] = guard
		}
		l.cost(f, spec, &r)
	}
	for i := range spec.exceptions {
		if e, ok := l.exception(f, spec.label, &spec.exceptions[i]); ok {
			l.except(f, &r.About, e, spec.exceptions[i].node)
		}
	}
	if l.check(f, spec.label, spec.summary, cel.StringType) != nil {
		r.summary = l.program(f, spec.label, spec.summary)
	}
	for _, e := range spec.evidence {
		if l.check(f, spec.label, e.expr, cel.StringType) != nil {
			r.evidence = append(r.evidence, evidence{e.name, l.program(f, spec.label, e.expr)})
		}
	}
	return &r
}

// cost holds the author to what the rule costs: a bound that the condition
// lacks has to be wanted.
func (l *loader) cost(f *file, spec *ruleSpec, r *Rule) {
	open := r.Interest.Any &^ opsCheap
	line, column := spec.condition.position(0)
	switch {
	case open != 0 && !r.Expensive:
		l.report(f, spec.label, line, column,
			"the condition does not bound which events it needs (%s): %s; bound them by name, suffix, prefix or port, or say expensive: true",
			open, anyCost(open))
	case open == 0 && r.Expensive:
		l.report(f, spec.label, line, column, "says expensive: true but is not").Warning = true
	}
}

// check parses and type-checks an expression; nil: it has problems, reported.
func (l *loader) check(f *file, label string, t text, want *cel.Type) *cel.Ast {
	return l.checkIn(l.language.env, f, label, t, want)
}

func (l *loader) checkIn(env *cel.Env, f *file, label string, t text, want *cel.Type) *cel.Ast {
	if t.value == "" {
		return nil // reported as missing, where it is
	}
	checked, issues := env.Compile(t.value)
	if issues.Err() != nil {
		for _, problem := range issues.Errors() {
			line, column := t.position(offset(t.value, problem.Location.Line(), problem.Location.Column()))
			l.report(f, label, line, column, "%s", problem.Message)
		}
		return nil
	}
	if !checked.OutputType().IsExactType(want) {
		line, column := t.position(0)
		l.report(f, label, line, column, "expression is of type %s, not %s", checked.OutputType(), want)
		return nil
	}
	if l.judge == nil {
		return checked
	}
	if at, err := l.judge(checked); err != nil {
		start := checked.NativeRep().SourceInfo().GetStartLocation(at)
		line, column := t.position(offset(t.value, start.Line(), start.Column()))
		l.report(f, label, line, column, "%v", err)
		return nil
	}
	return checked
}

func (l *loader) lower(f *file, label string, t text, checked *ast.AST) boolCode {
	code, err := l.compiler.condition(checked)
	if err != nil {
		at := 0
		var refused *unsupported
		if errors.As(err, &refused) {
			start := checked.SourceInfo().GetStartLocation(refused.id)
			at = offset(t.value, start.Line(), start.Column())
		}
		line, column := t.position(at)
		l.report(f, label, line, column, "%v", err)
	}
	return code
}

// program prepares an expression for cel-go's interpreter, which only runs for
// detections.
func (l *loader) program(f *file, label string, t text) cel.Program {
	checked, issues := l.language.env.Compile(t.value)
	err := issues.Err()
	if err == nil {
		var program cel.Program
		if program, err = l.language.env.Program(checked, cel.CostLimit(maxEvaluationCost)); err == nil {
			return program
		}
	}
	line, column := t.position(0)
	l.report(f, label, line, column, "%v", err)
	return nil
}

// offset finds the byte of an expression that cel-go calls by line, from 1, and
// column in runes, from 0.
func offset(expression string, line, column int) int {
	at := 0
	for ; line > 1; line-- {
		end := strings.IndexByte(expression[at:], '\n')
		if end < 0 {
			return len(expression)
		}
		at += end + 1
	}
	return at + skipRunes(expression[at:], column)
}
