package enrol

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/seawall-security/seawall/internal/tlsconf"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

var today = time.Date(2030, 5, 1, 12, 0, 0, 0, time.UTC)

type clock struct {
	mu   sync.Mutex
	time time.Time
}

func newClock() *clock { return &clock{time: today} }

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

// memory is a TokenStore and an AgentStore as the interfaces describe them.
type memory struct {
	mu         sync.Mutex
	tokens     []Token
	enrolments []Enrolment
	revoked    map[string]bool
	broken     error
}

func (m *memory) AddToken(_ context.Context, t Token) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.tokens = slices.Insert(m.tokens, 0, t)
	return m.broken
}

func (m *memory) find(id string) int {
	return slices.IndexFunc(m.tokens, func(t Token) bool { return t.ID == id })
}

func (m *memory) Token(_ context.Context, id string) (Token, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if i := m.find(id); i >= 0 {
		return m.tokens[i], m.broken
	}
	return Token{}, ErrUnknownToken
}

func (m *memory) Tokens(context.Context) ([]Token, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.tokens), m.broken
}

func (m *memory) RemoveToken(_ context.Context, id string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	i := m.find(id)
	if i < 0 {
		return ErrUnknownToken
	}
	m.tokens = slices.Delete(m.tokens, i, i+1)
	return m.broken
}

func (m *memory) AddEnrolment(_ context.Context, e Enrolment) (string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, old := range m.enrolments {
		if old.TokenID == e.TokenID && old.ServiceAccount == e.ServiceAccount && old.KeyHash == e.KeyHash {
			return old.AgentID, nil
		}
	}
	if e.TokenID != "" {
		i := m.find(e.TokenID)
		if i < 0 {
			return "", ErrUnknownToken
		}
		if m.tokens[i].UsesLeft == 0 {
			return "", ErrUsedUp
		}
		m.tokens[i].UsesLeft--
	}
	m.enrolments = append(m.enrolments, e)
	return e.AgentID, m.broken
}

func (m *memory) Revoked(_ context.Context, id string) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.revoked[id], m.broken
}

// world is a collector that listens on loopback.
type world struct {
	*clock
	t         *testing.T
	authority *Authority
	server    *Server
	tokens    *Tokens
	store     *memory
	logs      *observer.ObservedLogs
	registry  *prometheus.Registry
	address   string
	failed    chan error // handshakes
}

func newWorld(t *testing.T, change func(*Options)) *world {
	t.Helper()
	w := &world{clock: newClock(), t: t, store: &memory{revoked: map[string]bool{}}, registry: prometheus.NewRegistry(), failed: make(chan error, 16)}
	var core zapcore.Core
	core, w.logs = observer.New(zap.DebugLevel)
	log := zap.New(core)
	var err error
	if w.authority, _, err = OpenAuthority(t.TempDir(), "prod", w.now); err != nil {
		t.Fatal(err)
	}
	if w.server, err = NewServer(w.authority, []string{"localhost", "127.0.0.1"}, Sleep, log); err != nil {
		t.Fatal(err)
	}
	w.tokens = NewTokens(w.store, w.authority)
	options := Options{
		Authority: w.authority, Tokens: w.tokens, Agents: w.store, Limits: DefaultLimits, Metrics: w.registry, Log: log,
	}
	if change != nil {
		change(&options)
	}
	service, err := NewService(options)
	if err != nil {
		t.Fatal(err)
	}
	peers := tlsconf.Peers{Cluster: "prod", Roles: []tlsconf.Role{tlsconf.Agent, tlsconf.Client}, Optional: true, Grace: options.RenewalGrace}
	server := grpc.NewServer(grpc.Creds(tlsconf.ServerCredentials(tlsconf.ServerConfig(w.server.Source(), peers, w.now),
		func(_ net.Addr, err error) { w.failed <- err })))
	sensorv1.RegisterEnrolmentServer(server, service)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w.address = listener.Addr().String()
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return w
}

// dial returns a client that shows a certificate (nil: none) from an address of this host.
func (w *world) dial(certificate *tls.Certificate, from string) sensorv1.EnrolmentClient {
	w.t.Helper()
	source := tlsconf.NewSource(tlsconf.Material{Certificate: certificate, Roots: w.authority.Roots()})
	config := tlsconf.ClientConfig(source, tlsconf.Peers{Cluster: "prod", Roles: []tlsconf.Role{tlsconf.Collector}}, w.now)
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	conn, err := grpc.NewClient("passthrough:"+w.address, grpc.WithTransportCredentials(credentials.NewTLS(config)),
		grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
			return dialer.DialContext(ctx, "tcp", address)
		}))
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { conn.Close() })
	return sensorv1.NewEnrolmentClient(conn)
}

func (w *world) stranger() sensorv1.EnrolmentClient { return w.dial(nil, "127.0.0.1") }

func (w *world) token(uses int) tlsconf.JoinToken {
	w.t.Helper()
	token, err := w.tokens.Make(w.t.Context(), time.Hour, uses)
	if err != nil {
		w.t.Fatal(err)
	}
	return token
}

// enrolled is an agent that has its certificate.
func (w *world) enrolled() (id string, certificate *tls.Certificate) {
	w.t.Helper()
	key := p256(w.t)
	answer, err := w.stranger().Enrol(w.t.Context(), enrolRequest(w.token(1).Proof(), request(w.t, key)))
	if err != nil {
		w.t.Fatal(err)
	}
	return answer.GetAgentId(), &tls.Certificate{Certificate: answer.GetCertificatesDer(), PrivateKey: key}
}

func enrolRequest(proof string, der []byte) *sensorv1.EnrolRequest {
	return &sensorv1.EnrolRequest{
		Proof: &sensorv1.EnrolRequest_JoinToken{JoinToken: proof}, CertificateRequestDer: der, Node: "node-1", MachineId: "m-1",
	}
}

func p256(t testing.TB) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func request(t testing.TB, key crypto.Signer) []byte {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, new(x509.CertificateRequest), key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}
