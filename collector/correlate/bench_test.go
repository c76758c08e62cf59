package correlate

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/seawall-security/seawall/collector/alert"
	collectorv1 "github.com/seawall-security/seawall/proto/collector/v1"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

// envelopes makes a log without end of envelopes of so many records, with new sequences.
func envelopes(b *testing.B, records int, r func(s *scene) *sensorv1.Record) func() Message {
	s, l := &scene{container: "c"}, newLog()
	e := &collectorv1.Envelope{Cluster: testCluster, AgentId: testAgent, Skew: durationpb.New(0)}
	for range records {
		body, err := proto.Marshal(r(s))
		if err != nil {
			b.Fatal(err)
		}
		e.Items = append(e.Items, &sensorv1.Item{BootId: "boot", Record: body})
	}
	sequence := uint64(0)
	return func() Message {
		for _, item := range e.Items {
			sequence++
			item.Sequence = sequence
		}
		l.envelope(b, noon.Add(time.Duration(sequence)*time.Millisecond), e)
		message := l.messages[0]
		message.Position, l.messages = sequence, nil
		return message
	}
}

var benchRecords = []struct {
	name string
	make func(s *scene) *sensorv1.Record
}{
	{"ignored", func(s *scene) *sensorv1.Record {
		return s.record(act{process: "p", program: "p", payload: func(e *sensorv1.Event) { e.Payload = &sensorv1.Event_Exec{Exec: &sensorv1.ProcessExec{}} }})
	}},
	{"context", func(s *scene) *sensorv1.Record {
		return s.exec(0, fmt.Sprint(s.sequence), "server", fmt.Sprint(s.sequence))
	}},
	{"repeat", func(s *scene) *sensorv1.Record { return s.other(0, "sensitive-file-read") }},
	{"web-shell", func(s *scene) *sensorv1.Record { return s.shell(0) }},
}

// BenchmarkMachine is per record, in envelopes of 100.
func BenchmarkMachine(b *testing.B) {
	const records = 100
	for _, bench := range benchRecords {
		b.Run(bench.name, func(b *testing.B) {
			next := envelopes(b, records, bench.make)
			m := NewMachine(Limits{})
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if i%records != 0 {
					continue
				}
				if _, err := m.Apply(next(), func(alert.Identity) (uint32, error) { return 0, nil }); err != nil {
					b.Fatal(err)
				}
				m.Changes()
			}
		})
	}
}

// BenchmarkApply is per transaction on the disk: one envelope of 100 records.
func BenchmarkApply(b *testing.B) {
	for _, bench := range benchRecords {
		b.Run(bench.name, func(b *testing.B) {
			s, _, c := openStore(b, filepath.Join(b.TempDir(), "store.db"))
			defer s.Close()
			next := envelopes(b, 100, bench.make)
			b.ReportAllocs()
			for b.Loop() {
				if err := c.Apply(b.Context(), next()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
