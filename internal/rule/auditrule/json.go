package auditrule

import (
	"reflect"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
)

// JSON as conditions see it is total: a field or an element that is not there reads as
// absent, which is equal to nothing but null, is in nothing and has no elements. So a
// condition says what it looks for, and not what may be missing on the way there. Text,
// numbers and booleans are CEL's own.

var jsonType = types.NewObjectType("seawall.Json",
	traits.IndexerType, traits.FieldTesterType, traits.SizerType, traits.IterableType, traits.ContainerType)

// none is the absent value.
var none ref.Val = &absent{}

// wrap gives conditions a value as encoding/json makes them.
func wrap(value any) ref.Val {
	switch v := value.(type) {
	case nil:
		return none
	case bool:
		return types.Bool(v)
	case float64:
		return types.Double(v)
	case string:
		return types.String(v)
	case []any:
		return &jsonList{elements: v}
	case map[string]any:
		return &jsonObject{fields: v}
	}
	return none
}

// unwrap is what JSON a value is of; nil: none, or absent.
func unwrap(v ref.Val) any {
	switch v := v.(type) {
	case *jsonList:
		return v.elements
	case *jsonObject:
		return v.fields
	case types.String:
		return string(v)
	case types.Double:
		return float64(v)
	case types.Bool:
		return bool(v)
	}
	return nil
}

func isPresent(v ref.Val) bool {
	switch v.(type) {
	case *absent, types.Null:
		return false
	}
	return true
}

// composite has what no JSON value can be turned into.
type composite struct{}

func (composite) ConvertToNative(reflect.Type) (any, error) {
	return nil, types.NewErr("JSON is converted by text() and number()").Value().(error)
}

func (composite) ConvertToType(t ref.Type) ref.Val {
	if t.TypeName() == types.TypeType.TypeName() {
		return jsonType
	}
	return types.NewErr("JSON is converted by text() and number()")
}

func (composite) Type() ref.Type { return jsonType }

type absent struct{ composite }

func (*absent) Equal(other ref.Val) ref.Val       { return types.Bool(!isPresent(other)) }
func (*absent) Value() any                        { return nil }
func (*absent) Get(ref.Val) ref.Val               { return none }
func (*absent) IsSet(ref.Val) ref.Val             { return types.False }
func (*absent) Size() ref.Val                     { return types.IntZero }
func (*absent) Contains(ref.Val) ref.Val          { return types.False }
func (*absent) Iterator() traits.Iterator         { return &iterator{} }
func (o *jsonObject) Value() any                  { return o.fields }
func (o *jsonObject) Size() ref.Val               { return types.Int(len(o.fields)) }
func (l *jsonList) Value() any                    { return l.elements }
func (l *jsonList) Size() ref.Val                 { return types.Int(len(l.elements)) }
func (l *jsonList) Iterator() traits.Iterator     { return &iterator{elements: l.elements} }
func (l *jsonList) IsSet(index ref.Val) ref.Val   { return types.Bool(isPresent(l.Get(index))) }
func (o *jsonObject) IsSet(field ref.Val) ref.Val { return types.Bool(isPresent(o.Get(field))) }

// jsonObject is a JSON object.
type jsonObject struct {
	composite
	fields map[string]any
}

func (o *jsonObject) Get(field ref.Val) ref.Val {
	if name, ok := field.(types.String); ok {
		return wrap(o.fields[string(name)])
	}
	return none
}

func (o *jsonObject) Equal(other ref.Val) ref.Val {
	same, ok := other.(*jsonObject)
	return types.Bool(ok && reflect.DeepEqual(o.fields, same.fields))
}

func (o *jsonObject) Contains(field ref.Val) ref.Val {
	name, ok := field.(types.String)
	if ok {
		_, ok = o.fields[string(name)]
	}
	return types.Bool(ok)
}

// Iterator yields the names of the fields, in their order: Go's maps have none.
func (o *jsonObject) Iterator() traits.Iterator {
	names := sortedKeys(o.fields)
	elements := make([]any, len(names))
	for i, name := range names {
		elements[i] = name
	}
	return &iterator{elements: elements}
}

// jsonList is a JSON array.
type jsonList struct {
	composite
	elements []any
}

func (l *jsonList) Get(index ref.Val) ref.Val {
	i, err := types.GetOrError(index)
	if err != nil || i < 0 || i >= len(l.elements) {
		return none
	}
	return wrap(l.elements[i])
}

func (l *jsonList) Equal(other ref.Val) ref.Val {
	switch other := other.(type) {
	case *jsonList:
		return types.Bool(reflect.DeepEqual(l.elements, other.elements))
	case traits.Lister:
		if other.Size() != l.Size() {
			return types.False
		}
		for i, element := range l.elements {
			if wrap(element).Equal(other.Get(types.Int(i))) != types.True {
				return types.False
			}
		}
		return types.True
	}
	return types.False
}

func (l *jsonList) Contains(wanted ref.Val) ref.Val {
	for _, element := range l.elements {
		if wrap(element).Equal(wanted) == types.True {
			return types.True
		}
	}
	return types.False
}

// iterator goes over elements.
type iterator struct {
	elements []any
	next     int
}

func (i *iterator) HasNext() ref.Val { return types.Bool(i.next < len(i.elements)) }

func (i *iterator) Next() ref.Val {
	if i.next >= len(i.elements) {
		return none
	}
	i.next++
	return wrap(i.elements[i.next-1])
}

func (*iterator) ConvertToNative(reflect.Type) (any, error) {
	return nil, types.NewErr("an iterator is no value").Value().(error)
}
func (*iterator) ConvertToType(ref.Type) ref.Val { return types.NewErr("an iterator is no value") }
func (*iterator) Equal(ref.Val) ref.Val          { return types.False }
func (*iterator) Type() ref.Type                 { return types.IteratorType }
func (*iterator) Value() any                     { return nil }
