package uplink

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/seawall-security/seawall/internal/event"
	"github.com/seawall-security/seawall/internal/redact"
	"github.com/seawall-security/seawall/internal/spool"
	"github.com/seawall-security/seawall/internal/tlsconf"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

// authority signs for both sides.
type authority struct {
	certificate *x509.Certificate
	key         crypto.Signer
}

func newAuthority(t testing.TB) authority {
	t.Helper()
	a := authority{}
	a.certificate, a.key = a.sign(t, &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	return a
}

func (a authority) sign(t testing.TB, template *x509.Certificate) (*x509.Certificate, crypto.Signer) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, signer := a.certificate, a.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return certificate, key
}

// material is what the holder of an identity has.
func (a authority) material(t testing.TB, identity string) tlsconf.Material {
	t.Helper()
	uri, err := url.Parse(identity)
	if err != nil {
		t.Fatal(err)
	}
	leaf, key := a.sign(t, &x509.Certificate{URIs: []*url.URL{uri}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}})
	return tlsconf.Material{
		Certificate: &tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: key, Leaf: leaf},
		Roots:       []*x509.Certificate{a.certificate},
	}
}

const agentURI = "seawall://prod/agent/0b0e8ad3-5f1c-4c0e-9d5a-3f6f5f0d2a11"

// enrolment is an agent's, ready when a test says so.
type enrolment struct {
	source *tlsconf.Source
	ready  chan struct{}
	mu     sync.Mutex
	key    []byte
}

func (e *enrolment) Ready() <-chan struct{} { return e.ready }
func (e *enrolment) TLS() *tls.Config {
	return tlsconf.ClientConfig(e.source, tlsconf.Peers{Cluster: "prod", Roles: []tlsconf.Role{tlsconf.Collector}}, time.Now)
}
func (e *enrolment) Certificate() *x509.Certificate { return e.source.Material().Certificate.Leaf }
func (e *enrolment) RedactionKey() []byte {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.key
}

// enrol makes the enrolment ready.
func (e *enrolment) enrol(key byte) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.key = make([]byte, redact.KeyBytes)
	e.key[0] = key
	close(e.ready)
}

// item names one that arrived.
type item struct {
	lane     sensorv1.Lane
	boot     string
	sequence uint64
}

// row is one of rising sequences: a lane's own items, or its guests.
type row struct {
	lane  sensorv1.Lane
	guest bool
}

// collector is the other end, as a test wants it to behave.
type collector struct {
	sensorv1.UnimplementedSensorServer
	t       testing.TB
	ca      authority
	address string
	server  *grpc.Server

	mu      sync.Mutex // guards what follows; changed says that it did
	changed *sync.Cond
	welcome *sensorv1.Welcome
	items   map[item]*sensorv1.Record
	bytes   map[item]string
	repeats int
	streams int
	hello   *sensorv1.Hello
	status  *sensorv1.AgentStatus
	applied []*sensorv1.Applied
	batches int
	// behave answers the nth batch of a stream.
	behave func(n int, b *sensorv1.Batch, send func(*sensorv1.ToAgent) error) error
	down   []*sensorv1.ToAgent // sent first
}

// ackOf acknowledges a batch.
func ackOf(b *sensorv1.Batch) *sensorv1.ToAgent {
	last := b.Items[len(b.Items)-1]
	return &sensorv1.ToAgent{Body: &sensorv1.ToAgent_Ack{Ack: &sensorv1.Ack{
		Position: &sensorv1.Position{Lane: b.Lane, BootId: last.BootId, Sequence: last.Sequence}}}}
}

func acks(_ int, b *sensorv1.Batch, send func(*sensorv1.ToAgent) error) error { return send(ackOf(b)) }

func newCollector(t testing.TB) *collector {
	c := &collector{t: t, ca: newAuthority(t), behave: acks, items: map[item]*sensorv1.Record{}, bytes: map[item]string{},
		welcome: &sensorv1.Welcome{Lanes: []sensorv1.Lane{sensorv1.Lane_LANE_DETECTIONS, sensorv1.Lane_LANE_ENTRIES, sensorv1.Lane_LANE_TELEMETRY}}}
	c.changed = sync.NewCond(&c.mu)
	return c
}

// listen begins to answer; without it the collector is away.
func (c *collector) listen() {
	c.t.Helper()
	source := tlsconf.NewSource(c.ca.material(c.t, "seawall://prod/collector"))
	config := tlsconf.ServerConfig(source, tlsconf.Peers{Cluster: "prod", Roles: []tlsconf.Role{tlsconf.Agent}}, time.Now)
	c.server = grpc.NewServer(grpc.Creds(tlsconf.ServerCredentials(config, func(net.Addr, error) {})), grpc.MaxRecvMsgSize(batchBytes+64<<10))
	sensorv1.RegisterSensorServer(c.server, c)
	listener, err := net.Listen("tcp", c.address)
	if err != nil {
		c.t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- c.server.Serve(listener) }()
	c.t.Cleanup(func() {
		c.server.Stop()
		if err := <-served; err != nil {
			c.t.Error(err)
		}
	})
}

// listenAnywhere is listen before an agent has the address.
func (c *collector) listenAnywhere() {
	c.t.Helper()
	c.options() // finds one
	c.listen()
}

// Stream implements sensorv1.SensorServer.
func (c *collector) Stream(stream grpc.BidiStreamingServer[sensorv1.FromAgent, sensorv1.ToAgent]) error {
	if _, err := tlsconf.PeerOf(stream.Context(), tlsconf.Agent); err != nil {
		return err
	}
	m, err := stream.Recv()
	if err != nil {
		return err
	}
	if m.GetHello() == nil {
		return errors.New("no Hello first")
	}
	c.mu.Lock()
	c.streams++
	c.hello = m.GetHello()
	c.changed.Broadcast()
	first := append([]*sensorv1.ToAgent{{Body: &sensorv1.ToAgent_Welcome{Welcome: c.welcome}}}, c.down...)
	c.mu.Unlock()
	for _, m := range first {
		if err := stream.Send(m); err != nil {
			return err
		}
	}
	last := map[row]uint64{}
	for n := 1; ; {
		m, err := stream.Recv()
		if err != nil {
			return err
		}
		c.mu.Lock()
		switch body := m.Body.(type) {
		case *sensorv1.FromAgent_Status:
			c.status = body.Status
		case *sensorv1.FromAgent_Applied:
			c.applied = append(c.applied, body.Applied)
		case *sensorv1.FromAgent_Batch:
			c.keep(body.Batch, last)
		}
		behave := c.behave
		c.changed.Broadcast()
		c.mu.Unlock()
		if b := m.GetBatch(); b != nil {
			if err := behave(n, b, stream.Send); err != nil {
				return err
			}
			n++
		}
	}
}

// keep checks a batch as a collector does, and remembers its items.
func (c *collector) keep(b *sensorv1.Batch, last map[row]uint64) {
	size := 0
	c.batches++
	for _, i := range b.Items {
		in := row{b.Lane, strings.HasSuffix(i.BootId, guestBoot)}
		if i.Sequence <= last[in] {
			c.t.Errorf("sequence %d of %v after %d", i.Sequence, in, last[in])
		}
		last[in] = i.Sequence
		size += len(i.Record)
		r := &sensorv1.Record{}
		if err := proto.Unmarshal(i.Record, r); err != nil || r.BootId != strings.TrimSuffix(i.BootId, guestBoot) {
			c.t.Errorf("%v; an item of boot %q holds a record of %q", err, i.BootId, r.BootId)
		}
		name := item{b.Lane, i.BootId, i.Sequence}
		if before, ok := c.bytes[name]; ok {
			c.repeats++
			if before != string(i.Record) {
				c.t.Errorf("%v stands for two records", name)
			}
		}
		c.items[name], c.bytes[name] = r, string(i.Record)
	}
	if len(b.Items) == 0 || size > batchBytes || b.BootToWall == nil || b.Sent == nil {
		c.t.Errorf("a batch of %d items, %d bytes, %v, %v", len(b.Items), size, b.BootToWall, b.Sent)
	}
}

// until waits for a change that makes something true.
func (c *collector) until(what func() bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for !what() {
		c.changed.Wait()
	}
}

// seen is how often each event (by path) and detection (by rule) arrived, under
// different names, and what gaps count by class. Callers hold the mutex.
func (c *collector) seen() (records map[string]int, gaps map[string]uint64) {
	records, gaps = map[string]int{}, map[string]uint64{}
	for _, r := range c.items {
		switch {
		case r.GetGap() != nil:
			gaps[r.GetGap().GetClass()] += r.GetGap().GetCount()
		case r.GetDetection() != nil:
			records[r.GetDetection().GetRule()]++
		default:
			records[r.GetEvent().GetOpen().GetFile().GetPath()]++
		}
	}
	return records, gaps
}

// options are those of an enrolled agent that tries again at once.
func (c *collector) options() Options {
	r, err := redact.New(make([]byte, redact.KeyBytes))
	if err != nil {
		c.t.Fatal(err)
	}
	e := &enrolment{source: tlsconf.NewSource(c.ca.material(c.t, agentURI)), ready: make(chan struct{})}
	e.enrol(1)
	if c.address == "" {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			c.t.Fatal(err)
		}
		c.address = l.Addr().String()
		if err := l.Close(); err != nil {
			c.t.Fatal(err)
		}
	}
	return Options{
		Folder: c.t.(*testing.T).TempDir(), MaxBytes: 64 << 20, Collector: c.address, Enrolment: e, Redactor: r, Telemetry: All,
		BootID: "boot-1", Node: "node-1", Version: "v1", Kernel: "6.1",
		Hooks:  func() []Hook { return []Hook{{Name: "exec", Rung: "fentry", Confirmed: true}} },
		Ledger: func() []LedgerLine { return []LedgerLine{{Class: "file_open", Produced: 3, Filtered: 2, Delivered: 1}} },
		Now:    time.Now, Random: func() float64 { return 0.5 }, Log: zap.NewNop(),
		Wait: func(ctx context.Context, _ time.Duration) error { return ctx.Err() },
	}
}

func openUplink(t testing.TB, o Options) *Uplink {
	t.Helper()
	u, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// run runs an uplink until stop, which also closes it.
func run(t testing.TB, u *Uplink) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); u.Run(ctx) }()
	return sync.OnceFunc(func() {
		cancel()
		<-ended
		if err := u.Close(); err != nil {
			t.Error(err)
		}
	})
}

// spoolAll makes durable what was said, of an uplink that does not run yet.
func spoolAll(t testing.TB, u *Uplink) {
	t.Helper()
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	u.write(ended)
	if err := u.spool.Sync(t.Context()); err != nil && !errors.Is(err, spool.ErrLost) {
		t.Fatal(err)
	}
}

func open(path string) *event.Event {
	return &event.Event{
		Header:  event.Header{Kind: event.KindFileOpen, Comm: "cat", Wall: time.Now()},
		Payload: &event.Open{File: event.File{Path: path}},
	}
}

// feed says n events and n/10 detections, by names with a prefix.
func feed(u *Uplink, prefix string, n int) (names []string) {
	for i := range n {
		names = append(names, fmt.Sprintf("%s/%d", prefix, i))
		u.Event(open(names[len(names)-1]))
		if i%10 == 0 {
			names = append(names, fmt.Sprintf("%s-rule-%d", prefix, i))
			u.Detection(&sensorv1.Detection{Rule: names[len(names)-1]})
		}
	}
	return names
}

// arrived reports whether all of names did, each under one name only. The mutex is held.
func (c *collector) arrived(names []string) bool {
	records, _ := c.seen()
	for _, name := range names {
		if records[name] == 0 {
			return false
		}
		if records[name] > 1 {
			c.t.Errorf("%s has %d sequences", name, records[name])
		}
	}
	return true
}

func recordOf(data []byte) *sensorv1.Record {
	r := &sensorv1.Record{}
	if proto.Unmarshal(data, r) != nil {
		return nil
	}
	return r
}
