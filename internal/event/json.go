package event

import (
	"bytes"
	"encoding/json"
	"fmt"

	"google.golang.org/protobuf/encoding/protojson"

	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

// AppendJSON appends r to dst as one line of JSON, without the newline. Names are
// those of the schema; the same record always gives the same bytes. It fails only
// on text that is not UTF-8, which [Event.Proto] never leaves behind.
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
	return b.Bytes(), nil
}
