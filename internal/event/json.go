package event

import (
	"bytes"
	"encoding/json"
	"fmt"
	"unicode/utf16"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protojson"

	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

// AppendJSON appends r to dst as one line of JSON, without the newline. Names are
// those of the schema; the same record always gives the same bytes, and what is
// [Hidden] is written as \u escapes: the line stays one line for every reader, and may
// be looked at. It fails only on text that is not UTF-8, which [Event.Proto] never
// leaves behind.
func AppendJSON(dst []byte, r *sensorv1.Record) ([]byte, error) {
	loose, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(r)
	if err != nil {
		return dst, fmt.Errorf("encode record as JSON: %w", err)
	}
	// protojson varies its white space from build to build, so that nobody compares it.
	b := bytes.NewBuffer(dst)
	if err := json.Compact(b, loose); err != nil {
		return dst, fmt.Errorf("compact JSON of record: %w", err)
	}
	line := b.Bytes()
	if first := bytes.IndexFunc(line[len(dst):], Hidden); first >= 0 {
		line = escapeHidden(line, len(dst)+first)
	}
	return line, nil
}

// escapeHidden escapes what is hidden from a place on. Outside its strings JSON has none.
func escapeHidden(line []byte, from int) []byte {
	text := string(line[from:])
	line = line[:from]
	for _, r := range text {
		switch {
		case !Hidden(r):
			line = utf8.AppendRune(line, r)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			line = fmt.Appendf(line, `\u%04x\u%04x`, high, low)
		default:
			line = fmt.Appendf(line, `\u%04x`, r)
		}
	}
	return line
}
