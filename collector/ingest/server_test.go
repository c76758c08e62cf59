package ingest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/seawall-security/seawall/collector/eventlog"
	collectorv1 "github.com/seawall-security/seawall/proto/collector/v1"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

const boot = "6f2d1c3a-0000-4000-8000-000000000001"

var now = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// memory is an event log that a test can fill and empty.
type memory struct {
	mu       sync.Mutex
	messages []*collectorv1.Envelope
	subjects []eventlog.Subject
	full     bool
	broken   error
	refused  chan struct{} // one for each refusal because it is full
}

func (m *memory) Append(_ context.Context, to eventlog.Subject, data []byte) (uint64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.full {
		m.refused <- struct{}{}
		return 0, fmt.Errorf("append: %w", eventlog.ErrFull)
	}
	if m.broken != nil {
		return 0, m.broken
	}
	var message collectorv1.LogMessage
	if err := proto.Unmarshal(data, &message); err != nil {
		return 0, err
	}
	m.messages, m.subjects = append(m.messages, message.GetEnvelope()), append(m.subjects, to)
	return uint64(len(m.messages)), nil
}

func (m *memory) set(change func(*memory)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	change(m)
}

// agents notes what it is told.
type agents struct {
	seen, statuses, applied chan Peer
	has                     uint64
}

func (a *agents) Seen(_ context.Context, p Peer, _ *sensorv1.Hello, _ time.Time) error {
	a.seen <- p
	return nil
}

func (a *agents) Status(_ context.Context, p Peer, _ *sensorv1.AgentStatus, _ time.Time) error {
	a.statuses <- p
	return nil
}

func (a *agents) Applied(_ context.Context, p Peer, _ *sensorv1.Applied) error {
	a.applied <- p
	return nil
}

func (a *agents) BundleOf(context.Context, Peer) (uint64, error) { return a.has, nil }

// desk is a server and what it needs, with a client.
type desk struct {
	*testing.T
	server *Server
	log    *memory
	agents *agents
	client sensorv1.SensorClient
	bundle atomic.Pointer[Bundle]
	stop   context.CancelFunc
}

func newDesk(t *testing.T, change ...func(*Options)) *desk {
	d := &desk{
		T: t, log: &memory{refused: make(chan struct{}, 100)},
		agents: &agents{seen: make(chan Peer, 100), statuses: make(chan Peer, 100), applied: make(chan Peer, 100)},
	}
	ctx, stop := context.WithCancel(t.Context())
	d.stop = stop
	o := Options{
		Log: d.log, Agents: d.agents, Bundle: d.bundle.Load, Now: func() time.Time { return now }, Logger: zap.NewNop(),
		Identify: func(ctx context.Context) (Peer, error) {
			md, _ := metadata.FromIncomingContext(ctx)
			if ids := md.Get("agent"); len(ids) == 1 {
				return Peer{Cluster: "prod", AgentID: ids[0]}, nil
			}
			return Peer{}, status.Error(codes.Unauthenticated, "no certificate")
		},
	}
	for _, f := range change {
		f(&o)
	}
	d.server = New(ctx, o)
	listener := bufconn.Listen(1 << 20)
	serving := grpc.NewServer()
	sensorv1.RegisterSensorServer(serving, d.server)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = serving.Serve(listener) // ends by Stop
	}()
	conn, err := grpc.NewClient("passthrough:///bufconn", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	d.client = sensorv1.NewSensorClient(conn)
	t.Cleanup(func() {
		stop()
		conn.Close()
		serving.Stop()
		<-ended
	})
	return d
}

type stream = grpc.BidiStreamingClient[sensorv1.FromAgent, sensorv1.ToAgent]

// open begins a stream without a word.
func (d *desk) open(agent string) stream {
	d.Helper()
	s, err := d.client.Stream(metadata.AppendToOutgoingContext(d.Context(), "agent", agent))
	if err != nil {
		d.Fatal(err)
	}
	return s
}

// greeted is a stream that has its welcome.
func (d *desk) greeted(agent string) stream {
	d.Helper()
	s := d.open(agent)
	d.send(s, &sensorv1.FromAgent{Body: &sensorv1.FromAgent_Hello{Hello: &sensorv1.Hello{BootId: boot, Node: "node-1"}}})
	if m := d.receive(s); len(m.GetWelcome().GetLanes()) != len(sensorv1.Lane_name)-1 { // each is taken, see TestEveryLaneIsTaken
		d.Fatalf("answered with %v", m)
	}
	return s
}

func (d *desk) send(s stream, m *sensorv1.FromAgent) {
	d.Helper()
	if err := s.Send(m); err != nil {
		d.Fatal(err)
	}
}

func (d *desk) receive(s stream) *sensorv1.ToAgent {
	d.Helper()
	m, err := s.Recv()
	if err != nil {
		d.Fatal(err)
	}
	return m
}

// wantEnd expects the stream to end with a code.
func (d *desk) wantEnd(s stream, want codes.Code) {
	d.Helper()
	for {
		if _, err := s.Recv(); err != nil {
			if got := status.Code(err); got != want {
				d.Errorf("ended with %v, want %v: %v", got, want, err)
			}
			return
		}
	}
}

func item(sequence uint64, pod string) *sensorv1.Item {
	record := &sensorv1.Record{Body: &sensorv1.Record_Event{Event: &sensorv1.Event{
		Sequence: sequence, Container: &sensorv1.Container{Pod: &sensorv1.Pod{Namespace: "store", Name: pod}},
	}}}
	data, err := proto.Marshal(record)
	if err != nil {
		panic(err)
	}
	return &sensorv1.Item{Sequence: sequence, BootId: boot, Record: data}
}

func batch(items ...*sensorv1.Item) *sensorv1.FromAgent {
	return &sensorv1.FromAgent{Body: &sensorv1.FromAgent_Batch{Batch: &sensorv1.Batch{
		Lane: sensorv1.Lane_LANE_TELEMETRY, Items: items, Sent: timestamppb.New(now.Add(-2 * time.Second)),
	}}}
}

func TestBatchIsAcknowledgedWhenAllOfItIsInTheLog(t *testing.T) {
	d := newDesk(t)
	s := d.greeted("a1")
	d.send(s, batch(item(5, "shop-1"), item(7, "shop-2"), item(9, "shop-1")))
	ack := d.receive(s).GetAck().GetPosition()
	if ack.GetSequence() != 9 || ack.GetLane() != sensorv1.Lane_LANE_TELEMETRY || ack.GetBootId() != boot {
		t.Errorf("acknowledged %v", ack)
	}
	got := map[int][]uint64{}
	for i, e := range d.log.messages {
		for _, item := range e.Items {
			got[d.log.subjects[i].Shard] = append(got[d.log.subjects[i].Shard], item.Sequence)
		}
		if e.AgentId != "a1" || e.Cluster != "prod" || e.Node != "node-1" || e.Skew.AsDuration() != 2*time.Second {
			t.Errorf("envelope %v", e)
		}
	}
	want := map[int][]uint64{eventlog.ShardOf("prod", "store", "shop-1", ""): {5, 9}, eventlog.ShardOf("prod", "store", "shop-2", ""): {7}}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("log has %v, want %v", got, want)
	}
}

func TestItemThatIsNoRecordCostsItselfOnly(t *testing.T) {
	d := newDesk(t)
	s := d.greeted("a1")
	bad := &sensorv1.Item{Sequence: 6, BootId: boot, Record: []byte{0xff, 0xff, 0xff}}
	d.send(s, batch(item(5, "p"), bad, item(7, "p")))
	if ack := d.receive(s).GetAck(); ack.GetPosition().GetSequence() != 7 {
		t.Errorf("answered %v", ack)
	}
	// It is acknowledged, so correlation is to know that it is lost.
	m := d.log.messages
	if len(m) != 2 || len(m[0].Items) != 2 || len(m[1].Items) != 1 || m[1].Items[0].Sequence != 6 || d.server.counts.badItems.Load() != 1 {
		t.Errorf("log has %v, %d bad", m, d.server.counts.badItems.Load())
	}
}

// A newer agent's kinds and fields pass through as they are.
func TestUnknownFieldsPassThrough(t *testing.T) {
	d := newDesk(t)
	s := d.greeted("a1")
	newer := item(5, "p")
	newer.Record = append(newer.Record, 0xf8, 0xff, 0x03, 0x2a) // field 8191, varint 42
	d.send(s, batch(newer))
	d.receive(s)
	if got := d.log.messages[0].Items[0].Record; string(got) != string(newer.Record) {
		t.Errorf("log has %x", got)
	}
	d.send(s, &sensorv1.FromAgent{}) // a message this collector does not know
	d.send(s, batch(item(6, "p")))
	d.receive(s)
}

func TestEveryLaneIsTaken(t *testing.T) {
	d := newDesk(t)
	s := d.greeted("a1")
	for number := range sensorv1.Lane_name {
		lane := sensorv1.Lane(number)
		if lane == sensorv1.Lane_LANE_UNSPECIFIED {
			continue
		}
		m := batch(item(1, "p"))
		m.GetBatch().Lane = lane
		d.send(s, m)
		if ack := d.receive(s).GetAck().GetPosition(); ack.GetLane() != lane || ack.GetSequence() != 1 {
			t.Errorf("%s: %v", lane, ack)
		}
		if e := d.log.messages[len(d.log.messages)-1]; e.Lane != lane {
			t.Errorf("%s is %s in the log", lane, e.Lane)
		}
	}
}

// Who comes into a pod from the host is for whoever looks after the pod.
func TestEntryGoesWhereItsPodGoes(t *testing.T) {
	at := &sensorv1.Container{Pod: &sensorv1.Pod{Namespace: "store", Name: "p"}}
	for name, e := range map[string]*sensorv1.Event{
		"through the runtime":    {Entry: true, Container: at},
		"from the host":          {Entry: true, EnteredContainer: at},
		"from another container": {Entry: true, Container: &sensorv1.Container{Pod: &sensorv1.Pod{Name: "other"}}, EnteredContainer: at},
	} {
		if got := containerOf(&sensorv1.Record{Body: &sensorv1.Record_Event{Event: e}}); got != at {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestBatchesThatBreakTheProtocol(t *testing.T) {
	large := &sensorv1.Item{Sequence: 1, BootId: boot, Record: make([]byte, MaxBatchBytes+1)}
	laneless := batch(item(1, "p"))
	laneless.GetBatch().Lane = 7
	for name, m := range map[string]*sensorv1.FromAgent{
		"oversized": batch(large), "empty": batch(), "unknown lane": laneless,
		"falling": batch(item(2, "p"), item(1, "p")), "repeating": batch(item(2, "p"), item(2, "p")),
		"of sequence 0": batch(item(0, "p")), "without boot": batch(&sensorv1.Item{Sequence: 1}),
		"a second Hello": {Body: &sensorv1.FromAgent_Hello{Hello: &sensorv1.Hello{BootId: boot}}},
	} {
		d := newDesk(t)
		s := d.greeted("a1")
		d.send(s, m)
		d.wantEnd(s, codes.InvalidArgument)
		if len(d.log.messages) != 0 {
			t.Errorf("%s: is in the log", name)
		}
	}
	d := newDesk(t)
	s := d.greeted("a1")
	huge := &sensorv1.Item{Sequence: 1, BootId: boot, Record: make([]byte, 2*maxMessageSize)}
	if err := s.Send(batch(huge)); err != nil {
		t.Fatal(err)
	}
	d.wantEnd(s, codes.ResourceExhausted)
}

func TestStreamHasToBeginWithHello(t *testing.T) {
	d := newDesk(t)
	s := d.open("a1")
	d.send(s, batch(item(1, "p")))
	d.wantEnd(s, codes.InvalidArgument)
	anonymous, err := d.client.Stream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	d.wantEnd(anonymous, codes.Unauthenticated)
}

func TestNewStreamEndsTheOneBefore(t *testing.T) {
	d := newDesk(t)
	first := d.greeted("a1")
	other := d.greeted("a2")
	second := d.greeted("a1")
	d.wantEnd(first, codes.Aborted)
	for _, s := range []stream{second, other} {
		d.send(s, batch(item(1, "p")))
		d.receive(s)
	}
	if got := d.server.sessions.count(); got != 2 {
		t.Errorf("%d sessions", got)
	}
}

func TestFullLogHoldsTheAgentBack(t *testing.T) {
	d := newDesk(t)
	s := d.greeted("a1")
	d.log.set(func(m *memory) { m.full = true })
	d.send(s, batch(item(1, "p")))
	<-d.log.refused
	d.log.set(func(m *memory) { m.full = false })
	if ack := d.receive(s).GetAck(); ack.GetPosition().GetSequence() != 1 {
		t.Errorf("answered %v", ack)
	}
}

func TestFailingLogEndsTheStreamWithoutAcknowledging(t *testing.T) {
	d := newDesk(t)
	s := d.greeted("a1")
	d.log.set(func(m *memory) { m.broken = errors.New("disk failed") })
	d.send(s, batch(item(1, "p")))
	d.wantEnd(s, codes.Unavailable)
}

func TestStoppingEndsStreamsThatWaitForRoom(t *testing.T) {
	d := newDesk(t)
	idle, waiting := d.greeted("a1"), d.greeted("a2")
	d.log.set(func(m *memory) { m.full = true })
	d.send(waiting, batch(item(1, "p")))
	<-d.log.refused
	d.stop()
	d.wantEnd(idle, codes.Unavailable)
	d.wantEnd(waiting, codes.Unavailable)
}

func bundleOf(serial uint64) *Bundle {
	return NewBundle(serial, &sensorv1.SignedBundle{Bundle: []byte{byte(serial)}})
}

// wantBundle expects a bundle to be the next message.
func (d *desk) wantBundle(s stream, serial uint64) {
	d.Helper()
	if got := d.receive(s).GetBundle().GetBundle(); len(got) != 1 || got[0] != byte(serial) {
		d.Errorf("bundle %v came, want %d", got, serial)
	}
}

// says has an agent tell which bundle it has.
func (d *desk) says(s stream, serial uint64) {
	d.Helper()
	d.send(s, &sensorv1.FromAgent{Body: &sensorv1.FromAgent_Status{Status: &sensorv1.AgentStatus{BundleSerial: serial}}})
	<-d.agents.statuses
}

// quiet expects that nothing comes down before the answer to a batch.
func (d *desk) quiet(s stream, sequence uint64) {
	d.Helper()
	d.send(s, batch(item(sequence, "p")))
	if m := d.receive(s); m.GetAck().GetPosition().GetSequence() != sequence {
		d.Errorf("%v came", m)
	}
}

func TestWhatComesDown(t *testing.T) {
	d := newDesk(t, func(o *Options) { o.Settings = &sensorv1.Settings{Version: "1"} })
	if d.server.Offer() != 0 {
		t.Error("somebody is connected")
	}
	first := d.greeted("a1")
	if got := d.receive(first).GetSettings().GetVersion(); got != "1" {
		t.Errorf("first came %q", got)
	}
	d.quiet(first, 1)

	d.bundle.Store(bundleOf(5))
	if got := d.server.Offer(); got != 1 {
		t.Errorf("offered to %d agents", got)
	}
	d.wantBundle(first, 5)
	d.says(first, 0) // it does not take it: nobody insists
	d.says(first, 5)
	d.server.Offer()
	d.quiet(first, 2)
	d.send(first, &sensorv1.FromAgent{Body: &sensorv1.FromAgent_Applied{Applied: &sensorv1.Applied{Version: "5"}}})
	if got := <-d.agents.applied; got.AgentID != "a1" {
		t.Errorf("noted %v", got)
	}

	second := d.greeted("a2")
	d.receive(second) // settings
	d.wantBundle(second, 5)
	d.bundle.Store(bundleOf(6))
	if got := d.server.Offer(); got != 2 {
		t.Errorf("offered to %d agents", got)
	}
	d.wantBundle(first, 6)
	d.wantBundle(second, 6)

	// One that said so before is not sent what it has, but when it has lost it meanwhile.
	d.agents.has = 6
	third := d.greeted("a3")
	d.receive(third) // settings
	d.quiet(third, 1)
	d.says(third, 6)
	d.quiet(third, 2)
	d.says(third, 0)
	d.wantBundle(third, 6)
	d.says(third, 0)
	d.quiet(third, 3)
}

func FuzzBatch(f *testing.F) {
	seed, err := proto.Marshal(batch(item(5, "shop-1"), item(7, "shop-2")).GetBatch())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	f.Fuzz(func(t *testing.T, data []byte) {
		var b sensorv1.Batch
		if proto.Unmarshal(data, &b) != nil || check(&b) != nil {
			return
		}
		s := &session{peer: Peer{Cluster: "prod", AgentID: "a1"}, node: "n"}
		envelopes, bad := s.split(&b, now)
		items := 0
		for _, e := range envelopes {
			items += len(e.GetItems())
		}
		if items != len(b.Items) || len(bad) > items {
			t.Fatalf("%d items of %d, %d bad", items, len(b.Items), len(bad))
		}
	})
}
