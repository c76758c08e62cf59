package correlate

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/seawall-security/seawall/collector/alert"
	auditv1 "github.com/seawall-security/seawall/proto/audit/v1"
	collectorv1 "github.com/seawall-security/seawall/proto/collector/v1"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

// stream is messages that come at times, written in that order.
type stream struct {
	t        testing.TB
	messages []arrival
	sequence uint64
}

type arrival struct {
	at   time.Time
	make func(l *logWriter)
}

func (s *stream) at(at time.Time, make func(l *logWriter)) {
	s.messages = append(s.messages, arrival{at, make})
}

// log writes the messages, with a tick each second.
func (s *stream) log(from, until time.Time) []Message {
	for at := from; at.Before(until); at = at.Add(time.Second) {
		s.at(at, func(l *logWriter) { l.envelope(s.t, at, nil) })
	}
	slices.SortStableFunc(s.messages, func(x, y arrival) int { return x.at.Compare(y.at) })
	l := newLog()
	for _, m := range s.messages {
		m.make(l)
	}
	return l.messages
}

// put writes a message of whatever sort into the log.
func (l *logWriter) put(t testing.TB, now time.Time, log *collectorv1.LogMessage) {
	t.Helper()
	if now.After(l.now) {
		l.now = now
	}
	switch body := log.Body.(type) {
	case *collectorv1.LogMessage_Audit:
		body.Audit.Received = timestamppb.New(l.now)
	case *collectorv1.LogMessage_AuditState:
		body.AuditState.Time = timestamppb.New(l.now)
	}
	data, err := proto.Marshal(log)
	if err != nil {
		t.Fatal(err)
	}
	l.messages = append(l.messages, Message{Position: uint64(len(l.messages) + 1), Data: data})
}

func (l *logWriter) audit(t testing.TB, now time.Time, events ...*auditv1.Event) {
	t.Helper()
	l.put(t, now, &collectorv1.LogMessage{Body: &collectorv1.LogMessage_Audit{Audit: &collectorv1.AuditBatch{Cluster: testCluster, Source: "webhook", Events: events}}})
}

// receiving says that audit events come since a time, late by delay.
func (l *logWriter) receiving(t testing.TB, now, since time.Time, delay time.Duration) {
	t.Helper()
	l.condition(t, now, since, delay, collectorv1.AuditCondition_AUDIT_CONDITION_RECEIVING)
}

func (l *logWriter) condition(t testing.TB, now, since time.Time, delay time.Duration, c collectorv1.AuditCondition) {
	t.Helper()
	l.put(t, now, &collectorv1.LogMessage{Body: &collectorv1.LogMessage_AuditState{AuditState: &collectorv1.AuditState{
		Cluster: testCluster, Condition: c, Since: timestamppb.New(since), Delay: durationpb.New(delay),
	}}})
}

// comeIn is a session as the node reports it.
type comeIn struct {
	id, container, tty string
	args               []string
	named              string // the container
	init               bool
	at                 time.Time // by the node's clock
	localMasks         bool      // what is masked in args was with a key of the node's own
}

const testPod = "web-0"

func (c comeIn) record(sequence uint64) *sensorv1.Record {
	id := cmp.Or(c.container, "c1")
	return &sensorv1.Record{BootId: "boot", LocalMasks: c.localMasks, Body: &sensorv1.Record_Event{Event: &sensorv1.Event{
		Sequence: sequence, Kind: sensorv1.Kind_KIND_PROCESS_EXEC, Time: timestamppb.New(c.at),
		Process: &sensorv1.Process{Id: "p" + c.id, Args: c.args, Filename: "/bin/x", Tty: c.tty},
		Session: &sensorv1.Session{Id: c.id, RootId: "p" + c.id, Time: timestamppb.New(c.at), ContainerId: id, Args: c.args, Tty: c.tty, Init: c.init},
		Container: &sensorv1.Container{
			Id: id, Name: cmp.Or(c.named, "app"), Image: "registry.example/shop:1", Pod: &sensorv1.Pod{Name: testPod, Namespace: "store", Uid: "u1"}},
		Payload: &sensorv1.Event_Exec{Exec: &sensorv1.ProcessExec{Entered: true, Init: c.init}},
	}}}
}

// ask is a kubectl exec as the API server records it.
type ask struct {
	id, user, tty string
	container     string
	args          []string
	at, end       time.Time // by the API server's clock
}

func (a ask) event(stage auditv1.Stage) *auditv1.Event {
	e := &auditv1.Event{
		AuditId: a.id, Stage: stage, Verb: "get", Code: 101, RequestTime: timestamppb.New(a.at), StageTime: timestamppb.New(a.at.Add(4 * time.Millisecond)),
		User: &auditv1.User{Name: cmp.Or(a.user, "alice@example.test")}, SourceIps: []string{"203.0.113.66", "10.77.0.10"}, UserAgent: "kubectl/v1.35.4",
		Object: &auditv1.Object{Resource: "pods", Subresource: "exec", Namespace: "store", Name: testPod},
		Entry:  &auditv1.Entry{Namespace: "store", Pod: testPod, Container: cmp.Or(a.container, "app"), Command: a.args, Tty: a.tty != ""},
	}
	if stage == auditv1.Stage_STAGE_COMPLETE {
		e.StageTime = timestamppb.New(a.end)
	}
	return e
}

// lot is how a simulation goes.
type lot struct {
	late, skew time.Duration
	startup    time.Duration // the longest
	seed       uint64
}

// tally counts sessions by what became of them.
type tally struct {
	sessions, right, ambiguous, unattributed, wrong int
	// Of sessions whose record came and whose command nobody else ran.
	distinct, distinctRight int
}

// simulate runs 50 concurrent sessions in one container, and looks at all answers after
// each message.
func simulate(t *testing.T, of lot) (got tally) {
	r := rand.New(rand.NewPCG(of.seed, uint64(of.late)+uint64(of.skew)))
	between := func(low, high time.Duration) time.Duration { return low + time.Duration(r.Int64N(int64(high-low)+1)) }
	sign := func() time.Duration { return time.Duration(1 - 2*r.IntN(2)) }
	nodeSkew, apiSkew := sign()*of.skew, time.Duration(0)
	if r.IntN(2) == 0 {
		nodeSkew, apiSkew = 0, sign()*of.skew
	}
	l := &stream{t: t}
	report := func(at time.Time, c comeIn) {
		l.sequence++
		rec := c.record(l.sequence)
		l.at(at, func(l *logWriter) {
			l.send(t, testAgent, at, -nodeSkew, rec)
		})
	}
	start := noon.Add(time.Minute)
	l.at(noon, func(l *logWriter) { l.receiving(t, noon, noon.Add(-time.Hour), of.late) })
	report(noon.Add(2*time.Second), comeIn{id: "own", init: true, at: noon.Add(nodeSkew), args: []string{"server"}}) // clocks are measured
	truth, came, alone := make(map[string]string), make(map[string]bool), make(map[string]bool)
	for i := range 50 {
		id := fmt.Sprint("s", i)
		command, tty := []string{"sh", "-c", fmt.Sprint("work ", i)}, ""
		if r.IntN(2) == 0 {
			command = []string{[]string{"sh", "bash", "id"}[r.IntN(3)]}
		} else {
			alone[id] = true
		}
		if r.IntN(2) == 0 {
			tty = "pts/0"
		}
		asked := start.Add(between(0, 20*time.Second))
		begun := asked.Add(between(30*time.Millisecond, of.startup))
		over := begun.Add(between(20*time.Millisecond, 40*time.Second))
		report(begun.Add(between(60*time.Millisecond, 250*time.Millisecond)), comeIn{id: id, args: command, tty: tty, at: begun.Add(nodeSkew)})
		if i%16 == 7 {
			continue // by crictl
		}
		a := ask{id: "r" + id, args: command, tty: tty, at: asked.Add(apiSkew), end: over.Add(apiSkew)}
		truth[id] = a.id
		if r.IntN(8) == 0 {
			continue // the record is lost
		}
		lost := r.IntN(3) // one of two stages may be, too
		for _, stage := range []auditv1.Stage{auditv1.Stage_STAGE_STARTED, auditv1.Stage_STAGE_COMPLETE} {
			at := asked
			if stage == auditv1.Stage_STAGE_COMPLETE {
				at = over
			}
			if lost == 0 && stage == auditv1.Stage_STAGE_STARTED || lost == 1 && stage == auditv1.Stage_STAGE_COMPLETE && r.IntN(2) == 0 {
				continue
			}
			came[id] = true
			for range 1 + r.IntN(4)/3 {
				arrives := at.Add(between(of.late/2, of.late)).Add(between(20*time.Millisecond, 2*time.Second))
				l.at(arrives, func(l *logWriter) { l.audit(t, arrives, a.event(stage)) })
			}
		}
	}
	last := start.Add(of.late + of.late/2 + 3*time.Minute)
	for at := noon; at.Before(last.Add(20 * time.Second)); at = at.Add(10 * time.Second) { // API servers are never silent
		e := ask{id: "quiet", args: []string{"quiet"}, at: at.Add(apiSkew)}.event(auditv1.Stage_STAGE_STARTED)
		arrives := at.Add(of.late/2 + time.Second)
		l.at(arrives, func(l *logWriter) { l.audit(t, arrives, e) })
	}
	m := NewMachine(Limits{})
	wrong := make(map[string]bool)
	for _, message := range l.log(noon, last.Add(of.late+time.Minute)) {
		if _, err := m.Apply(message, func(alert.Identity) (uint32, error) { return 0, nil }); err != nil {
			t.Fatal(err)
		}
		for key, s := range m.sessions.all() {
			if s.Attribution == joined && s.Requests[0].AuditId != truth[key.ID] {
				if !wrong[key.ID] {
					t.Logf("%+v: %s is joined with %s", of, key.ID, s.Requests[0].AuditId)
				}
				wrong[key.ID] = true
			}
		}
	}
	for key, s := range m.sessions.all() {
		if s.Init {
			continue
		}
		got.sessions++
		has := slices.ContainsFunc(s.Requests, func(r storedRequest) bool { return r.AuditId == truth[key.ID] })
		if alone[key.ID] && came[key.ID] {
			got.distinct++
			if s.Attribution == joined && has {
				got.distinctRight++
			}
		}
		switch {
		case wrong[key.ID]:
			got.wrong++
		case s.Attribution == joined:
			got.right++
		case s.Attribution == ambiguous && (has || !came[key.ID]):
			got.ambiguous++
		case s.Attribution == unattributed && !came[key.ID]:
			got.unattributed++
		default:
			t.Logf("%+v: %s is %v of %d, its record came: %v", of, key.ID, s.Attribution, len(s.Requests), came[key.ID])
			got.wrong++
		}
	}
	return got
}

// simulatedSeeds is how often each simulation is run.
func simulatedSeeds() uint64 {
	if n, err := strconv.ParseUint(os.Getenv("SEAWALL_JOIN_SEEDS"), 10, 64); err == nil {
		return n
	}
	return 10
}

// TestJoinIsNeverWrong is the proof of the join: whatever happens to the records, no answer
// is wrong at any time, and commands that nobody else runs are always joined.
func TestJoinIsNeverWrong(t *testing.T) {
	seeds := simulatedSeeds()
	var table strings.Builder
	w := tabwriter.NewWriter(&table, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "late\tskew\tstart-up\tsessions\tright\tambiguous\tunattributed\twrong\t")
	for _, startup := range []time.Duration{600 * time.Millisecond, 8 * time.Second} {
		for _, late := range []time.Duration{0, 5 * time.Second, 30 * time.Second, 10 * time.Minute} {
			for _, skew := range []time.Duration{0, 100 * time.Millisecond, time.Second} {
				var sum tally
				for seed := range seeds {
					got := simulate(t, lot{late, skew, startup, seed})
					sum.sessions += got.sessions
					sum.right += got.right
					sum.ambiguous += got.ambiguous
					sum.unattributed += got.unattributed
					sum.wrong += got.wrong
					sum.distinct += got.distinct
					sum.distinctRight += got.distinctRight
				}
				fmt.Fprintf(w, "%v\t%v\t%v\t%d\t%d\t%d\t%d\t%d\t\n", late, skew, startup, sum.sessions, sum.right, sum.ambiguous, sum.unattributed, sum.wrong)
				if sum.wrong > 0 || sum.sessions != int(seeds)*50 || sum.distinctRight < sum.distinct {
					t.Errorf("late %v, skew %v, start-up %v: %+v", late, skew, startup, sum)
				}
			}
		}
	}
	w.Flush()
	t.Logf("\n%s", table.String())
}
