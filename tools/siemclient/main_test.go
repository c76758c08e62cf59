package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"

	"github.com/seawall-security/seawall/collector/siem"
	alertv1 "github.com/seawall-security/seawall/proto/alert/v1"
)

// authority is a CA whose certificates are files, as a client has them.
type authority struct {
	dir  string
	key  *ecdsa.PrivateKey
	root *x509.Certificate
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{dir: t.TempDir()}
	a.key, a.root = a.sign(t, "ca", &x509.Certificate{Subject: pkix.Name{CommonName: "seawall"}, IsCA: true, BasicConstraintsValid: true}, "")
	return a
}

// issue writes <name>.crt and <name>.key for an identity.
func (a *authority) issue(t *testing.T, name, identity string, usage x509.ExtKeyUsage) tls.Certificate {
	t.Helper()
	a.sign(t, name, &x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{usage}}, identity)
	pair, err := tls.LoadX509KeyPair(a.file(name+".crt"), a.file(name+".key"))
	if err != nil {
		t.Fatal(err)
	}
	return pair
}

func (a *authority) file(name string) string { return filepath.Join(a.dir, name) }

func (a *authority) sign(t *testing.T, name string, c *x509.Certificate, identity string) (*ecdsa.PrivateKey, *x509.Certificate) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c.SerialNumber, c.NotBefore, c.NotAfter = big.NewInt(1), time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, signer := c, key
	if identity != "" {
		uri, err := url.Parse(identity)
		if err != nil {
			t.Fatal(err)
		}
		c.URIs, parent, signer = []*url.URL{uri}, a.root, a.key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	text, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	err = errors.Join(
		os.WriteFile(a.file(name+".crt"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600),
		os.WriteFile(a.file(name+".key"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: text}), 0o600))
	if err != nil {
		t.Fatal(err)
	}
	return key, signed
}

// stored is a store of two alerts and one cursor.
type stored struct {
	siem.Store // what a subscription does not need
	alerts     []*alertv1.Alert
	cursor     uint64
	moved      chan uint64
}

func (s *stored) Revisions(_ context.Context, after uint64, _ *alertv1.Filter, limit int, visit func(uint64, *alertv1.Alert) error) (uint64, uint64, error) {
	for ; after < uint64(len(s.alerts)) && limit > 0; limit-- {
		if err := visit(after+1, s.alerts[after]); err != nil {
			return after, 0, err
		}
		after++
	}
	return after, 0, nil
}

func (s *stored) Wait(ctx context.Context, _ uint64) error {
	<-ctx.Done()
	return ctx.Err()
}

func (s *stored) Last(context.Context) (uint64, error) { return uint64(len(s.alerts)), nil }

func (s *stored) Cursor(context.Context, string, string) (uint64, bool, error) {
	return s.cursor, s.cursor > 0, nil
}

func (s *stored) Cursors(context.Context, string) (int, error) { return 0, nil }

func (s *stored) MoveCursor(_ context.Context, client, name string, position uint64) error {
	if client != "splunk" || name != "nightly" {
		return errors.New("another's cursor")
	}
	s.cursor = max(s.cursor, position)
	s.moved <- position
	return nil
}

// byCertificate tells clients by the URI in their certificate.
func byCertificate(ctx context.Context) (siem.Client, error) {
	p, _ := peer.FromContext(ctx)
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok || len(info.State.PeerCertificates[0].URIs) != 1 {
		return siem.Client{}, errors.New("no identity")
	}
	name, ok := strings.CutPrefix(info.State.PeerCertificates[0].URIs[0].Path, "/client/")
	if !ok {
		return siem.Client{}, errors.New("not a client")
	}
	return siem.Client{Name: name, Until: info.State.PeerCertificates[0].NotAfter}, nil
}

func serve(t *testing.T, a *authority, own tls.Certificate, store *stored) string {
	t.Helper()
	pool := x509.NewCertPool()
	pool.AddCert(a.root)
	service := siem.New(siem.Options{Store: store, Client: byCertificate, Log: zap.NewNop(), Metrics: prometheus.NewPedanticRegistry()})
	server := grpc.NewServer(grpc.Creds(credentials.NewTLS(&tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{own}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool,
	})))
	alertv1.RegisterAlertStreamServer(server, service)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	t.Cleanup(func() {
		service.Close()
		server.Stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return listener.Addr().String()
}

func TestClientReadsOnAndAcknowledges(t *testing.T) {
	a := newAuthority(t)
	own := a.issue(t, "collector", "seawall://prod/collector", x509.ExtKeyUsageServerAuth)
	a.issue(t, "client", "seawall://prod/client/splunk?role=viewer", x509.ExtKeyUsageClientAuth)
	store := &stored{moved: make(chan uint64, 10), alerts: []*alertv1.Alert{{Id: "1", Revision: 1}, {Id: "1", Revision: 2}, {Id: "2", Revision: 1}}, cursor: 1}
	address := serve(t, a, own, store)
	config, err := material(a.file("client.crt"), a.file("client.key"), a.file("ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var out bytes.Buffer
	ended := make(chan error, 1)
	go func() { ended <- follow(ctx, address, config, "nightly", &out) }()
	for _, want := range []uint64{2, 3, 3} { // two alerts, and that there are no more
		if got := <-store.moved; got != want {
			t.Errorf("acknowledged %d, want %d", got, want)
		}
	}
	cancel()
	if err := <-ended; err == nil {
		t.Error("the client ended without a reason")
	}
	var got []string
	for line := range strings.Lines(out.String()) {
		var alert struct {
			ID       string
			Revision int
		}
		if err := json.Unmarshal([]byte(line), &alert); err != nil {
			t.Fatal(err)
		}
		got = append(got, alert.ID)
	}
	if strings.Join(got, " ") != "1 2" {
		t.Errorf("printed %s", out.String())
	}
}

func TestClientTrustsCollectorsOnly(t *testing.T) {
	a := newAuthority(t)
	a.issue(t, "client", "seawall://prod/client/splunk?role=viewer", x509.ExtKeyUsageClientAuth)
	config, err := material(a.file("client.crt"), a.file("client.key"), a.file("ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	for name, own := range map[string]tls.Certificate{
		"an agent":  a.issue(t, "agent", "seawall://prod/agent/6ba7b810-9dad-41d1-80b4-00c04fd430c8", x509.ExtKeyUsageServerAuth),
		"a foreign": newAuthority(t).issue(t, "collector", "seawall://prod/collector", x509.ExtKeyUsageServerAuth),
	} {
		address := serve(t, a, own, &stored{})
		if err := follow(t.Context(), address, config, "nightly", io.Discard); err == nil || !strings.Contains(err.Error(), "authentication handshake failed") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := material(a.file("client.crt"), a.file("client.key"), a.file("client.key")); err == nil {
		t.Error("a key is taken for a CA")
	}
}

// The page shows the client's loop as it is.
func TestPageShowsThisClient(t *testing.T) {
	source, err := os.ReadFile("main.go")
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile("../../docs/siem.md")
	if err != nil {
		t.Fatal(err)
	}
	_, code, _ := strings.Cut(string(source), "// follow prints")
	code, _, _ = strings.Cut(code, "\n}\n")
	if !strings.Contains(string(page), "// follow prints"+code+"\n}\n") {
		t.Error("docs/siem.md shows another client than main.go")
	}
}
