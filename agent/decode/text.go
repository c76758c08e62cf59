package decode

import (
	"bytes"
	"unsafe"

	"github.com/seawall-security/seawall/internal/event"
)

// tail hands out the text behind the fixed part of one record and remembers the
// first span that lies elsewhere.
type tail struct {
	record []byte
	fixed  uint64 // where the tail begins
	err    *Error
	kind   event.Kind
}

// fixedPart loads the fixed part of a record and gives the tail behind it. It
// refuses a record that is too short for its kind.
func fixedPart[T any](fixed *T, record []byte, kind event.Kind) (tail, *Error) {
	size := unsafe.Sizeof(*fixed)
	if !load(fixed, record) {
		return tail{}, refuse(kind, ReasonShort, "%d bytes, the fixed part has %d", len(record), size)
	}
	return tail{record: record, fixed: uint64(size), kind: kind}, nil
}

// text is a view of the span's bytes. An empty span is no text, wherever it
// points: the kernel leaves the spans of absent text zero.
func (t *tail) text(name string, s wireSpan) string {
	if s.Length == 0 || t.err != nil {
		return ""
	}
	begin, end := uint64(s.Offset), uint64(s.Offset)+uint64(s.Length)
	if begin < t.fixed || end > uint64(len(t.record)) {
		t.err = refuse(t.kind, ReasonSpan, "%s at %d to %d is outside the tail, %d to %d",
			name, begin, end, t.fixed, len(t.record))
		return ""
	}
	return view(t.record[begin:end])
}

// view is a string of the same bytes: it changes when they do.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

const commOffset = unsafe.Offsetof(wireHeader{}.Comm)

// comm is a view of the task's name, which ends at the first NUL.
func comm(record []byte) string {
	name := record[commOffset : commOffset+unsafe.Sizeof(wireHeader{}.Comm)]
	if end := bytes.IndexByte(name, 0); end >= 0 {
		name = name[:end]
	}
	return view(name)
}
