package correlate

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/seawall-security/seawall/collector/alert"
	"github.com/seawall-security/seawall/collector/store"
	auditv1 "github.com/seawall-security/seawall/proto/audit/v1"
	collectorv1 "github.com/seawall-security/seawall/proto/collector/v1"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

// strange makes what no agent of ours sends: few names for much, so that everything is
// everything's parent, times of no age, numbers out of range.
type strange struct{ *rand.Rand }

func (r strange) name() string {
	names := []string{"", "p1", "p2", "p3", "p4", "p5", "\u009b31m", "x\ny"}
	return names[r.IntN(len(names))]
}

func (r strange) time() *timestamppb.Timestamp {
	switch r.IntN(12) {
	case 0:
		return nil
	case 1:
		return &timestamppb.Timestamp{Seconds: 253402300799} // the last second of the year 9999
	case 2:
		return &timestamppb.Timestamp{Seconds: 1}
	case 3:
		return &timestamppb.Timestamp{Seconds: -1}
	case 4:
		return &timestamppb.Timestamp{Seconds: 1 << 62, Nanos: -5}
	}
	return timestamppb.New(noon.Add(time.Duration(r.Int64N(int64(100 * time.Hour)))))
}

func (r strange) process() *sensorv1.Process {
	if r.IntN(8) == 0 {
		return nil
	}
	return &sensorv1.Process{
		Id: r.name(), ParentId: r.name(), Pid: r.Uint32(), StartTimeNs: r.Uint64N(3), Program: r.name(), Unknown: r.IntN(5) == 0, ExecTime: r.time(),
		Exe: &sensorv1.File{Path: r.name()}, Args: []string{r.name(), strings.Repeat("a", r.IntN(3000))}, Cwd: strings.Repeat("c", r.IntN(20)*r.IntN(1000)),
	}
}

func (r strange) container() *sensorv1.Container {
	c := &sensorv1.Container{Id: r.name(), Name: r.name()}
	if r.IntN(2) == 0 {
		c.Pod = &sensorv1.Pod{Name: r.name(), Namespace: r.name()}
	}
	if r.IntN(20) == 0 {
		c.Labels = map[string]string{"a": strings.Repeat("l", 20000), "b": "c"}
	}
	return c
}

func (r strange) event() *sensorv1.Event {
	trees := [][]string{nil, {"web"}, {"web-server"}, {"web", "web-server"}, {"rule"}}
	e := &sensorv1.Event{Sequence: r.Uint64N(400), Time: r.time(), Tree: trees[r.IntN(len(trees))], TreeRootId: r.name(), Process: r.process()}
	for range r.IntN(3) {
		e.Ancestors = append(e.Ancestors, r.process())
	}
	if r.IntN(5) > 0 {
		e.Container = r.container()
	}
	if r.IntN(3) == 0 {
		e.Session = &sensorv1.Session{Id: r.name(), RootId: r.name(), Time: r.time(), Init: r.IntN(3) == 0, Tty: []string{"", "pts/0"}[r.IntN(2)],
			Args: []string{r.name(), r.name()}[:r.IntN(3)], EnteredBy: []string{"", "namespace"}[r.IntN(2)], ArgsTruncated: r.IntN(5) == 0}
		e.Entry = r.IntN(2) == 0
	}
	flow := &sensorv1.NetworkFlow{Remote: &sensorv1.Address{Ip: r.name(), Port: r.Uint32()}}
	switch r.IntN(6) {
	case 0:
		e.Payload = &sensorv1.Event_Exec{Exec: &sensorv1.ProcessExec{}}
	case 1:
		e.Payload = &sensorv1.Event_Accept{Accept: flow}
	case 2:
		e.Payload = &sensorv1.Event_Connect{Connect: flow}
	case 3:
		e.Payload = &sensorv1.Event_Open{Open: &sensorv1.FileOpen{Read: true, File: &sensorv1.File{Path: r.name() + strings.Repeat("f", r.IntN(900))}}}
	case 4:
		e.Payload = &sensorv1.Event_Open{}
	}
	return e
}

func (r strange) record() *sensorv1.Record {
	if r.IntN(20) == 0 {
		return &sensorv1.Record{Body: &sensorv1.Record_Gap{Gap: &sensorv1.Gap{
			Class: r.name(), Stage: r.name(), Reason: strconv.Itoa(r.IntN(50)), Since: r.time(), Until: r.time(), Count: r.Uint64(),
		}}}
	}
	if r.IntN(2) == 0 {
		return &sensorv1.Record{Body: &sensorv1.Record_Event{Event: r.event()}}
	}
	rules := []string{"webshell-file-created-by-server", "web-server-spawned-shell", "sensitive-file-read", "escape-a", "escape-b",
		"mem-wx-transition", "reverse-shell-stdio-socket", "custom", ""}
	return &sensorv1.Record{Body: &sensorv1.Record_Detection{Detection: &sensorv1.Detection{
		Id: r.name(), Rule: rules[r.IntN(len(rules))], Event: r.event(), Severity: sensorv1.Severity(r.IntN(9) - 2), Summary: r.name(),
		Tags: []string{r.name(), "web"}[:r.IntN(3)], Tactics: []string{r.name()},
	}}}
}

// audit is a message of an audit source.
func (r strange) audit(now time.Time) *collectorv1.LogMessage {
	if r.IntN(4) == 0 {
		gap := &collectorv1.AuditGap{Id: r.name(), Filled: r.IntN(2) == 0, Gap: &sensorv1.Gap{Since: r.time(), Until: r.time()}}
		return &collectorv1.LogMessage{Body: &collectorv1.LogMessage_AuditState{AuditState: &collectorv1.AuditState{
			Cluster: testCluster, Time: timestamppb.New(now), Condition: collectorv1.AuditCondition(r.IntN(6)), Since: r.time(),
			Delay: durationpb.New(time.Duration(r.Int64()) >> r.IntN(63)), Gaps: []*collectorv1.AuditGap{gap, {}}[:r.IntN(3)],
		}}}
	}
	batch := &collectorv1.AuditBatch{Cluster: testCluster, Received: timestamppb.New(now)}
	for range r.IntN(20) {
		e := &auditv1.Event{
			AuditId: r.name(), Stage: auditv1.Stage(r.IntN(6)), Verb: []string{"get", "create", "patch", "delete"}[r.IntN(4)], Code: []uint32{0, 101, 200, 403}[r.IntN(4)],
			RequestTime: r.time(), StageTime: r.time(), User: &auditv1.User{Name: r.name()}, SourceIps: []string{r.name(), r.name()}[:r.IntN(3)],
			Object: &auditv1.Object{
				Resource: []string{"pods", "nodes", "jobs"}[r.IntN(3)], Namespace: r.name(), Name: r.name(),
				Subresource: []string{"", "exec", "attach", "portforward", "ephemeralcontainers", "proxy"}[r.IntN(6)],
			},
			Entry: []*auditv1.Entry{nil, {Namespace: r.name(), Pod: r.name(), Container: r.name(), Command: []string{r.name(), r.name()}[:r.IntN(3)], Tty: r.IntN(2) == 0}}[r.IntN(2)],
			Response: []byte([]string{"", "{", `{"kind":"Pod","metadata":{"name":"p1"},"spec":` + probedSpec + "}", `{"kind":"Pod","spec":{"hostPID":true}}`,
				`{"kind":"Job","metadata":{"name":"p1","ownerReferences":[{"kind":"Job","name":"p1","controller":true}]}}`}[r.IntN(5)]),
			Request: []byte([]string{"", `{"spec":{"ephemeralContainers":[{"name":"p1"},{"name":"p2"}]}}`}[r.IntN(2)]),
		}
		if r.IntN(2) == 0 {
			e.RequestTime = timestamppb.New(now.Add(-time.Duration(r.Int64N(int64(time.Minute)))))
			e.StageTime = timestamppb.New(now)
		}
		batch.Events = append(batch.Events, e)
	}
	return &collectorv1.LogMessage{Body: &collectorv1.LogMessage_Audit{Audit: batch}}
}

// log is n messages of three agents, over some days.
func (r strange) log(t *testing.T, n int) (messages []Message) {
	t.Helper()
	now, sequence := noon, uint64(0)
	for i := range n {
		step := 3 * time.Hour
		if r.IntN(2) == 0 {
			step = time.Minute
		}
		now = now.Add(time.Duration(r.Int64N(int64(step))) - step/18)
		m := &collectorv1.LogMessage{Body: &collectorv1.LogMessage_Tick{Tick: &collectorv1.Tick{Time: timestamppb.New(now)}}}
		if r.IntN(3) == 0 {
			m = r.audit(now)
		} else if r.IntN(4) > 0 {
			e := &collectorv1.Envelope{
				Cluster: testCluster, AgentId: "agent-" + strconv.Itoa(r.IntN(3)), Node: r.name(), Lane: sensorv1.Lane_LANE_DETECTIONS,
				Received: timestamppb.New(now), Skew: durationpb.New(time.Duration(r.Int64()) >> r.IntN(63)),
			}
			for range 1 + r.IntN(40) {
				body, err := proto.Marshal(r.record())
				if err != nil {
					t.Fatal(err)
				}
				if r.IntN(50) == 0 {
					body = []byte{0xff, 1}
				}
				sequence++
				e.Items = append(e.Items, &sensorv1.Item{Sequence: sequence, BootId: "boot-" + strconv.Itoa(r.IntN(2)), Record: body})
			}
			m.Body = &collectorv1.LogMessage_Envelope{Envelope: e}
		}
		data, err := proto.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		messages = append(messages, Message{Position: uint64(i + 1), Shard: r.IntN(3), Data: data})
	}
	return messages
}

// TestStrangeAgents: whatever agents send, the store takes what the machine makes of it,
// and the machine makes the same of it again, restarted at any message.
func TestStrangeAgents(t *testing.T) {
	several := []Limits{{}, {Anchors: 8, Bytes: 1 << 20, Marks: 3, Agents: 2}, {Anchors: 100, Bytes: 100 << 10, Marks: 3, Agents: 2, SessionBytes: 16 << 10, RequestBytes: 8 << 10, ObjectBytes: 4 << 10}}
	for seed := range 9 {
		limits := several[seed%len(several)]
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := strange{rand.New(rand.NewPCG(uint64(seed), 77))}
			messages := r.log(t, 90)
			s, err := store.Open(t.Context(), filepath.Join(t.TempDir(), "store.db"))
			if err != nil {
				t.Fatal(err)
			}
			book := alert.NewBook(s)
			c, err := Open(t.Context(), s, book, limits)
			if err != nil {
				t.Fatal(err)
			}
			for rest := messages; len(rest) > 0; {
				n := min(1+r.IntN(20), len(rest))
				if err := c.Apply(t.Context(), rest[:n]...); err != nil {
					t.Fatal(err)
				}
				rest = rest[n:]
			}
			got, _, gotRows := stored(t, s, book)
			want, wantRows := playCut(t, messages, limits, func(int) bool { return r.IntN(6) == 0 })
			same(t, want, got, wantRows, gotRows)
			if len(got) < 50 {
				t.Errorf("only %d revisions", len(got))
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}
