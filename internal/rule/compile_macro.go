package rule

import (
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// quantifier recognises what the macros exists and all expand to.
func quantifier(e ast.Expr) (body ast.Expr, exists, ok bool) {
	fold := e.AsComprehension()
	if fold.HasIterVar2() || fold.LoopStep().Kind() != ast.CallKind || fold.AccuInit().Kind() != ast.LiteralKind ||
		fold.Result().Kind() != ast.IdentKind {
		return nil, false, false
	}
	step := fold.LoopStep().AsCall()
	switch {
	case step.FunctionName() == operators.LogicalOr && fold.AccuInit().AsLiteral() == types.False:
		return step.Args()[1], true, true
	case step.FunctionName() == operators.LogicalAnd && fold.AccuInit().AsLiteral() == types.True:
		return step.Args()[1], false, true
	}
	return nil, false, false
}

func (c *compiler) macro(e ast.Expr) (any, error) {
	body, exists, ok := quantifier(e)
	if !ok {
		return nil, refuse(e, "of the macros conditions can use has, exists and all")
	}
	fold := e.AsComprehension()
	list, err := typed[listCode](c, fold.IterRange())
	if err != nil {
		return nil, err
	}
	slot := len(c.scope)
	if slot == maxNesting {
		return nil, refuse(e, "macros nest more than %d deep", maxNesting)
	}
	rounds := list.most
	if slot > 0 {
		rounds *= c.scope[slot-1].rounds
	}
	if rounds > maxRounds {
		return nil, refuse(e, "macros within macros may run %d times for one event, more than %d", rounds, maxRounds)
	}
	c.scope = append(c.scope, variable{fold.IterVar(), protoreflect.FullName(list.message), max(rounds, 1)})
	defer func() { c.scope = c.scope[:slot] }()
	test, err := c.bool(body)
	if err != nil {
		return nil, err
	}
	if exists {
		return boolCode(func(f *frame) bool { return list.each(f, slot, test, true) }), nil
	}
	return boolCode(func(f *frame) bool { return !list.each(f, slot, test, false) }), nil
}

// constantList is a list that the rule files or the condition itself spell out.
func constantList(words []string) listCode {
	return wordList(len(words), func(*frame) []string { return words })
}
