package decode

import (
	"errors"
	"io"
	"path/filepath"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/seawall-security/seawall/agent/recording"
	"github.com/seawall-security/seawall/internal/event"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

// FuzzDecode seeds from the samples and from every recording there is.
func FuzzDecode(f *testing.F) {
	for _, s := range samples() {
		f.Add(s.record)
	}
	paths, err := filepath.Glob("testdata/*.jsonl")
	if err != nil {
		f.Fatal(err)
	}
	for _, path := range paths {
		addRecording(f, path)
	}
	f.Fuzz(func(t *testing.T, record []byte) {
		if first, rest, err := Split(record); err == nil && len(first)+len(rest) != len(record) {
			t.Fatal("split lost bytes")
		}
		original := slices.Clone(record)
		var d Decoder
		e, err := d.Decode(record)
		if err != nil {
			var refused *Error
			if !errors.As(err, &refused) || !slices.Contains(Reasons(), refused.Reason()) {
				t.Fatalf("refused without a reason: %v", err)
			}
			return
		}
		if e.Payload == nil || e.Kind.String() == "unknown" {
			t.Fatalf("kind %d with payload %T", e.Kind, e.Payload)
		}
		// Touches all text: a view outside the record would show here.
		kept := e.Clone()
		m := e.Proto(sampleBoot)
		if _, err := proto.Marshal(m); err != nil {
			t.Fatalf("not fit for the wire: %v", err)
		}
		if _, err := event.AppendJSON(nil, &sensorv1.Record{Body: &sensorv1.Record_Event{Event: m}}); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(original, record) {
			t.Fatal("decoding changed the record")
		}
		clear(record)
		if !proto.Equal(m, kept.Proto(sampleBoot)) {
			t.Fatal("the clone is not the event")
		}
	})
}

func addRecording(f *testing.F, path string) {
	r, err := recording.Open(path)
	if err != nil {
		f.Fatal(err)
	}
	defer r.Close()
	for {
		entry, err := r.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			f.Fatal(err)
		}
		if entry.Container == nil {
			f.Add(entry.Raw)
		}
	}
}
