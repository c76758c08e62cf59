package rule

import (
	"slices"
	"strings"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/overloads"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	"github.com/seawall-security/seawall/internal/event"
)

// value evaluates what is settled before any event is seen: constants, fields
// that the operation settles, and payloads of other kinds, which are absent.
func (a *analysis) value(e ast.Expr) (ref.Val, bool) {
	if a.steps--; a.steps < 0 {
		return nil, false
	}
	if value, ok := a.compiler.constant(e); ok {
		return value, true
	}
	switch e.Kind() {
	case ast.IdentKind:
		value := a.elements[e.AsIdent()]
		return value, value != nil
	case ast.SelectKind:
		return a.selected(e)
	case ast.CallKind:
		return a.called(e)
	}
	return nil, false
}

func (a *analysis) selected(e ast.Expr) (ref.Val, bool) {
	path := a.path(e)
	if path == "" {
		return nil, false
	}
	if e.AsSelect().IsTestOnly() {
		if a.absent(path) {
			return types.False, true
		}
		return nil, false
	}
	if value, ok := a.known[path]; ok {
		return value, true
	}
	if !a.absent(path) {
		return nil, false
	}
	switch a.compiler.ast.GetType(e.ID()).Kind() {
	case types.BoolKind:
		return types.False, true
	case types.StringKind:
		return types.String(""), true
	case types.UintKind:
		return types.Uint(0), true
	case types.IntKind:
		return types.Int(0), true
	}
	return nil, false
}

func (a *analysis) called(e ast.Expr) (ref.Val, bool) {
	call := e.AsCall()
	switch args := call.Args(); call.FunctionName() {
	case operators.LogicalNot:
		value, ok := a.value(args[0])
		truth, isBool := value.(types.Bool)
		return !truth, ok && isBool
	case operators.LogicalAnd:
		return a.shortCircuit(args, types.False)
	case operators.LogicalOr:
		return a.shortCircuit(args, types.True)
	case operators.Equals:
		return a.compared(args, true)
	case operators.NotEquals:
		return a.compared(args, false)
	case operators.In:
		return a.contained(args)
	case functionBase, functionExt:
		text, ok := a.text(call.Target())
		if call.FunctionName() == functionBase {
			return types.String(event.BaseName(text)), ok
		}
		return types.String(extension(text)), ok
	case overloads.StartsWith, overloads.EndsWith, overloads.Contains:
		text, ok := a.text(call.Target())
		part, isText := a.text(args[0])
		test := map[string]func(string, string) bool{
			overloads.StartsWith: strings.HasPrefix, overloads.EndsWith: strings.HasSuffix, overloads.Contains: strings.Contains,
		}[call.FunctionName()]
		return types.Bool(test(text, part)), ok && isText
	}
	return nil, false
}

// shortCircuit is && and ||: one operand that decides is enough.
func (a *analysis) shortCircuit(args []ast.Expr, decides types.Bool) (ref.Val, bool) {
	x, knowX := a.value(args[0])
	y, knowY := a.value(args[1])
	switch {
	case knowX && x == decides, knowY && y == decides:
		return decides, true
	case knowX && knowY:
		return !decides, true
	}
	return nil, false
}

func (a *analysis) compared(args []ast.Expr, want bool) (ref.Val, bool) {
	x, knowX := a.value(args[0])
	y, knowY := a.value(args[1])
	if !knowX || !knowY {
		return nil, false
	}
	return types.Bool((x.Equal(y) == types.True) == want), true
}

func (a *analysis) contained(args []ast.Expr) (ref.Val, bool) {
	item, ok := a.value(args[0])
	if !ok {
		return nil, false
	}
	if words, ok := a.compiler.constantWords(args[1]); ok {
		text, isText := item.(types.String)
		return types.Bool(isText && slices.Contains(words, string(text))), true
	}
	if args[1].Kind() != ast.ListKind {
		return nil, false
	}
	for _, element := range args[1].AsList().Elements() {
		value, ok := a.value(element)
		if !ok {
			return nil, false
		}
		if value.Equal(item) == types.True {
			return types.True, true
		}
	}
	return types.False, true
}
