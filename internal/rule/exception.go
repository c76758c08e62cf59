package rule

import (
	"slices"
	"time"

	"cel.dev/cel-go/cel"
	"go.yaml.in/yaml/v3"
)

// nextExpiry is when the first of the rule's exceptions that are in force expires, where
// that is before first. Zero: never.
func (r *About) nextExpiry(first time.Time) time.Time {
	for i := range r.Exceptions {
		if e := &r.Exceptions[i]; !e.Expired() && (first.IsZero() || e.Expires.Before(first)) {
			first = e.Expires
		}
	}
	return first
}

// exceptions gives the exceptions that stand outside of rules to the rules they name.
// Foreign rules are of another source, whose language their exceptions speak.
func (l *loader) exceptions(files []*file, rules []*About, foreign map[string]bool) {
	byID := make(map[string]*About, len(rules))
	for _, r := range rules {
		byID[r.ID] = r
	}
	for _, f := range files {
		for i := range f.exceptions {
			spec := &f.exceptions[i]
			isForeign := func(named *yaml.Node) bool { return foreign[named.Value] }
			named := slices.DeleteFunc(slices.Clone(spec.rules), isForeign)
			if len(named) == 0 && len(spec.rules) > 0 {
				continue
			}
			label := ""
			if len(named) > 0 {
				label = named[0].Value
			}
			e, ok := l.exception(f, label, spec)
			for _, named := range named {
				r := byID[named.Value]
				switch {
				case r == nil:
					l.report(f, named.Value, named.Line, named.Column, "exception %q is to a rule that there is not", e.Name)
				case f.origin == OriginBundle && r.Origin == OriginLocal:
					l.report(f, r.ID, named.Line, named.Column, "exception %q is to a rule of this host in %s, to which a bundle must not make any", e.Name, r.File)
				case ok:
					l.except(f, r, e, named)
				}
			}
		}
	}
}

// exception checks an exception and reports whether it can be used; one that has
// expired can, and does nothing.
func (l *loader) exception(f *file, label string, spec *exceptionSpec) (Exception, bool) {
	e := spec.Exception
	checked := l.check(f, label, spec.condition, cel.BoolType)
	if checked == nil {
		return e, false
	}
	e.Condition = Expression{spec.condition.value, checked}
	if l.compiler != nil {
		e.condition = l.lower(f, label, spec.condition, checked.NativeRep())
	}
	if e.expired = !l.now.Before(e.Expires); e.expired {
		l.report(f, label, spec.node.Line, spec.node.Column, "exception %q expired on %s", e.Name, e.Expires.Format(time.DateOnly)).Warning = true
	}
	return e, true
}

// except gives a rule an exception, which node stands for in problems.
func (l *loader) except(f *file, r *About, e Exception, node *yaml.Node) {
	for i := range r.Exceptions {
		if r.Exceptions[i].Name == e.Name {
			l.report(f, r.ID, node.Line, node.Column, "the rule has another exception %q, in %s", e.Name, r.Exceptions[i].File)
			return
		}
	}
	if l.excepted++; l.excepted == maxExceptions+1 {
		l.report(f, r.ID, node.Line, node.Column, "more than %d exceptions", maxExceptions)
	}
	r.Exceptions = append(r.Exceptions, e)
}
