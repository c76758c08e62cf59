package event

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

func recordOf(text string) *sensorv1.Record {
	return &sensorv1.Record{Body: &sensorv1.Record_Event{Event: (&Event{
		Header:    Header{Kind: KindFileRename, Comm: text},
		Payload:   &Rename{File: File{Path: text}, NewPath: "/" + text},
		Container: &Container{ID: text, Labels: map[string]string{text: text}},
	}).Proto("b")}}
}

// FuzzAppendJSON: whatever the watched call themselves, a record is one line of JSON that
// means what the record means, and steers no terminal.
func FuzzAppendJSON(f *testing.F) {
	f.Add("sh\u202e\u2066\u2028\u2029\u0085\u200b\ufeff\x1b[0m\n\r\x7f\xff\U000e0001\\\"")
	f.Add("plain")
	f.Fuzz(func(t *testing.T, text string) {
		record := recordOf(text)
		line, err := AppendJSON([]byte("kept\u202e"), record)
		if err != nil {
			t.Fatal(err)
		}
		line, ok := bytes.CutPrefix(line, []byte("kept\u202e"))
		if !ok || !json.Valid(line) {
			t.Fatalf("not JSON: %s", line)
		}
		if i := strings.IndexFunc(string(line), func(r rune) bool {
			return unicode.IsControl(r) || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp)
		}); i >= 0 {
			t.Fatalf("%q at byte %d", line, i)
		}
		got := &sensorv1.Record{}
		if err := protojson.Unmarshal(line, got); err != nil {
			t.Fatal(err)
		}
		if !proto.Equal(record, got) {
			t.Errorf("%v became %v", record, got)
		}
	})
}
