package correlate

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/seawall-security/seawall/collector/alert"
	alertv1 "github.com/seawall-security/seawall/proto/alert/v1"
	collectorv1 "github.com/seawall-security/seawall/proto/collector/v1"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

const (
	testCluster = "harbour"
	testAgent   = "6b0f0c1e-0000-4000-8000-000000000001"
)

// records reads what an agent said of some recordings, one after the other. Each event
// gets a sequence of its own: the recordings all count from 1.
func records(t testing.TB, names ...string) []*sensorv1.Record {
	t.Helper()
	var all []*sensorv1.Record
	for i, name := range names {
		file, err := os.Open(filepath.Join("testdata", "records", name+".jsonl"))
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		lines := bufio.NewScanner(file)
		for lines.Buffer(nil, 1<<20); lines.Scan(); {
			r := &sensorv1.Record{}
			if err := protojson.Unmarshal(lines.Bytes(), r); err != nil {
				t.Fatal(name, err)
			}
			eventOf(r).Sequence += uint64(1000 * (i + 1))
			all = append(all, r)
		}
		if lines.Err() != nil || len(all) == 0 {
			t.Fatal(name, lines.Err())
		}
	}
	slices.SortStableFunc(all, func(x, y *sensorv1.Record) int { return timeOf(x).Compare(timeOf(y)) })
	return all
}

func eventOf(r *sensorv1.Record) *sensorv1.Event {
	if d := r.GetDetection(); d != nil {
		return d.Event
	}
	return r.GetEvent()
}

func timeOf(r *sensorv1.Record) time.Time {
	if g := r.GetGap(); g != nil {
		return g.Until.AsTime()
	}
	return eventOf(r).Time.AsTime()
}

// logWriter writes an event log as ingest would.
type logWriter struct {
	messages []Message
	now      time.Time
	sequence map[string]uint64
}

func newLog() *logWriter { return &logWriter{sequence: make(map[string]uint64)} }

// envelope puts an envelope into the log; nil is a tick.
func (l *logWriter) envelope(t testing.TB, now time.Time, e *collectorv1.Envelope) {
	t.Helper()
	if now.After(l.now) {
		l.now = now
	}
	log := &collectorv1.LogMessage{Body: &collectorv1.LogMessage_Tick{Tick: &collectorv1.Tick{Time: timestamppb.New(l.now)}}}
	if e != nil {
		e.Received = timestamppb.New(l.now)
		log.Body = &collectorv1.LogMessage_Envelope{Envelope: e}
	}
	data, err := proto.Marshal(log)
	if err != nil {
		t.Fatal(err)
	}
	l.messages = append(l.messages, Message{Position: uint64(len(l.messages) + 1), Shard: 7, Data: data})
}

// tick lets time pass.
func (l *logWriter) tick(t testing.TB, after time.Duration) {
	t.Helper()
	l.envelope(t, l.now.Add(after), nil)
}

// send puts records into one envelope, which arrives at a time by the collector's
// clock; the agent's is behind by skew.
func (l *logWriter) send(t testing.TB, agent string, now time.Time, skew time.Duration, rs ...*sensorv1.Record) {
	t.Helper()
	l.sendFrom(t, "node-1", agent, now, skew, rs...)
}

// sendFrom does so in the name of a node.
func (l *logWriter) sendFrom(t testing.TB, node, agent string, now time.Time, skew time.Duration, rs ...*sensorv1.Record) {
	t.Helper()
	e := &collectorv1.Envelope{
		Cluster: testCluster, AgentId: agent, Node: node, Lane: sensorv1.Lane_LANE_TELEMETRY,
		Skew: durationpb.New(20*time.Millisecond + skew),
	}
	for _, r := range rs {
		body, err := proto.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		l.sequence[agent]++
		e.Items = append(e.Items, &sensorv1.Item{Sequence: l.sequence[agent], BootId: r.BootId, Record: body})
	}
	l.envelope(t, now, e)
}

// follow sends each record 100 ms after it happened, in that order.
func (l *logWriter) follow(t testing.TB, rs []*sensorv1.Record) {
	t.Helper()
	for _, r := range rs {
		l.send(t, testAgent, timeOf(r).Add(100*time.Millisecond), 0, r)
	}
}

// logOf is the log of some recordings, and then time enough to tell everything.
func logOf(t testing.TB, rs []*sensorv1.Record) []Message {
	t.Helper()
	l := newLog()
	l.follow(t, rs)
	l.tick(t, settle)
	l.tick(t, recount)
	return l.messages
}

// past is the episodes of a store in memory.
func past(revisions *[]*alertv1.Alert) Past {
	return func(i alert.Identity) (uint32, error) {
		var last uint32
		for _, a := range *revisions {
			if e := a.GetAnchor().GetEpisode(); a.Id == i.ID(e) && e > last {
				last = e
			}
		}
		return last, nil
	}
}

// play runs a log through a machine of its own and returns all revisions.
func play(t testing.TB, messages []Message) []*alertv1.Alert {
	t.Helper()
	revisions, _ := playCut(t, messages, Limits{}, nil)
	return revisions
}

// playCut makes the machine anew from its rows at each cut.
func playCut(t testing.TB, messages []Message, limits Limits, cut func(message int) bool) ([]*alertv1.Alert, map[rowName]string) {
	t.Helper()
	m := NewMachine(limits)
	rows := make(map[rowName]string)
	var revisions []*alertv1.Alert
	for i, message := range messages {
		found, err := m.Apply(message, past(&revisions))
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range found {
			revisions = append(revisions, proto.CloneOf(r.Alert))
		}
		if cut == nil || !cut(i) {
			continue
		}
		keepRows(rows, m)
		m = NewMachine(limits)
		for name, body := range rows {
			if err := m.restore(Row{name.kind, name.key, []byte(body)}); err != nil {
				t.Fatal(err)
			}
		}
		m.restored()
	}
	keepRows(rows, m)
	return revisions, rows
}

func keepRows(rows map[rowName]string, m *Machine) {
	for _, row := range m.Changes() {
		if row.Body == nil {
			delete(rows, rowName{row.Kind, row.Key})
		} else {
			rows[rowName{row.Kind, row.Key}] = string(row.Body)
		}
	}
}

// latest is the last revision of each alert, in the order they were raised.
func latest(revisions []*alertv1.Alert) []*alertv1.Alert {
	var alerts []*alertv1.Alert
	for _, r := range revisions {
		i := slices.IndexFunc(alerts, func(a *alertv1.Alert) bool { return a.Id == r.Id })
		if i < 0 {
			alerts = append(alerts, r)
		} else {
			alerts[i] = r
		}
	}
	return alerts
}

// text is messages as JSON to read and compare.
func text(t testing.TB, messages []*alertv1.Alert) string {
	t.Helper()
	var out bytes.Buffer
	for _, m := range messages {
		loose, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Indent(&out, loose, "", "  "); err != nil {
			t.Fatal(err)
		}
		out.WriteByte('\n')
	}
	return out.String()
}

// brief is one line for each alert, for tests of which alerts there are.
func brief(alerts []*alertv1.Alert) string {
	var lines []string
	for _, a := range alerts {
		lines = append(lines, fmt.Sprintf("%s %s r%d e%d %d+%d", a.Kind, strings.ToLower(strings.TrimPrefix(a.Severity.String(), "SEVERITY_")),
			a.Revision, a.GetAnchor().GetEpisode(), len(a.Evidence), a.EvidenceOmitted))
	}
	return strings.Join(lines, "\n")
}
