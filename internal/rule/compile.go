package rule

import (
	"fmt"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/overloads"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/seawall-security/seawall/internal/event"
)

// unsupported is what a condition says that closures cannot.
type unsupported struct {
	id      int64 // of the expression
	message string
}

func (u *unsupported) Error() string { return u.message }

func refuse(e ast.Expr, format string, args ...any) error {
	return &unsupported{e.ID(), fmt.Sprintf(format, args...)}
}

// compiler lowers checked expressions to closures.
type compiler struct {
	schema schema
	lists  map[string][]string
	ast    *ast.AST
	scope  []variable
}

// variable is an element that a macro iterates over; its slot is its place in scope.
type variable struct {
	name    string
	message protoreflect.FullName // "" for text
	rounds  int                   // how often it may change for one event
}

// condition lowers a whole expression of type bool.
func (c *compiler) condition(checked *ast.AST) (boolCode, error) {
	c.ast, c.scope = checked, nil
	return c.bool(checked.Expr())
}

// lower lowers any expression to the closure of its type.
func (c *compiler) lower(e ast.Expr) (any, error) {
	if value, ok := c.constant(e); ok {
		return lowerConstant(e, value)
	}
	switch e.Kind() {
	case ast.IdentKind:
		return c.ident(e)
	case ast.SelectKind:
		return c.selection(e)
	case ast.CallKind:
		return c.call(e)
	case ast.ComprehensionKind:
		return c.macro(e)
	case ast.ListKind:
		words, ok := c.constantWords(e)
		if !ok {
			return nil, refuse(e, "a list of other things than constant text can only stand right of in")
		}
		return constantList(words), nil
	}
	return nil, refuse(e, "conditions have no maps and messages of their own")
}

// constant is the value of a literal or an enum's name.
func (c *compiler) constant(e ast.Expr) (ref.Val, bool) {
	if e.Kind() == ast.LiteralKind {
		return e.AsLiteral(), true
	}
	if reference, ok := c.ast.ReferenceMap()[e.ID()]; ok && reference.Value != nil {
		return reference.Value, true
	}
	if e.Kind() == ast.CallKind && e.AsCall().FunctionName() == overloads.TypeConvertDuration && len(e.AsCall().Args()) == 1 {
		if literal, ok := c.constant(e.AsCall().Args()[0]); ok {
			duration, ok := literal.ConvertToType(types.DurationType).(types.Duration)
			return duration, ok
		}
	}
	if e.Kind() == ast.CallKind && e.AsCall().FunctionName() == overloads.TypeConvertTimestamp && len(e.AsCall().Args()) == 1 {
		if literal, ok := c.constant(e.AsCall().Args()[0]); ok {
			timestamp, ok := literal.ConvertToType(types.TimestampType).(types.Timestamp)
			return timestamp, ok
		}
	}
	return nil, false
}

func lowerConstant(e ast.Expr, value ref.Val) (any, error) {
	switch v := value.(type) {
	case types.Bool:
		return boolCode(func(*frame) bool { return bool(v) }), nil
	case types.Int:
		return intCode(func(*frame) int64 { return int64(v) }), nil
	case types.Uint:
		return uintCode(func(*frame) uint64 { return uint64(v) }), nil
	case types.String:
		return textCode(func(*frame) string { return string(v) }), nil
	case types.Duration:
		return durationCode(func(*frame) time.Duration { return v.Duration }), nil
	case types.Timestamp:
		return timeCode(func(*frame) time.Time { return v.Time }), nil
	}
	return nil, refuse(e, "conditions have no values of type %s", value.Type().TypeName())
}

func (c *compiler) ident(e ast.Expr) (any, error) {
	name := e.AsIdent()
	for slot := len(c.scope) - 1; slot >= 0; slot-- {
		if c.scope[slot].name == name {
			return c.element(slot), nil
		}
	}
	if words, ok := c.lists[name]; ok {
		return constantList(words), nil
	}
	if name == eventVariable {
		return messageCode(rootEvent), nil
	}
	return c.field(e, schemaPackage+"Event", rootEvent, name)
}

func rootEvent(f *frame) any { return f.event }

// element reads what a macro iterates over.
func (c *compiler) element(slot int) any {
	if c.scope[slot].message == "" {
		return textCode(func(f *frame) string { return f.words[slot] })
	}
	return messageCode(func(f *frame) any { return f.messages[slot] })
}

func (c *compiler) field(e ast.Expr, message protoreflect.FullName, base messageCode, name string) (any, error) {
	field, ok := c.schema[message][protoreflect.Name(name)]
	switch {
	case !ok:
		return nil, refuse(e, "conditions cannot read %s", name)
	case field.lower == nil:
		return nil, refuse(e, "conditions cannot read %s: %s", name, field.why)
	}
	return field.lower(base), nil
}

func (c *compiler) selection(e ast.Expr) (any, error) {
	s := e.AsSelect()
	operand, err := c.lower(s.Operand())
	if err != nil {
		return nil, err
	}
	if labels, ok := operand.(labelsCode); ok {
		return selectLabel(e, labels)
	}
	base, ok := operand.(messageCode)
	if !ok {
		return nil, refuse(e, "%s is not a field that conditions can read", s.FieldName())
	}
	message := protoreflect.FullName(c.ast.GetType(s.Operand().ID()).TypeName())
	value, err := c.field(e, message, base, s.FieldName())
	if err != nil || !s.IsTestOnly() {
		return value, err
	}
	return presence(e, value)
}

func selectLabel(e ast.Expr, labels labelsCode) (any, error) {
	if !e.AsSelect().IsTestOnly() {
		return nil, refuse(e, "a missing key would be an error; write .get(%q)", e.AsSelect().FieldName())
	}
	key := e.AsSelect().FieldName()
	return boolCode(func(f *frame) bool {
		_, ok := labels(f)[key]
		return ok
	}), nil
}

// presence is has(): a message that is there, a value other than its type's zero.
func presence(e ast.Expr, value any) (any, error) {
	switch v := value.(type) {
	case messageCode:
		return boolCode(func(f *frame) bool { return v(f) != nil }), nil
	case textCode:
		return boolCode(func(f *frame) bool { return v(f) != "" }), nil
	case uintCode:
		return boolCode(func(f *frame) bool { return v(f) != 0 }), nil
	case intCode:
		return boolCode(func(f *frame) bool { return v(f) != 0 }), nil
	case boolCode:
		return v, nil
	case timeCode:
		return boolCode(func(f *frame) bool { return !v(f).IsZero() }), nil
	case ipCode:
		return boolCode(func(f *frame) bool { return v(f).IsValid() }), nil
	case listCode:
		return boolCode(func(f *frame) bool { return v.size(f) != 0 }), nil
	case labelsCode:
		return boolCode(func(f *frame) bool { return len(v(f)) != 0 }), nil
	}
	return nil, refuse(e, "has() cannot tell of %s", e.AsSelect().FieldName())
}

// typed lowers an expression that has to be of one type.
func typed[T any](c *compiler, e ast.Expr) (T, error) {
	var none T
	value, err := c.lower(e)
	if err != nil {
		return none, err
	}
	code, ok := value.(T)
	if !ok {
		return none, refuse(e, "conditions cannot use this %s here", c.ast.GetType(e.ID()))
	}
	return code, nil
}

func (c *compiler) bool(e ast.Expr) (boolCode, error) { return typed[boolCode](c, e) }

// two lowers both operands of one type.
func two[T any](c *compiler, args []ast.Expr) (a, b T, err error) {
	if a, err = typed[T](c, args[0]); err == nil {
		b, err = typed[T](c, args[1])
	}
	return a, b, err
}

func (c *compiler) call(e ast.Expr) (any, error) {
	call := e.AsCall()
	args := call.Args()
	if call.IsMemberFunction() {
		args = append([]ast.Expr{call.Target()}, args...)
	}
	switch name := call.FunctionName(); name {
	case operators.LogicalAnd, operators.LogicalOr:
		return c.logical(name, args)
	case operators.LogicalNot:
		a, err := c.bool(args[0])
		return boolCode(func(f *frame) bool { return !a(f) }), err
	case operators.Conditional:
		return c.choice(e, args)
	case operators.Equals:
		return c.equal(e, args)
	case operators.NotEquals:
		equal, err := c.equal(e, args)
		return boolCode(func(f *frame) bool { return !equal(f) }), err
	case operators.Less, operators.LessEquals, operators.Greater, operators.GreaterEquals:
		return c.order(e, name, args)
	case operators.In:
		return c.in(e, args)
	case operators.Subtract:
		a, b, err := two[timeCode](c, args)
		if err != nil {
			return nil, refuse(e, "conditions subtract nothing but times")
		}
		return durationCode(func(f *frame) time.Duration { return moment(a(f)).Sub(moment(b(f))) }), nil
	case operators.Index:
		return nil, refuse(e, "an index out of range would be an error; write .at(i) or .get(key)")
	case overloads.Size:
		return c.size(e, args)
	case overloads.StartsWith, overloads.EndsWith, overloads.Contains:
		return c.search(name, args)
	case overloads.Matches:
		return c.matches(args)
	case functionBase:
		path, err := typed[textCode](c, args[0])
		return textCode(func(f *frame) string { return event.BaseName(path(f)) }), err
	case functionExt:
		path, err := typed[textCode](c, args[0])
		return textCode(func(f *frame) string { return extension(path(f)) }), err
	case functionAt:
		return c.at(e, args)
	case functionGet:
		labels, err := typed[labelsCode](c, args[0])
		if err != nil {
			return nil, err
		}
		key, err := typed[textCode](c, args[1])
		return textCode(func(f *frame) string { return labels(f)[key(f)] }), err
	default:
		return nil, refuse(e, "conditions cannot use %s", displayName(name))
	}
}

func displayName(function string) string {
	if name, ok := operators.FindReverse(function); ok && name != "" {
		return name
	}
	return strings.Trim(function, "_@") + "()"
}

func (c *compiler) logical(operator string, args []ast.Expr) (any, error) {
	a, b, err := two[boolCode](c, args)
	if operator == operators.LogicalAnd {
		return boolCode(func(f *frame) bool { return a(f) && b(f) }), err
	}
	return boolCode(func(f *frame) bool { return a(f) || b(f) }), err
}

func (c *compiler) choice(e ast.Expr, args []ast.Expr) (any, error) {
	condition, err := c.bool(args[0])
	if err != nil {
		return nil, err
	}
	yes, err := c.lower(args[1])
	if err != nil {
		return nil, err
	}
	no, err := c.lower(args[2])
	if err != nil {
		return nil, err
	}
	switch yes := yes.(type) {
	case boolCode:
		if no, ok := no.(boolCode); ok {
			return choose(condition, yes, no), nil
		}
	case textCode:
		if no, ok := no.(textCode); ok {
			return choose(condition, yes, no), nil
		}
	case uintCode:
		if no, ok := no.(uintCode); ok {
			return choose(condition, yes, no), nil
		}
	case intCode:
		if no, ok := no.(intCode); ok {
			return choose(condition, yes, no), nil
		}
	}
	return nil, refuse(e, "conditions cannot choose between these values")
}

func choose[F ~func(*frame) V, V any](condition boolCode, yes, no F) F {
	return func(f *frame) V {
		if condition(f) {
			return yes(f)
		}
		return no(f)
	}
}

func (c *compiler) size(e ast.Expr, args []ast.Expr) (any, error) {
	value, err := c.lower(args[0])
	if err != nil {
		return nil, err
	}
	switch v := value.(type) {
	case textCode:
		return intCode(func(f *frame) int64 { return int64(utf8.RuneCountInString(v(f))) }), nil
	case listCode:
		return intCode(func(f *frame) int64 { return int64(v.size(f)) }), nil
	case labelsCode:
		return intCode(func(f *frame) int64 { return int64(len(v(f))) }), nil
	}
	return nil, refuse(e, "conditions cannot take the size of this")
}

func (c *compiler) search(function string, args []ast.Expr) (any, error) {
	text, part, err := two[textCode](c, args)
	switch function {
	case overloads.StartsWith:
		return boolCode(func(f *frame) bool { return strings.HasPrefix(text(f), part(f)) }), err
	case overloads.EndsWith:
		return boolCode(func(f *frame) bool { return strings.HasSuffix(text(f), part(f)) }), err
	}
	return boolCode(func(f *frame) bool { return strings.Contains(text(f), part(f)) }), err
}

func (c *compiler) matches(args []ast.Expr) (any, error) {
	text, err := typed[textCode](c, args[0])
	if err != nil {
		return nil, err
	}
	pattern, ok := c.constant(args[1])
	if !ok {
		return nil, refuse(args[1], "the expression of matches() has to be a constant")
	}
	expression, err := regexp.Compile(string(pattern.(types.String)))
	if err != nil {
		return nil, refuse(args[1], "%v", err)
	}
	return boolCode(func(f *frame) bool { return expression.MatchString(text(f)) }), nil
}

func (c *compiler) at(e ast.Expr, args []ast.Expr) (any, error) {
	list, err := typed[listCode](c, args[0])
	if err != nil {
		return nil, err
	}
	index, err := typed[intCode](c, args[1])
	if err == nil && list.at == nil {
		err = refuse(e, "at() is for lists of text")
	}
	return textCode(func(f *frame) string { return list.at(f, index(f)) }), err
}
