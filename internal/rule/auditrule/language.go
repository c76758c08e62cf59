package auditrule

import (
	"fmt"
	"regexp"
	"regexp/syntax"
	"slices"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/env"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/overloads"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/parser"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/seawall-security/seawall/internal/rule"
	auditv1 "github.com/seawall-security/seawall/proto/audit/v1"
)

// Bounds of an expression.
const (
	maxExpressionRunes = 16 << 10
	maxExpressionDepth = 64
	maxRegexpSize      = 1000 // instructions
	// maxRounds bounds what macros iterate over for one rule and one request, all together.
	// A body has at most some ten thousand elements.
	maxRounds = 1 << 18
)

// language is what the conditions of one set are written in.
type language struct {
	variables []variable
	places    map[string]int // of variables
	lists     map[string][]string
	patterns  map[string]*pattern // what matches() is called with
	adapter   types.Adapter
}

func newLanguage() *language {
	return &language{places: make(map[string]int), patterns: make(map[string]*pattern)}
}

func eventDescriptor() protoreflect.MessageDescriptor {
	return (*auditv1.Event)(nil).ProtoReflect().Descriptor()
}

// definition is what internal/rule needs to know of the language.
func (l *language) definition() rule.AuditLanguage {
	return rule.AuditLanguage{
		Declare: l.declare,
		Matched: []cel.EnvOption{cel.Variable(countVariable, cel.IntType),
			cel.Variable(valuesVariable, cel.ListType(cel.StringType)), cel.Variable(alsoVariable, cel.ListType(cel.StringType))},
		Reserved: func(name string) bool {
			return name == countVariable || name == valuesVariable || name == alsoVariable || name == "cel" || eventDescriptor().Fields().ByName(protoreflect.Name(name)) != nil ||
				slices.ContainsFunc(ownVariables(), func(v variable) bool { return v.name == name })
		},
		Judge: l.judge,
	}
}

// declare makes the environment: schema, variables, lists and functions.
func (l *language) declare(lists map[string][]string) (*cel.Env, error) {
	registry, err := types.NewRegistry(&auditv1.Event{})
	if err != nil {
		return nil, fmt.Errorf("declare the language of audit rules: %w", err)
	}
	base, err := cel.NewCustomEnv(
		cel.CustomTypeAdapter(registry),
		cel.CustomTypeProvider(fields{registry}),
		cel.StdLib(cel.StdLibSubset(env.NewLibrarySubset().AddExcludedFunctions(
			env.NewFunction(overloads.StartsWith), env.NewFunction(overloads.EndsWith),
			env.NewFunction(overloads.Contains), env.NewFunction(overloads.Matches)))),
		cel.ParserExpressionSizeLimit(maxExpressionRunes),
		cel.ParserRecursionLimit(maxExpressionDepth),
		cel.Macros(cel.GlobalMacro("has", 1, expandHas), cel.ReceiverMacro("bind", 3, expandBind),
			cel.ReceiverMacro(overloads.Matches, 1, expandMatches)),
	)
	if err != nil {
		return nil, fmt.Errorf("declare the language of audit rules: %w", err)
	}
	l.lists = lists
	l.variables = ownVariables()
	for i, v := range l.variables {
		l.places[v.name] = i
	}
	schema := eventDescriptor().Fields()
	for i := range schema.Len() {
		name := string(schema.Get(i).Name())
		if _, own := l.places[name]; own {
			continue
		}
		field, ok := base.CELTypeProvider().FindStructFieldType(string(eventDescriptor().FullName()), name)
		if !ok {
			return nil, fmt.Errorf("declare the language of audit rules: no type of field %s", name)
		}
		l.places[name] = len(l.variables)
		l.variables = append(l.variables, variable{name, field.Type, func(r *request) ref.Val {
			value, err := field.GetFrom(r.event)
			if err != nil {
				return types.NewErr("read %s: %v", name, err)
			}
			return r.adapter.NativeToValue(value)
		}})
	}
	options := l.functions()
	for _, v := range l.variables {
		options = append(options, cel.Variable(v.name, v.kind))
	}
	for name := range lists {
		options = append(options, cel.Variable(name, cel.ListType(cel.StringType)))
	}
	declared, err := base.Extend(options...)
	if err != nil {
		return nil, fmt.Errorf("declare the language of audit rules: %w", err)
	}
	l.adapter = declared.CELTypeAdapter()
	return declared, nil
}

// expandHas makes has() work on variables and on what functions give, too: has(object),
// has(manifest), has(image(c.image).tag).
func expandHas(helper parser.ExprHelper, _ ast.Expr, args []ast.Expr) (ast.Expr, *common.Error) {
	switch args[0].Kind() {
	case ast.SelectKind:
		field := args[0].AsSelect()
		return helper.NewPresenceTest(field.Operand(), field.FieldName()), nil
	case ast.IdentKind:
		name := args[0].AsIdent()
		isField := eventDescriptor().Fields().ByName(protoreflect.Name(name)) != nil
		if isField && name != "request" && name != "response" {
			return helper.NewPresenceTest(helper.NewIdent(eventVariable), name), nil
		}
		return helper.NewCall(functionPresent, args[0]), nil
	case ast.CallKind: // of an index, or of a function that gives JSON
		return helper.NewCall(functionPresent, args[0]), nil
	}
	return nil, helper.NewError(args[0].ID(), "has() takes a variable, a field or what a function gives")
}

// expandBind is cel.bind(name, value, expression).
func expandBind(helper parser.ExprHelper, target ast.Expr, args []ast.Expr) (ast.Expr, *common.Error) {
	if target.Kind() != ast.IdentKind || target.AsIdent() != "cel" {
		return nil, nil // some other bind()
	}
	if args[0].Kind() != ast.IdentKind {
		return nil, helper.NewError(args[0].ID(), "cel.bind() takes a name first")
	}
	name := args[0].AsIdent()
	return helper.NewComprehension(helper.NewList(), "#unused", name, args[1],
		helper.NewLiteral(types.False), helper.NewIdent(name), args[2]), nil
}

// expandMatches puts a function of ours in the place of matches(), which cel-go would
// replace by its own that takes nothing but text.
func expandMatches(helper parser.ExprHelper, target ast.Expr, args []ast.Expr) (ast.Expr, *common.Error) {
	return helper.NewMemberCall(functionMatches, target, args[0]), nil
}

// judge refuses what could fail for a request whose JSON is not as expected, and patterns
// that only a request would tell.
func (l *language) judge(checked *cel.Ast) (at int64, err error) {
	native := checked.NativeRep()
	isJSON := func(e ast.Expr) bool { return native.GetType(e.ID()).Kind() == types.DynKind }
	refuse := func(e ast.Expr, format string, args ...any) {
		if err == nil {
			at, err = e.ID(), fmt.Errorf(format, args...)
		}
	}
	ast.PreOrderVisit(native.Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		if e.Kind() != ast.CallKind {
			return
		}
		call := e.AsCall()
		args := call.Args()
		if call.IsMemberFunction() {
			args = append([]ast.Expr{call.Target()}, args...)
		}
		name := call.FunctionName()
		switch name {
		case operators.Equals, operators.NotEquals:
			for _, arg := range args {
				if arg.Kind() == ast.LiteralKind && arg.AsLiteral() == types.NullValue {
					refuse(arg, "write has(…) instead of a comparison with null")
				}
			}
			return
		case operators.In, overloads.Size, operators.NotStrictlyFalse:
			return
		case operators.Index:
			if !isJSON(args[0]) {
				refuse(e, "an index that is not there would be an error; write .at(i) or .get(key)")
			}
			return
		case operators.Conditional:
			args = args[:1]
		case functionMatches:
			l.pattern(args[1], refuse)
			return
		}
		if acceptsJSON[name] {
			return
		}
		for _, arg := range args {
			if isJSON(arg) {
				refuse(arg, "%s", advice(name))
			}
		}
	}))
	return at, err
}

// advice says how JSON gets where it has to be of some type.
func advice(function string) string {
	switch function {
	case operators.LogicalAnd, operators.LogicalOr, operators.LogicalNot, operators.Conditional:
		return "JSON is no condition; write == true"
	case operators.Add, overloads.TypeConvertString:
		return "JSON is no text; write text(…), or number(…) to calculate"
	}
	return "JSON is of no fixed type; write text(…) or number(…)"
}

// pattern compiles what matches() is called with.
func (l *language) pattern(e ast.Expr, refuse func(ast.Expr, string, ...any)) {
	if e.Kind() != ast.LiteralKind {
		refuse(e, "the expression of matches() has to be a constant")
		return
	}
	text, _ := e.AsLiteral().(types.String)
	parsed, err := syntax.Parse(string(text), syntax.Perl)
	if err != nil {
		refuse(e, "%v", err)
		return
	}
	program, err := syntax.Compile(parsed.Simplify())
	if err != nil || len(program.Inst) > maxRegexpSize {
		refuse(e, "the expression of matches() is too large")
		return
	}
	compiled, err := regexp.Compile(string(text))
	if err != nil {
		refuse(e, "%v", err)
		return
	}
	l.patterns[string(text)] = &pattern{expression: compiled, known: make(map[string]bool)}
}

// isNested reports whether an expression has a macro that goes over a list within another.
// What one alone goes over is bounded by the event.
func isNested(checked *cel.Ast) bool {
	var deepest func(e ast.Expr) int
	deepest = func(e ast.Expr) int {
		most := 0
		if e.Kind() == ast.ComprehensionKind {
			c := e.AsComprehension()
			inner := max(deepest(c.LoopCondition()), deepest(c.LoopStep()))
			if c.IterRange().Kind() != ast.ListKind { // as of has() and cel.bind()
				inner++
			}
			return max(inner, deepest(c.IterRange()), deepest(c.AccuInit()), deepest(c.Result()))
		}
		for _, part := range parts(e) {
			most = max(most, deepest(part))
		}
		return most
	}
	return deepest(checked.NativeRep().Expr()) > 1
}

// parts are the expressions that one is made of, but for a macro's.
func parts(e ast.Expr) []ast.Expr {
	switch e.Kind() {
	case ast.CallKind:
		call := e.AsCall()
		if call.IsMemberFunction() {
			return append([]ast.Expr{call.Target()}, call.Args()...)
		}
		return call.Args()
	case ast.SelectKind:
		return []ast.Expr{e.AsSelect().Operand()}
	case ast.ListKind:
		return e.AsList().Elements()
	case ast.MapKind:
		var all []ast.Expr
		for _, entry := range e.AsMap().Entries() {
			all = append(all, entry.AsMapEntry().Key(), entry.AsMapEntry().Value())
		}
		return all
	case ast.StructKind:
		var all []ast.Expr
		for _, field := range e.AsStruct().Fields() {
			all = append(all, field.AsStructField().Value())
		}
		return all
	}
	return nil
}
