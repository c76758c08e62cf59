package tlsconf

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"
)

var today = time.Date(2030, 5, 1, 12, 0, 0, 0, time.UTC)

func now() time.Time { return today }

type authority struct {
	certificate *x509.Certificate
	key         crypto.Signer
}

func newAuthority(t testing.TB, name string) authority {
	t.Helper()
	return authority{}.make(t, &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, NotBefore: today.AddDate(-1, 0, 0), NotAfter: today.AddDate(1, 0, 0),
		KeyUsage: x509.KeyUsageCertSign, BasicConstraintsValid: true, IsCA: true,
	})
}

// make signs a template with a new key; the zero authority lets it sign itself.
func (a authority) make(t testing.TB, template *x509.Certificate) authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
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
	return authority{certificate: certificate, key: key}
}

type change func(*x509.Certificate)

// certificate is one for both usages that holds today, but for what is changed.
func (a authority) certificateOf(t *testing.T, identity string, changes ...change) *tls.Certificate {
	t.Helper()
	template := &x509.Certificate{
		NotBefore: today.Add(-time.Hour), NotAfter: today.Add(time.Hour), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
		Subject:     pkix.Name{CommonName: "two\nlines"},
	}
	if identity != "" {
		uri, err := url.Parse(identity)
		if err != nil {
			t.Fatal(err)
		}
		template.URIs = []*url.URL{uri}
	}
	for _, change := range changes {
		change(template)
	}
	leaf := a.make(t, template)
	return &tls.Certificate{Certificate: [][]byte{leaf.certificate.Raw, a.certificate.Raw}, PrivateKey: leaf.key, Leaf: leaf.certificate}
}

func (a authority) source(certificate *tls.Certificate) *Source {
	return NewSource(Material{Certificate: certificate, Roots: []*x509.Certificate{a.certificate}})
}

// connection is one after its handshake, or what either side says about it.
type connection struct {
	server, client       *tls.Conn
	serverErr, clientErr error
}

func connect(t *testing.T, server, client *tls.Config) connection {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	dialled, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	accepted, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	c := connection{server: tls.Server(accepted, server), client: tls.Client(dialled, client)}
	t.Cleanup(func() { accepted.Close(); dialled.Close() })
	served := make(chan error, 1)
	go func() { served <- c.server.HandshakeContext(t.Context()) }()
	c.clientErr = c.client.HandshakeContext(t.Context())
	if c.clientErr != nil {
		dialled.Close()
	}
	c.serverErr = <-served
	return c
}

const (
	collectorURI = "seawall://prod/collector"
	agentURI     = "seawall://prod/agent/" + someAgent
	clientURI    = "seawall://prod/client/siem?role=viewer"
)

var (
	agents     = Peers{Cluster: "prod", Roles: []Role{Agent}}
	collectors = Peers{Cluster: "prod", Roles: []Role{Collector}}
)

// wrong are certificates that must not hold in the place of a good one.
func wrong(t *testing.T, ours authority, good string, usage x509.ExtKeyUsage) map[string]struct {
	certificate *tls.Certificate
	reason      Reason
	says        string
} {
	t.Helper()
	foreign, off := newAuthority(t, "foreign"), func(u x509.ExtKeyUsage) change {
		return func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{u} }
	}
	other := x509.ExtKeyUsageClientAuth
	if usage == other {
		other = x509.ExtKeyUsageServerAuth
	}
	rest := strings.TrimPrefix(good, "seawall://prod")
	many := ours.certificateOf(t, good)
	for range 4 {
		many.Certificate = append(many.Certificate, ours.certificate.Raw)
	}
	return map[string]struct {
		certificate *tls.Certificate
		reason      Reason
		says        string
	}{
		"foreign CA":             {foreign.certificateOf(t, good), ForeignCA, `its issuer "CN=foreign" is none of our CAs`},
		"foreign CA of our name": {newAuthority(t, "ours").certificateOf(t, good), ForeignCA, "is none of our CAs"},
		"expired": {ours.certificateOf(t, good, func(c *x509.Certificate) {
			c.NotBefore, c.NotAfter = today.AddDate(0, -2, 0), today.AddDate(0, -1, 0)
		}), Expired, "expired on 2030-04-01T12:00:00Z, it is 2030-05-01T12:00:00Z here"},
		"not yet valid": {ours.certificateOf(t, good, func(c *x509.Certificate) {
			c.NotBefore = today.Add(time.Minute)
		}), NotYetValid, "not valid before 2030-05-01T12:01:00Z, it is 2030-05-01T12:00:00Z here"},
		"wrong cluster":   {ours.certificateOf(t, "seawall://test"+rest), WrongCluster, "is of cluster test, this is prod"},
		"wrong role":      {ours.certificateOf(t, clientURI), WrongRole, "is a client's, wanted is one of ["},
		"wrong usage":     {ours.certificateOf(t, good, off(other)), WrongRole, "is not for "},
		"no identity":     {ours.certificateOf(t, ""), NoIdentity, "not exactly one"},
		"two identities":  {ours.certificateOf(t, good, func(c *x509.Certificate) { c.URIs = append(c.URIs, c.URIs[0]) }), NoIdentity, "not exactly one"},
		"sloppy identity": {ours.certificateOf(t, good+"/"), NoIdentity, "identity "},
		"long chain":      {many, Invalid, "comes with 5 others"},
		"CA itself":       {&tls.Certificate{Certificate: [][]byte{ours.certificate.Raw}, PrivateKey: ours.key}, NoIdentity, "not exactly one"},
	}
}

func checkRefused(t *testing.T, err error, reason Reason, says string) {
	t.Helper()
	var refused *CertificateError
	if !errors.As(err, &refused) {
		t.Fatalf("want a refused certificate, got %v", err)
	}
	if refused.Reason != reason || !strings.Contains(err.Error(), says) {
		t.Errorf("refused for %s: %v; want %s: %s", refused.Reason, err, reason, says)
	}
	if strings.ContainsAny(err.Error(), "\n\r") || len(err.Error()) > 600 {
		t.Errorf("error is no line: %q", err)
	}
}

func TestServerVerifiesClients(t *testing.T) {
	ours := newAuthority(t, "ours")
	server := ServerConfig(ours.source(ours.certificateOf(t, collectorURI)), agents, now)
	good := connect(t, server, ClientConfig(ours.source(ours.certificateOf(t, agentURI)), collectors, now))
	if good.serverErr != nil || good.clientErr != nil {
		t.Fatalf("good certificates: server %v, client %v", good.serverErr, good.clientErr)
	}
	if v := good.client.ConnectionState().Version; v != tls.VersionTLS13 {
		t.Errorf("version %x", v)
	}
	for name, test := range wrong(t, ours, agentURI, x509.ExtKeyUsageClientAuth) {
		t.Run(name, func(t *testing.T) {
			c := connect(t, server, ClientConfig(ours.source(test.certificate), collectors, now))
			checkRefused(t, c.serverErr, test.reason, test.says)
		})
	}
	t.Run("none", func(t *testing.T) {
		c := connect(t, server, ClientConfig(ours.source(nil), collectors, now))
		if c.serverErr == nil {
			t.Error("a client without a certificate is let in")
		}
	})
	t.Run("TLS 1.2", func(t *testing.T) {
		old := ClientConfig(ours.source(ours.certificateOf(t, agentURI)), collectors, now)
		old.MinVersion, old.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
		if c := connect(t, server, old); c.serverErr == nil || c.clientErr == nil {
			t.Error("TLS 1.2 is spoken")
		}
	})
}

func TestServerLetsInWithoutCertificateWhereOptional(t *testing.T) {
	ours := newAuthority(t, "ours")
	optional := agents
	optional.Optional = true
	server := ServerConfig(ours.source(ours.certificateOf(t, collectorURI)), optional, now)
	if c := connect(t, server, ClientConfig(ours.source(nil), collectors, now)); c.serverErr != nil || c.clientErr != nil {
		t.Errorf("without: server %v, client %v", c.serverErr, c.clientErr)
	}
	foreign := newAuthority(t, "foreign").certificateOf(t, agentURI)
	c := connect(t, server, ClientConfig(ours.source(foreign), collectors, now))
	checkRefused(t, c.serverErr, ForeignCA, "certificate of "+agentURI+" (serial ")
}

func TestClientVerifiesServer(t *testing.T) {
	ours := newAuthority(t, "ours")
	client := ClientConfig(ours.source(ours.certificateOf(t, agentURI)), collectors, now)
	for name, test := range wrong(t, ours, collectorURI, x509.ExtKeyUsageServerAuth) {
		t.Run(name, func(t *testing.T) {
			c := connect(t, ServerConfig(ours.source(test.certificate), agents, now), client)
			checkRefused(t, c.clientErr, test.reason, test.says)
		})
	}
	t.Run("nothing trusted yet", func(t *testing.T) {
		server := ServerConfig(ours.source(ours.certificateOf(t, collectorURI)), agents, now)
		checkRefused(t, connect(t, server, ClientConfig(new(Source), collectors, now)).clientErr, ForeignCA, "none of our CAs")
		if c := connect(t, ServerConfig(new(Source), agents, now), client); c.serverErr == nil {
			t.Error("a server without a certificate serves")
		}
	})
}

func TestPin(t *testing.T) {
	ours, foreign := newAuthority(t, "ours"), newAuthority(t, "ours")
	good := ours.certificateOf(t, collectorURI)
	anyone := Peers{Roles: []Role{Agent}, Optional: true}
	dial := func(certificate *tls.Certificate) error {
		return connect(t, ServerConfig(ours.source(certificate), anyone, now), PinnedConfig(PinOf(ours.certificate), now)).clientErr
	}
	if err := dial(good); err != nil {
		t.Errorf("good: %v", err)
	}
	checkRefused(t, dial(foreign.certificateOf(t, collectorURI)), PinNotMatched, "not the one of the join token")
	checkRefused(t, dial(&tls.Certificate{Certificate: good.Certificate[:1], PrivateKey: good.PrivateKey}), PinNotMatched, "not the one")
	// The real CA's certificate is public: shown beside a certificate it did not sign, it proves nothing.
	stolen := foreign.certificateOf(t, collectorURI)
	stolen.Certificate[1] = ours.certificate.Raw
	checkRefused(t, dial(stolen), ForeignCA, "none of our CAs")
	stolen.Certificate = append(stolen.Certificate, foreign.certificate.Raw)
	checkRefused(t, dial(stolen), ForeignCA, "none of our CAs")
	// Nor does a certificate of ours for something else.
	checkRefused(t, dial(ours.certificateOf(t, agentURI)), WrongRole, "is an agent's")
	checkRefused(t, dial(&tls.Certificate{Certificate: [][]byte{ours.certificate.Raw}, PrivateKey: ours.key}), PinNotMatched, "not the one")
}

func TestSourceIsSwappedUnderRunningConnections(t *testing.T) {
	ours, next := newAuthority(t, "ours"), newAuthority(t, "next")
	source := ours.source(ours.certificateOf(t, collectorURI))
	own := NewSource(Material{Certificate: ours.certificateOf(t, agentURI), Roots: []*x509.Certificate{ours.certificate, next.certificate}})
	server, client := ServerConfig(source, agents, now), ClientConfig(own, collectors, now)
	before := connect(t, server, client)
	if before.serverErr != nil || before.clientErr != nil {
		t.Fatal(before.serverErr, before.clientErr)
	}

	renewed := next.certificateOf(t, collectorURI)
	source.Set(Material{Certificate: renewed, Roots: []*x509.Certificate{ours.certificate, next.certificate}})
	after := connect(t, server, client)
	if after.serverErr != nil || after.clientErr != nil {
		t.Fatal(after.serverErr, after.clientErr)
	}
	if !after.client.ConnectionState().PeerCertificates[0].Equal(renewed.Leaf) {
		t.Error("a new handshake meets the old certificate")
	}
	// Roots are swapped with it.
	source.Set(Material{Certificate: renewed, Roots: []*x509.Certificate{next.certificate}})
	checkRefused(t, connect(t, server, client).serverErr, ForeignCA, "none of our CAs")

	go func() { _, _ = before.server.Write([]byte("still there")) }()
	text := make([]byte, 11)
	if _, err := before.client.Read(text); err != nil || string(text) != "still there" {
		t.Errorf("running connection: %q, %v", text, err)
	}
}
