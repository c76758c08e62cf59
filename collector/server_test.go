package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	"github.com/seawall-security/seawall/collector/connections"
	"github.com/seawall-security/seawall/collector/enrol"
	"github.com/seawall-security/seawall/collector/store"
	"github.com/seawall-security/seawall/internal/tlsconf"
	collectorv1 "github.com/seawall-security/seawall/proto/collector/v1"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

// entrance is the collector's server with its CA and a clock that the test sets. Behind it
// are Enrolment and services that only say that they were reached.
type entrance struct {
	*testing.T
	authority *enrol.Authority
	rows      *enrol.Rows
	tokens    *enrol.Tokens
	gate      *connections.Gate
	door      *door
	registry  *prometheus.Registry
	address   string

	mu   sync.Mutex
	time time.Time
}

func (e *entrance) now() time.Time {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.time
}

func (e *entrance) advance(d time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.time = e.time.Add(d)
}

var errReached = status.Error(codes.Unimplemented, "reached")

type reachedSensor struct {
	sensorv1.UnimplementedSensorServer
}

func (reachedSensor) Stream(stream grpc.BidiStreamingServer[sensorv1.FromAgent, sensorv1.ToAgent]) error {
	if _, err := stream.Recv(); err != nil {
		return err
	}
	if err := stream.Send(&sensorv1.ToAgent{}); err != nil {
		return err
	}
	<-stream.Context().Done()
	return context.Cause(stream.Context())
}

type reachedManagement struct {
	collectorv1.UnimplementedManagementServer
}

func (reachedManagement) PushBundle(context.Context, *collectorv1.PushBundleRequest) (*collectorv1.PushBundleResponse, error) {
	return nil, errReached
}

func (reachedManagement) GetBundle(context.Context, *collectorv1.GetBundleRequest) (*collectorv1.GetBundleResponse, error) {
	return nil, errReached
}

func newEntrance(t *testing.T, grace time.Duration) *entrance {
	t.Helper()
	return newEntranceOf(t, grace, connections.DefaultLimits)
}

func newEntranceOf(t *testing.T, grace time.Duration, limits connections.Limits) *entrance {
	t.Helper()
	e := &entrance{T: t, time: time.Date(2030, 5, 1, 12, 0, 0, 0, time.UTC), registry: prometheus.NewRegistry()}
	folder := t.TempDir()
	var err error
	if e.authority, _, err = enrol.OpenAuthority(folder, "prod", e.now); err != nil {
		t.Fatal(err)
	}
	s, err := store.Open(t.Context(), filepath.Join(folder, "store.db"))
	if err != nil {
		t.Fatal(err)
	}
	e.rows = enrol.NewRows(s)
	e.tokens = enrol.NewTokens(e.rows, e.authority)
	own, err := enrol.NewServer(e.authority, nil, enrol.Sleep, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	guard, err := newGuard(t.Context(), e.rows, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	e.gate = connections.NewGate(limits, e.now)
	e.door = newDoor(e.now, guard, e.gate, zap.NewNop(), e.registry)
	server := e.door.server(own.Source(), "prod", grace)
	enrolment, err := enrol.NewService(enrol.Options{Authority: e.authority, Tokens: e.tokens, Agents: e.rows,
		RenewalGrace: grace, Limits: enrol.DefaultLimits, Metrics: e.registry, Log: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	sensorv1.RegisterEnrolmentServer(server, enrolment)
	sensorv1.RegisterSensorServer(server, reachedSensor{})
	collectorv1.RegisterManagementServer(server, reachedManagement{})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	e.address = listener.Addr().String()
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(e.gate.Listen(listener)) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

// dial connects with a certificate; nil: without. Its holder believes any collector of the CA,
// whatever the time is.
func (e *entrance) dial(certificate *tls.Certificate) *grpc.ClientConn {
	e.Helper()
	source := tlsconf.NewSource(tlsconf.Material{Certificate: certificate, Roots: e.authority.Roots()})
	config := tlsconf.ClientConfig(source, tlsconf.Peers{Roles: []tlsconf.Role{tlsconf.Collector}}, e.now)
	conn, err := grpc.NewClient(e.address, grpc.WithTransportCredentials(credentials.NewTLS(config)))
	if err != nil {
		e.Fatal(err)
	}
	e.Cleanup(func() { conn.Close() })
	return conn
}

// request is a certificate request for a new key.
func (e *entrance) request() ([]byte, *ecdsa.PrivateKey) {
	e.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		e.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, new(x509.CertificateRequest), key)
	if err != nil {
		e.Fatal(err)
	}
	return der, key
}

// agent enrols one.
func (e *entrance) agent() (id string, certificate *tls.Certificate) {
	e.Helper()
	token, err := e.tokens.Make(e.Context(), time.Hour, 1)
	if err != nil {
		e.Fatal(err)
	}
	der, key := e.request()
	answer, err := sensorv1.NewEnrolmentClient(e.dial(nil)).Enrol(e.Context(), &sensorv1.EnrolRequest{
		Proof: &sensorv1.EnrolRequest_JoinToken{JoinToken: token.Proof()}, CertificateRequestDer: der})
	if err != nil {
		e.Fatal(err)
	}
	return answer.AgentId, &tls.Certificate{Certificate: answer.CertificatesDer, PrivateKey: key}
}

func (e *entrance) client(name string, access tlsconf.Access) *tls.Certificate {
	e.Helper()
	files, err := e.authority.IssueClient(name, access, enrol.ClientLifetime)
	if err != nil {
		e.Fatal(err)
	}
	certificate, err := tls.X509KeyPair(files.Certificate, files.Key)
	if err != nil {
		e.Fatal(err)
	}
	return &certificate
}

// stream opens an agent's stream as far as it goes.
func (e *entrance) stream(conn *grpc.ClientConn) (sensorv1.Sensor_StreamClient, error) {
	e.Helper()
	s, err := sensorv1.NewSensorClient(conn).Stream(e.Context())
	if err != nil {
		e.Fatal(err)
	}
	_ = s.Send(&sensorv1.FromAgent{}) // Recv says why not
	_, err = s.Recv()
	return s, err
}

func (e *entrance) renew(conn *grpc.ClientConn) error {
	e.Helper()
	der, _ := e.request()
	_, err := sensorv1.NewEnrolmentClient(conn).Renew(e.Context(), &sensorv1.RenewRequest{CertificateRequestDer: der})
	return err
}

func wantStatus(t *testing.T, err error, code codes.Code, text string) {
	t.Helper()
	if status.Code(err) != code || !strings.Contains(status.Convert(err).Message(), text) {
		t.Errorf("got %v, want %v: %s", err, code, text)
	}
}

// An expired certificate is good for being renewed, and for nothing else.
func TestExpiredCertificates(t *testing.T) {
	grace := 5 * 24 * time.Hour
	e := newEntrance(t, grace)
	_, certificate := e.agent()
	revoked, other := e.agent()
	if err := e.rows.Revoke(t.Context(), revoked, e.now()); err != nil {
		t.Fatal(err)
	}
	before := e.dial(certificate)
	if _, err := e.stream(before); err != nil {
		t.Fatal(err)
	}
	e.advance(25 * time.Hour)
	_, err := e.stream(before)
	wantStatus(t, err, codes.Unauthenticated, "the certificate has expired")
	late := e.dial(certificate)
	_, err = e.stream(late)
	wantStatus(t, err, codes.Unauthenticated, "it can only be renewed")
	_, err = collectorv1.NewManagementClient(late).GetBundle(t.Context(), &collectorv1.GetBundleRequest{})
	wantStatus(t, err, codes.Unauthenticated, "it can only be renewed")
	if err := e.renew(late); err != nil {
		t.Error(err)
	}
	wantStatus(t, e.renew(e.dial(other)), codes.PermissionDenied, "revoked")
	e.advance(grace - time.Hour + time.Second)
	wantStatus(t, e.renew(late), codes.Unauthenticated, "has expired")
	wantStatus(t, e.renew(e.dial(certificate)), codes.Unavailable, "")

	strict := newEntrance(t, 0)
	_, certificate = strict.agent()
	strict.advance(24*time.Hour + time.Second)
	wantStatus(t, strict.renew(strict.dial(certificate)), codes.Unavailable, "")
}

// What changes something needs an operator.
func TestViewersLookOperatorsPush(t *testing.T) {
	e := newEntrance(t, 0)
	viewer := collectorv1.NewManagementClient(e.dial(e.client("vera", tlsconf.Viewer)))
	operator := collectorv1.NewManagementClient(e.dial(e.client("olga", tlsconf.Operator)))
	_, err := viewer.PushBundle(t.Context(), &collectorv1.PushBundleRequest{})
	wantStatus(t, err, codes.PermissionDenied, "vera is a viewer: only an operator may do this")
	_, err = viewer.GetBundle(t.Context(), &collectorv1.GetBundleRequest{})
	wantStatus(t, err, codes.Unimplemented, "reached")
	_, err = operator.PushBundle(t.Context(), &collectorv1.PushBundleRequest{})
	wantStatus(t, err, codes.Unimplemented, "reached")
	_, agent := e.agent()
	_, err = collectorv1.NewManagementClient(e.dial(agent)).PushBundle(t.Context(), &collectorv1.PushBundleRequest{})
	wantStatus(t, err, codes.PermissionDenied, "is an agent's")
}

// Who is revoked while his stream is open is told so, and not let in again; whoever is not goes on.
func TestRevokedPeersAreCutOff(t *testing.T) {
	e := newEntrance(t, 0)
	id, certificate := e.agent()
	_, other := e.agent()
	conn := e.dial(certificate)
	first, err := e.stream(conn)
	if err != nil {
		t.Fatal(err)
	}
	second, err := e.stream(e.dial(other))
	if err != nil {
		t.Fatal(err)
	}
	operator := collectorv1.NewManagementClient(e.dial(e.client("olga", tlsconf.Operator)))
	if err := e.rows.Revoke(t.Context(), id, e.now()); err != nil {
		t.Fatal(err)
	}
	if err := e.rows.RevokeClient(t.Context(), "olga", e.now()); err != nil {
		t.Fatal(err)
	}
	if err := e.door.guard.look(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, err = first.Recv()
	wantStatus(t, err, codes.PermissionDenied, "the agent is revoked")
	_, err = e.stream(conn)
	wantStatus(t, err, codes.PermissionDenied, "the agent is revoked")
	_, err = operator.GetBundle(t.Context(), &collectorv1.GetBundleRequest{})
	wantStatus(t, err, codes.PermissionDenied, "the client is revoked")
	if err := second.CloseSend(); err != nil {
		t.Error(err)
	}

	// A certificate that is made later is good, under the same name.
	e.advance(time.Second)
	operator = collectorv1.NewManagementClient(e.dial(e.client("olga", tlsconf.Operator)))
	_, err = operator.GetBundle(t.Context(), &collectorv1.GetBundleRequest{})
	wantStatus(t, err, codes.Unimplemented, "reached")
	e.door.guard.mu.Lock()
	defer e.door.guard.mu.Unlock()
	if n := len(e.door.guard.streams); n != 1 {
		t.Errorf("%d streams are watched, want the one that goes on", n)
	}
}

// A stream whose peer is revoked between two looks, as it begins, does not slip through.
func TestRevokedAsTheStreamBegins(t *testing.T) {
	e := newEntrance(t, 0)
	peer := tlsconf.Peer{Identity: tlsconf.Identity{Role: tlsconf.Client, Name: "olga"}, Certificate: e.client("olga", tlsconf.Operator).Leaf}
	if err := e.rows.RevokeClient(t.Context(), "olga", e.now()); err != nil {
		t.Fatal(err)
	}
	g := e.door.guard
	if g.admit(peer) != nil {
		t.Error("it is known before it was looked for")
	}
	if err := g.look(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, done := g.watch(t.Context(), peer)
	defer done()
	wantStatus(t, context.Cause(ctx), codes.PermissionDenied, "revoked")
}

// Whoever opens connections and says nothing, from one address or many, keeps nobody out
// who has a certificate, and no more open than is allowed.
func TestStrangersKeepNobodyOut(t *testing.T) {
	e := newEntranceOf(t, 0, connections.Limits{Strangers: 16, StrangersPerAddress: 8, Peers: 8, PerPeer: 4})
	_, certificate := e.agent()
	stays, err := e.stream(e.dial(certificate))
	if err != nil {
		t.Fatal(err)
	}
	for i := range 400 {
		from := []string{"127.0.0.2", "127.0.0.3", "127.0.0.1"}[i%3]
		c, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}).DialContext(t.Context(), "tcp", e.address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
	}
	poll := time.NewTicker(time.Millisecond)
	defer poll.Stop()
	for e.metric("seawall_collector_connections_refused_total")+16 < 400 { // all have been seen
		<-poll.C
	}
	e.advance(3 * time.Second)
	for range 3 {
		_, other := e.agent() // without a certificate, from an address of theirs
		if _, err := e.stream(e.dial(other)); err != nil {
			t.Error(err)
		}
	}
	_, err = e.stream(e.dial(certificate))
	if err != nil {
		t.Error(err)
	}
	if err := stays.Send(&sensorv1.FromAgent{}); err != nil {
		t.Error(err)
	}
	if open := e.metric("seawall_collector_connections"); open > 16+5 {
		t.Errorf("%v connections are open", open)
	}
}

// metric is the sum of a metric over its labels.
func (e *entrance) metric(name string) (sum float64) {
	e.Helper()
	families, err := e.registry.Gather()
	if err != nil {
		e.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == name {
				sum += m.GetGauge().GetValue() + m.GetCounter().GetValue()
			}
		}
	}
	return sum
}
