package decode

import (
	"reflect"
	"unsafe"

	"github.com/seawall-security/seawall/internal/event"
)

// encode makes a record of a wire struct: it sets kind and size, and lays the
// texts into the tail in the order of the struct's spans.
func encode[T any](kind event.Kind, fixed T, texts ...string) []byte {
	v := reflect.ValueOf(&fixed).Elem()
	var tail []byte
	for i := range v.NumField() {
		s, ok := v.Field(i).Addr().Interface().(*wireSpan)
		if !ok {
			continue
		}
		s.Offset = uint32(v.Type().Size()) + uint32(len(tail))
		s.Length = uint32(len(texts[0]))
		tail = append(tail, texts[0]...)
		texts = texts[1:]
	}
	header := v.FieldByName("Header").Addr().Interface().(*wireHeader)
	header.Kind = uint16(kind)
	header.Size = uint32(v.Type().Size()) + uint32(len(tail))
	b := unsafe.Slice((*byte)(v.Addr().UnsafePointer()), v.Type().Size())
	return append(append([]byte(nil), b...), tail...)
}

// bytes16 is text in a fixed array of the wire.
func bytes16(s string) (b [16]byte) {
	copy(b[:], s)
	return b
}
