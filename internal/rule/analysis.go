package rule

import (
	"strings"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/overloads"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/seawall-security/seawall/internal/event"
)

// analysis bounds a condition for events of one kind and one operation.
type analysis struct {
	compiler *compiler // for constants
	kind     event.Kind
	// known are fields whose value the operation settles: open.write is false
	// of opens for read.
	known map[string]ref.Val
	roles map[string]role
	// namesOnly says that the kernel looks at no suffix and no prefix.
	namesOnly bool
	// ports is the field that is a port to the kernel.
	ports string
	// ops are fields that are a transition to the kernel, regions the values of the region field that are.
	ops     map[string]Op
	region  string
	regions map[string]Op
	// guard leaves out what an index cannot look up.
	guard bool
	// elements are the constants that macros over constant lists iterate over.
	elements map[string]ref.Val
	payloads map[protoreflect.Name]event.Kind
	// steps are what is left of maxSteps.
	steps int
}

// maxSteps bounds an analysis: macros over constant lists are unrolled and both
// outcomes of ?: are looked into. What is left then counts as not bounded.
const maxSteps = 1 << 18

// bound bounds e == want.
func (a *analysis) bound(e ast.Expr, want bool) bound {
	if a.steps--; a.steps < 0 {
		return unbounded()
	}
	if value, ok := a.value(e); ok {
		if value == types.Bool(want) {
			return unbounded()
		}
		return never()
	}
	switch e.Kind() {
	case ast.CallKind:
		return a.call(e, want)
	case ast.SelectKind:
		if op, ok := a.ops[a.path(e)]; ok && want && !e.AsSelect().IsTestOnly() {
			return bound{ops: op}
		}
	case ast.ComprehensionKind:
		return a.macro(e, want)
	}
	return unbounded()
}

func (a *analysis) call(e ast.Expr, want bool) bound {
	call := e.AsCall()
	args := call.Args()
	switch call.FunctionName() {
	case operators.LogicalNot:
		return a.bound(args[0], !want)
	case operators.LogicalAnd:
		return join(want, a.bound(args[0], want), a.bound(args[1], want))
	case operators.LogicalOr:
		return join(!want, a.bound(args[0], want), a.bound(args[1], want))
	case operators.Conditional:
		return either(
			both(a.bound(args[0], true), a.bound(args[1], want)),
			both(a.bound(args[0], false), a.bound(args[2], want)))
	case operators.Equals:
		return a.equal(args, want)
	case operators.NotEquals:
		return a.equal(args, !want)
	}
	if !want {
		return unbounded()
	}
	switch call.FunctionName() {
	case operators.In:
		return a.in(args)
	case overloads.EndsWith:
		if end, ok := a.text(args[0]); ok {
			return a.reachable(a.role(call.Target()).endsWith(end))
		}
	case overloads.StartsWith:
		if start, ok := a.text(args[0]); ok && !a.guard {
			return a.reachable(a.role(call.Target()).startsWith(start))
		}
	}
	return unbounded()
}

// reachable gives up a bound that the kernel does not look at for this operation.
func (a *analysis) reachable(b bound) bound {
	if a.namesOnly && len(b.suffixes)+len(b.prefixes) > 0 {
		return unbounded()
	}
	return b
}

// join combines the bounds of both operands: of a conjunction or a disjunction.
func join(conjunction bool, x, y bound) bound {
	if conjunction {
		return both(x, y)
	}
	return either(x, y)
}

func (a *analysis) equal(args []ast.Expr, want bool) bound {
	field, constant := args[0], args[1]
	value, ok := a.value(constant)
	if !ok {
		field, constant = constant, field
		value, ok = a.value(constant)
	}
	if !ok {
		return unbounded()
	}
	if truth, ok := value.(types.Bool); ok { // e == true, e == false
		return a.bound(field, want == bool(truth))
	}
	if !want {
		return unbounded()
	}
	return a.is(field, value)
}

// is bounds field == value.
func (a *analysis) is(field ast.Expr, value ref.Val) bound {
	switch value := value.(type) {
	case types.String:
		if op, ok := a.regions[string(value)]; ok && a.region == a.path(field) {
			return bound{ops: op}
		}
		return a.reachable(a.role(field).equalTo(string(value)))
	case types.Uint:
		if a.ports != "" && a.ports == a.path(field) && value <= 1<<16-1 {
			return bound{ports: map[uint16]struct{}{uint16(value): {}}}
		}
	}
	return unbounded()
}

func (a *analysis) in(args []ast.Expr) bound {
	all := never()
	if words, ok := a.compiler.constantWords(args[1]); ok {
		for _, word := range words {
			all.include(a.is(args[0], types.String(word)))
		}
		return all
	}
	if args[1].Kind() != ast.ListKind {
		return unbounded()
	}
	for _, element := range args[1].AsList().Elements() {
		value, ok := a.value(element)
		if !ok {
			return unbounded()
		}
		all.include(a.is(args[0], value))
	}
	return all
}

// macro unrolls exists and all over constant lists.
func (a *analysis) macro(e ast.Expr, want bool) bound {
	body, exists, ok := quantifier(e)
	if !ok {
		return unbounded()
	}
	fold := e.AsComprehension()
	name := fold.IterVar()
	outer, shadowed := a.elements[name]
	defer func() {
		delete(a.elements, name)
		if shadowed {
			a.elements[name] = outer
		}
	}()
	list, ok := a.compiler.constantWords(fold.IterRange())
	if !ok {
		// The variable is no constant, and no field of the event either.
		a.elements[name] = nil
		if exists == want { // some element makes the body what it has to be
			return a.bound(body, want)
		}
		return unbounded()
	}
	if exists != want { // every element has to make the body what it has to be
		all := unbounded()
		for _, word := range list {
			a.elements[name] = types.String(word)
			all = both(all, a.bound(body, want))
		}
		return all
	}
	all := never()
	for _, word := range list {
		a.elements[name] = types.String(word)
		all.include(a.bound(body, want))
	}
	return all
}

// text is the constant text that an expression is.
func (a *analysis) text(e ast.Expr) (string, bool) {
	value, ok := a.value(e)
	text, isText := value.(types.String)
	return string(text), ok && isText
}

// role says what the kernel calls the text of e.
func (a *analysis) role(e ast.Expr) role {
	if e.Kind() == ast.CallKind && e.AsCall().IsMemberFunction() {
		of := a.role(e.AsCall().Target())
		switch {
		case e.AsCall().FunctionName() == functionBase && (of == rolePath || of == roleName):
			return roleName
		case e.AsCall().FunctionName() == functionExt && (of == rolePath || of == roleName || of == roleExt):
			return roleExt
		}
		return roleNone
	}
	return a.roles[a.path(e)]
}

// path writes a selection as the names from the event to the field; "" for others.
func (a *analysis) path(e ast.Expr) string {
	switch e.Kind() {
	case ast.IdentKind:
		name := e.AsIdent()
		if _, ok := a.elements[name]; ok {
			return ""
		}
		return name
	case ast.SelectKind:
		operand := a.path(e.AsSelect().Operand())
		switch operand {
		case "":
			return ""
		case eventVariable:
			return e.AsSelect().FieldName()
		}
		return operand + "." + e.AsSelect().FieldName()
	}
	return ""
}

// absent reports whether a path leads into the payload of another kind.
func (a *analysis) absent(path string) bool {
	first, _, _ := strings.Cut(path, ".")
	kind, ok := a.payloads[protoreflect.Name(first)]
	return ok && kind != a.kind
}
