package enrol

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"net"
	"net/url"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/seawall-security/seawall/internal/tlsconf"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

var today = time.Date(2030, 5, 1, 12, 0, 0, 0, time.UTC)

const (
	firstID  = "0b0e8ad3-5f1c-4c0e-9d5a-3f6f5f0d2a11"
	secondID = "7c9e6679-7425-40de-944b-e07fc1f90ae7"
)

type clock struct {
	mu   sync.Mutex
	time time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.time
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.time = c.time.Add(d)
}

// authority signs what a test asks for, good or not.
type authority struct {
	certificate *x509.Certificate
	key         crypto.Signer
}

func newAuthority(t testing.TB) authority {
	t.Helper()
	key, err := newKey()
	if err != nil {
		t.Fatal(err)
	}
	a := authority{key: key}
	a.certificate = a.sign(t, &x509.Certificate{
		Subject: pkix.Name{CommonName: "prod"}, NotBefore: today.AddDate(-1, 0, 0), NotAfter: today.AddDate(9, 0, 0),
		KeyUsage: x509.KeyUsageCertSign, BasicConstraintsValid: true, IsCA: true,
	}, key.Public())
	return a
}

func (a authority) sign(t testing.TB, template *x509.Certificate, public crypto.PublicKey) *x509.Certificate {
	t.Helper()
	parent := a.certificate
	if parent == nil {
		parent = template
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, a.key)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return certificate
}

func (a authority) leaf(t testing.TB, identity string, public crypto.PublicKey, from, to time.Time) *x509.Certificate {
	t.Helper()
	uri, err := url.Parse(identity)
	if err != nil {
		t.Fatal(err)
	}
	return a.sign(t, &x509.Certificate{
		URIs: []*url.URL{uri}, NotBefore: from, NotAfter: to, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}, public)
}

// collector answers as a test tells it; by default as a collector should.
type collector struct {
	sensorv1.UnimplementedEnrolmentServer
	*clock
	t       *testing.T
	ca      authority
	address string

	mu       sync.Mutex
	id       string // of the next agent that enrols
	renewAs  string // instead of the one who asks
	enrolled []*sensorv1.EnrolRequest
	renewed  []tlsconf.Peer
	refuse   error
	spoil    func(*sensorv1.EnrolResponse)
}

// listen starts a collector that shows a certificate by ca (and, with it, more).
func listen(t *testing.T, c *clock, ca authority, more ...*x509.Certificate) *collector {
	t.Helper()
	return listenLate(t, c, ca, 0, more...)
}

// listenLate starts one that renews certificates for so long after their end.
func listenLate(t *testing.T, c *clock, ca authority, grace time.Duration, more ...*x509.Certificate) *collector {
	t.Helper()
	s := &collector{clock: c, t: t, ca: ca, id: firstID}
	key, err := newKey()
	if err != nil {
		t.Fatal(err)
	}
	shown := &tls.Certificate{PrivateKey: key}
	chain := append([]*x509.Certificate{ca.leaf(t, "seawall://prod/collector", key.Public(), today.AddDate(0, 0, -1), today.AddDate(1, 0, 0))}, more...)
	for _, certificate := range append(chain, ca.certificate) {
		shown.Certificate = append(shown.Certificate, certificate.Raw)
	}
	source := tlsconf.NewSource(tlsconf.Material{Certificate: shown, Roots: []*x509.Certificate{ca.certificate}})
	config := tlsconf.ServerConfig(source, tlsconf.Peers{Cluster: "prod", Roles: []tlsconf.Role{tlsconf.Agent}, Optional: true, Grace: grace}, c.now)
	server := grpc.NewServer(grpc.Creds(tlsconf.ServerCredentials(config, func(_ net.Addr, err error) { t.Log("handshake:", err) })))
	sensorv1.RegisterEnrolmentServer(server, s)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.address = listener.Addr().String()
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return s
}

func (s *collector) Enrol(_ context.Context, r *sensorv1.EnrolRequest) (*sensorv1.EnrolResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.enrolled = append(s.enrolled, r)
	return s.answer(s.id, r.GetCertificateRequestDer())
}

func (s *collector) Renew(ctx context.Context, r *sensorv1.RenewRequest) (*sensorv1.EnrolResponse, error) {
	peer, err := tlsconf.LatePeerOf(ctx, tlsconf.Agent)
	if err != nil {
		return nil, status.Error(codes.Unauthenticated, err.Error())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.renewed = append(s.renewed, peer)
	if s.renewAs != "" {
		peer.Name = s.renewAs
	}
	return s.answer(peer.Name, r.GetCertificateRequestDer())
}

func (s *collector) answer(id string, der []byte) (*sensorv1.EnrolResponse, error) {
	if s.refuse != nil {
		return nil, s.refuse
	}
	request, err := x509.ParseCertificateRequest(der)
	if err != nil || request.CheckSignature() != nil || len(request.Subject.Names) != 0 {
		return nil, status.Error(codes.InvalidArgument, "no request")
	}
	now := s.now()
	leaf := s.ca.leaf(s.t, "seawall://prod/agent/"+id, request.PublicKey, now.Add(-5*time.Minute), now.Add(24*time.Hour))
	answer := &sensorv1.EnrolResponse{
		AgentId: id, Cluster: "prod", CertificatesDer: [][]byte{leaf.Raw}, RootsDer: [][]byte{s.ca.certificate.Raw}, RedactionKey: make([]byte, 32),
	}
	if s.spoil != nil {
		s.spoil(answer)
	}
	return answer, nil
}

func (s *collector) set(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

func (s *collector) token() *tlsconf.JoinToken {
	token := tlsconf.NewJoinToken(tlsconf.PinOf(s.ca.certificate))
	return &token
}

func (s *collector) options(t *testing.T) Options {
	t.Helper()
	return Options{
		StateDir: t.TempDir(), Collector: s.address, Node: "node-1", MachineID: "m-1",
		Now: s.now, Random: func() float64 { return 0.5 }, Log: zap.NewNop(),
		Wait: func(context.Context, time.Duration) error { t.Error("waits"); return context.Canceled },
	}
}

func observe(o *Options) *observer.ObservedLogs {
	core, logs := observer.New(zapcore.DebugLevel)
	o.Log = zap.New(core)
	return logs
}

func open(t *testing.T, o Options) *Agent {
	t.Helper()
	a, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// settled runs an agent until it has nothing to do for long.
func settled(t *testing.T, o Options) *Agent {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	waits := 0
	o.Wait = func(ctx context.Context, d time.Duration) error {
		if waits++; waits == 20 {
			t.Error("it does not come to rest")
		}
		if d == longestWait || waits == 20 {
			cancel()
		}
		return ctx.Err()
	}
	a := open(t, o)
	if err := a.Run(ctx); err != nil {
		t.Fatal(err)
	}
	return a
}

// keyOf is the key that an enrolment asks a certificate for.
func keyOf(t testing.TB, r *sensorv1.EnrolRequest) *ecdsa.PublicKey {
	t.Helper()
	request, err := x509.ParseCertificateRequest(r.GetCertificateRequestDer())
	if err != nil {
		t.Fatal(err)
	}
	return request.PublicKey.(*ecdsa.PublicKey)
}
