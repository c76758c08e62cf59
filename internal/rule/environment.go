package rule

import (
	"fmt"
	"path"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
	"cel.dev/cel-go/parser"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/seawall-security/seawall/internal/event"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

// Bounds of an expression.
const (
	maxExpressionRunes = 16 << 10
	maxExpressionDepth = 64
	maxRegexpSize      = 1000 // instructions
	// maxEvaluationCost bounds summary and evidence in cel-go's units; an event's
	// text is at most some ten thousand bytes.
	maxEvaluationCost = 1 << 20
)

// eventVariable is the event as a whole. Its fields are variables of their own
// names; only namespace, a word that CEL reserves, is reached as event.namespace.
const eventVariable = "event"

// Functions beside CEL's own. All are total: they fail on no argument.
const (
	functionBase = "base" // last name of a path
	functionExt  = "ext"  // end of a last name from its last dot, or ""
	functionAt   = "at"   // element of a list, or ""
	functionGet  = "get"  // value in a map, or ""
	functionJoin = "join" // in summaries and evidence only
)

func eventDescriptor() protoreflect.MessageDescriptor {
	return (*sensorv1.Event)(nil).ProtoReflect().Descriptor()
}

// isRuntimeName reports whether the language has a variable of the name.
func isRuntimeName(name string) bool {
	return name == eventVariable || eventDescriptor().Fields().ByName(protoreflect.Name(name)) != nil
}

// newLanguage declares the language: schema, lists and functions.
func newLanguage(lists map[string][]string) (*language, error) {
	descriptor := eventDescriptor()
	options := []cel.EnvOption{
		cel.StdLib(),
		cel.ParserExpressionSizeLimit(maxExpressionRunes),
		cel.ParserRecursionLimit(maxExpressionDepth),
		cel.RegexProgramSizeLimit(maxRegexpSize),
		cel.DeclareContextProto(descriptor),
		cel.Variable(eventVariable, cel.ObjectType(string(descriptor.FullName()))),
		cel.Macros(cel.GlobalMacro("has", 1, expandHas)),
		cel.Function(functionBase, cel.MemberOverload("string_base", []*cel.Type{cel.StringType}, cel.StringType,
			cel.UnaryBinding(func(v ref.Val) ref.Val { return types.String(event.BaseName(string(v.(types.String)))) }))),
		cel.Function(functionExt, cel.MemberOverload("string_ext", []*cel.Type{cel.StringType}, cel.StringType,
			cel.UnaryBinding(func(v ref.Val) ref.Val { return types.String(extension(string(v.(types.String)))) }))),
		cel.Function(functionAt, cel.MemberOverload("list_at_int",
			[]*cel.Type{cel.ListType(cel.StringType), cel.IntType}, cel.StringType, cel.BinaryBinding(elementAt))),
		cel.Function(functionGet, cel.MemberOverload("map_get_string",
			[]*cel.Type{cel.MapType(cel.StringType, cel.StringType), cel.StringType}, cel.StringType, cel.BinaryBinding(valueOf))),
		cel.Function(functionJoin, cel.MemberOverload("list_join_string",
			[]*cel.Type{cel.ListType(cel.StringType), cel.StringType}, cel.StringType, cel.BinaryBinding(joined))),
	}
	for name := range lists {
		options = append(options, cel.Variable(name, cel.ListType(cel.StringType)))
	}
	env, err := cel.NewCustomEnv(options...)
	if err != nil {
		return nil, fmt.Errorf("declare rule language: %w", err)
	}
	return &language{env: env, lists: lists}, nil
}

// expandHas makes has() work on the event's own fields too: has(container).
func expandHas(helper parser.ExprHelper, _ ast.Expr, args []ast.Expr) (ast.Expr, *common.Error) {
	switch args[0].Kind() {
	case ast.SelectKind:
		field := args[0].AsSelect()
		return helper.NewPresenceTest(field.Operand(), field.FieldName()), nil
	case ast.IdentKind:
		name := args[0].AsIdent()
		if eventDescriptor().Fields().ByName(protoreflect.Name(name)) != nil {
			return helper.NewPresenceTest(helper.NewIdent(eventVariable), name), nil
		}
	}
	return nil, helper.NewError(args[0].ID(), "has() takes a field of the event or of a message")
}

// extension is the end of a path's last name from its last dot; "" without a dot.
func extension(name string) string { return path.Ext(name) }

func elementAt(list, index ref.Val) ref.Val {
	lister, i := list.(traits.Lister), index.(types.Int)
	if i < 0 || i >= lister.Size().(types.Int) {
		return types.String("")
	}
	return lister.Get(i)
}

func valueOf(container, key ref.Val) ref.Val {
	if value, ok := container.(traits.Mapper).Find(key); ok {
		return value
	}
	return types.String("")
}

func joined(list, separator ref.Val) ref.Val {
	var b strings.Builder
	for it, first := list.(traits.Lister).Iterator(), true; it.HasNext() == types.True; first = false {
		word, ok := it.Next().(types.String)
		if !ok {
			return types.NewErr("join of a list that holds more than text")
		}
		if !first {
			b.WriteString(string(separator.(types.String)))
		}
		b.WriteString(string(word))
	}
	return types.String(b.String())
}

// language is a declared environment with the values of its lists.
type language struct {
	env   *cel.Env
	lists map[string][]string
}

// variables are what cel-go sees of an event.
type variables struct {
	language *language
	event    *sensorv1.Event
}

// ResolveName implements cel.Activation.
func (v variables) ResolveName(name string) (any, bool) {
	if name == eventVariable {
		return v.event, true
	}
	if words, ok := v.language.lists[name]; ok {
		return words, true
	}
	field, ok := v.language.env.CELTypeProvider().FindStructFieldType(string(eventDescriptor().FullName()), name)
	if !ok {
		return nil, false
	}
	value, err := field.GetFrom(v.event)
	return value, err == nil
}

// Parent implements cel.Activation.
func (v variables) Parent() cel.Activation { return nil }
