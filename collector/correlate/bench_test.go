package correlate

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/seawall-security/seawall/collector/alert"
	auditv1 "github.com/seawall-security/seawall/proto/audit/v1"
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

// auditMessages makes a log without end of batches of so many events.
func auditMessages(b testing.TB, events []*auditv1.Event) func() Message {
	position := uint64(0)
	batch := &collectorv1.AuditBatch{Cluster: testCluster, Source: "webhook", Events: events}
	return func() Message {
		position++
		for i, e := range events {
			e.AuditId = fmt.Sprint("request ", position, " ", i)
			e.RequestTime = timestamppb.New(noon.Add(time.Duration(position)*time.Second + time.Duration(i)*time.Millisecond))
			e.StageTime = e.RequestTime
		}
		batch.Received = timestamppb.New(noon.Add(time.Duration(position) * time.Second))
		data, err := proto.Marshal(&collectorv1.LogMessage{Body: &collectorv1.LogMessage_Audit{Audit: batch}})
		if err != nil {
			b.Fatal(err)
		}
		return Message{Position: position, Data: data}
	}
}

// idle is a request that concerns no container, with a body of 1 KiB.
func idle() *auditv1.Event {
	return &auditv1.Event{
		AuditId: "x", Stage: auditv1.Stage_STAGE_COMPLETE, Verb: "update", Code: 200, RequestTime: timestamppb.New(noon), StageTime: timestamppb.New(noon),
		User: &auditv1.User{Name: "system:kube-controller-manager", Groups: []string{"system:authenticated"}}, SourceIps: []string{"127.0.0.1"},
		Object:  &auditv1.Object{Resource: "endpointslices", Namespace: "store", Name: "shop"},
		Request: []byte(`{"kind":"EndpointSlice","x":"` + strings.Repeat("x", 1000) + `"}`), RequestUri: "/apis/discovery.k8s.io/v1/namespaces/store/endpointslices/shop",
	}
}

// BenchmarkAudit is per event, in batches of 100.
func BenchmarkAudit(b *testing.B) {
	for _, bench := range []struct {
		name string
		make func() *auditv1.Event
	}{
		{"idle", idle},
		{"exec", func() *auditv1.Event {
			return ask{id: "r", at: noon, end: noon.Add(time.Second), args: []string{"sh"}}.event(auditv1.Stage_STAGE_COMPLETE)
		}},
		{"pod", func() *auditv1.Event { return created(noon, probedSpec) }},
	} {
		b.Run(bench.name, func(b *testing.B) {
			var events []*auditv1.Event
			for range 100 {
				events = append(events, bench.make())
			}
			next := auditMessages(b, events)
			m := NewMachine(Limits{})
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if i%len(events) != 0 {
					continue
				}
				b.StopTimer()
				message := next()
				b.StartTimer()
				if _, err := m.Apply(message, func(alert.Identity) (uint32, error) { return 0, nil }); err != nil {
					b.Fatal(err)
				}
				m.Changes()
			}
		})
	}
}

// TestAuditEventsOfNobody cost nothing but to be read from the log.
func TestAuditEventsOfNobody(t *testing.T) {
	m, e := NewMachine(Limits{}), idle()
	m.place.Now = noon.UnixNano()
	batch := &collectorv1.AuditBatch{Cluster: testCluster, Events: []*auditv1.Event{e, e, e, e}}
	if n := testing.AllocsPerRun(100, func() {
		if err := m.batch(batch); err != nil {
			t.Fatal(err)
		}
	}); n > 0 {
		t.Errorf("%v allocations for four events", n)
	}
}
