package rule

import (
	"time"

	"cel.dev/cel-go/cel"
	"go.yaml.in/yaml/v3"
)

// exceptions gives the exceptions that stand outside of rules to the rules they name.
func (l *loader) exceptions(files []*file, rules []*Rule) {
	byID := make(map[string]*Rule, len(rules))
	for _, r := range rules {
		byID[r.ID] = r
	}
	for _, f := range files {
		for i := range f.exceptions {
			spec := &f.exceptions[i]
			label := ""
			if len(spec.rules) > 0 {
				label = spec.rules[0].Value
			}
			e, ok := l.exception(f, label, spec)
			for _, named := range spec.rules {
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
	code := l.lower(f, label, spec.condition, checked)
	if l.now.Before(e.Expires) {
		e.condition = code
	} else {
		l.report(f, label, spec.node.Line, spec.node.Column, "exception %q expired on %s", e.Name, e.Expires.Format(time.DateOnly)).Warning = true
	}
	return e, true
}

// except gives a rule an exception, which node stands for in problems.
func (l *loader) except(f *file, r *Rule, e Exception, node *yaml.Node) {
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
