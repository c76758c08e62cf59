package rule

import (
	"cmp"
	"net/netip"
	"time"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
)

// moment is a time as CEL compares it: an absent one reads as 1970.
func moment(t time.Time) time.Time {
	if t.IsZero() {
		return time.Unix(0, 0)
	}
	return t
}

func same[F ~func(*frame) V, V comparable](a, b F) boolCode {
	return func(f *frame) bool { return a(f) == b(f) }
}

func (c *compiler) equal(e ast.Expr, args []ast.Expr) (boolCode, error) {
	a, err := c.lower(args[0])
	if err != nil {
		return nil, err
	}
	b, err := c.lower(args[1])
	if err != nil {
		return nil, err
	}
	switch a := a.(type) {
	case boolCode:
		if b, ok := b.(boolCode); ok {
			return same(a, b), nil
		}
	case intCode:
		if b, ok := b.(intCode); ok {
			return same(a, b), nil
		}
	case uintCode:
		if b, ok := b.(uintCode); ok {
			return same(a, b), nil
		}
	case durationCode:
		if b, ok := b.(durationCode); ok {
			return same(a, b), nil
		}
	case timeCode:
		if b, ok := b.(timeCode); ok {
			return func(f *frame) bool { return moment(a(f)).Equal(moment(b(f))) }, nil
		}
	case textCode:
		switch b := b.(type) {
		case textCode:
			return same(a, b), nil
		case ipCode:
			return c.equalIP(b, args[0])
		}
	case ipCode:
		switch b := b.(type) {
		case textCode:
			return c.equalIP(a, args[1])
		case ipCode:
			return same(a, b), nil
		}
	}
	return nil, refuse(e, "conditions cannot compare values of type %s", c.ast.GetType(args[0].ID()))
}

func (c *compiler) equalIP(ip ipCode, text ast.Expr) (boolCode, error) {
	value, ok := c.constant(text)
	if !ok {
		return nil, refuse(text, "an address can only be compared with constants")
	}
	want, err := parseIP(text, string(value.(types.String)))
	return func(f *frame) bool { return ip(f) == want }, err
}

// parseIP reads a constant address. It has to be written as events write it:
// any other text equals none of them.
func parseIP(e ast.Expr, text string) (netip.Addr, error) {
	if text == "" {
		return netip.Addr{}, nil
	}
	ip, err := netip.ParseAddr(text)
	if err != nil || ip.Unmap().String() != text {
		return netip.Addr{}, refuse(e, "%q is not an address as events write it", text)
	}
	return ip, nil
}

func (c *compiler) order(e ast.Expr, operator string, args []ast.Expr) (any, error) {
	a, err := c.lower(args[0])
	if err != nil {
		return nil, err
	}
	b, err := c.lower(args[1])
	if err != nil {
		return nil, err
	}
	switch a := a.(type) {
	case intCode:
		if b, ok := b.(intCode); ok {
			return ordered(operator, a, b), nil
		}
	case uintCode:
		if b, ok := b.(uintCode); ok {
			return ordered(operator, a, b), nil
		}
	case textCode:
		if b, ok := b.(textCode); ok {
			return ordered(operator, a, b), nil
		}
	case durationCode:
		if b, ok := b.(durationCode); ok {
			return ordered(operator, a, b), nil
		}
	case timeCode:
		if b, ok := b.(timeCode); ok {
			signs := func(f *frame) int { return moment(a(f)).Compare(moment(b(f))) }
			return ordered(operator, signs, func(*frame) int { return 0 }), nil
		}
	}
	return nil, refuse(e, "conditions cannot order values of type %s", c.ast.GetType(args[0].ID()))
}

func ordered[F ~func(*frame) V, V cmp.Ordered](operator string, a, b F) boolCode {
	switch operator {
	case operators.Less:
		return func(f *frame) bool { return a(f) < b(f) }
	case operators.LessEquals:
		return func(f *frame) bool { return a(f) <= b(f) }
	case operators.Greater:
		return func(f *frame) bool { return a(f) > b(f) }
	}
	return func(f *frame) bool { return a(f) >= b(f) }
}

func (c *compiler) in(e ast.Expr, args []ast.Expr) (any, error) {
	item, err := c.lower(args[0])
	if err != nil {
		return nil, err
	}
	if words, ok := c.constantWords(args[1]); ok {
		return c.inWords(e, item, words, args[1])
	}
	if args[1].Kind() == ast.ListKind {
		return c.inElements(args)
	}
	list, err := c.lower(args[1])
	if err != nil {
		return nil, err
	}
	word, ok := item.(textCode)
	if !ok {
		return nil, refuse(e, "only text can be looked for in a list of the event")
	}
	switch list := list.(type) {
	case listCode:
		if list.contains != nil {
			return boolCode(func(f *frame) bool { return list.contains(f, word(f)) }), nil
		}
	case labelsCode:
		return boolCode(func(f *frame) bool {
			_, ok := list(f)[word(f)]
			return ok
		}), nil
	}
	return nil, refuse(e, "conditions cannot look for text in this")
}

// constantWords are the elements of a named list or of a literal that has
// nothing but constant text in it.
func (c *compiler) constantWords(e ast.Expr) ([]string, bool) {
	if e.Kind() == ast.IdentKind {
		for _, v := range c.scope {
			if v.name == e.AsIdent() {
				return nil, false
			}
		}
		words, ok := c.lists[e.AsIdent()]
		return words, ok
	}
	if e.Kind() != ast.ListKind {
		return nil, false
	}
	words := make([]string, 0, e.AsList().Size())
	for _, element := range e.AsList().Elements() {
		value, _ := c.constant(element)
		word, ok := value.(types.String)
		if !ok {
			return nil, false
		}
		words = append(words, string(word))
	}
	return words, true
}

func (c *compiler) inWords(e ast.Expr, item any, words []string, list ast.Expr) (any, error) {
	switch item := item.(type) {
	case textCode:
		set := make(map[string]struct{}, len(words))
		for _, word := range words {
			set[word] = struct{}{}
		}
		return boolCode(func(f *frame) bool {
			_, ok := set[item(f)]
			return ok
		}), nil
	case ipCode:
		set := make(map[netip.Addr]struct{}, len(words))
		for _, word := range words {
			ip, err := parseIP(list, word)
			if err != nil {
				return nil, err
			}
			set[ip] = struct{}{}
		}
		return boolCode(func(f *frame) bool {
			_, ok := set[item(f)]
			return ok
		}), nil
	}
	return nil, refuse(e, "conditions cannot look for this in a list of text")
}

// inElements compares with one element of a literal list after the other.
func (c *compiler) inElements(args []ast.Expr) (any, error) {
	var tests []boolCode
	for _, element := range args[1].AsList().Elements() {
		test, err := c.equal(element, []ast.Expr{args[0], element})
		if err != nil {
			return nil, err
		}
		tests = append(tests, test)
	}
	return boolCode(func(f *frame) bool {
		for _, test := range tests {
			if test(f) {
				return true
			}
		}
		return false
	}), nil
}
