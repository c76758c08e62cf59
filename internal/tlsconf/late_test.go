package tlsconf

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"net"
	"testing"
	"time"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
)

// handshake makes the connection of a client that shows a certificate, and returns what a
// gRPC server learns of it.
func handshake(t *testing.T, server *tls.Config, client *tls.Config) (credentials.AuthInfo, error) {
	t.Helper()
	client.NextProtos = []string{"h2"}
	ours, theirs := net.Pipe()
	t.Cleanup(func() { ours.Close(); theirs.Close() })
	go func() {
		_ = tls.Client(theirs, client).HandshakeContext(t.Context()) // the server says what came of it
		theirs.Close()
	}()
	_, info, err := ServerCredentials(server, func(net.Addr, error) {}).ServerHandshake(ours)
	return info, err
}

// An expired certificate opens one door for a while, and makes nobody of its holder anywhere else.
func TestLateAgents(t *testing.T) {
	ours := newAuthority(t, "ours")
	expired := func(identity string, ago time.Duration) *tls.Certificate {
		return ours.certificateOf(t, identity, func(c *x509.Certificate) {
			c.NotBefore, c.NotAfter = today.Add(-ago-24*time.Hour), today.Add(-ago)
		})
	}
	server := func(grace time.Duration) *tls.Config {
		return ServerConfig(ours.source(ours.certificateOf(t, collectorURI)),
			Peers{Cluster: "prod", Roles: []Role{Agent, Client}, Optional: true, Grace: grace}, now)
	}
	week := 7 * 24 * time.Hour
	for _, test := range []struct {
		name        string
		certificate *tls.Certificate
		grace       time.Duration
		reason      Reason // of the handshake; empty: it is made
	}{
		{"an hour ago", expired(agentURI, time.Hour), week, ""},
		{"at the end of the grace", expired(agentURI, week), week, ""},
		{"after it", expired(agentURI, week+time.Second), week, Expired},
		{"without grace", expired(agentURI, time.Second), 0, Expired},
		{"a client", expired(clientURI, time.Hour), week, Expired},
		{"a collector", expired(collectorURI, time.Hour), week, Expired},
		{"another cluster", expired("seawall://test/agent/"+someAgent, time.Hour), week, WrongCluster},
		{"foreign CA", newAuthority(t, "ours").certificateOf(t, agentURI, func(c *x509.Certificate) {
			c.NotBefore, c.NotAfter = today.Add(-25*time.Hour), today.Add(-time.Hour)
		}), week, ForeignCA},
		{"wrong usage", ours.certificateOf(t, agentURI, func(c *x509.Certificate) {
			c.NotBefore, c.NotAfter = today.Add(-25*time.Hour), today.Add(-time.Hour)
			c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		}), week, WrongRole},
		{"not yet valid", ours.certificateOf(t, agentURI, func(c *x509.Certificate) { c.NotBefore = today.Add(time.Minute) }), week, NotYetValid},
	} {
		t.Run(test.name, func(t *testing.T) {
			info, err := handshake(t, server(test.grace), ClientConfig(ours.source(test.certificate), collectors, now))
			if test.reason != "" {
				checkRefused(t, err, test.reason, "")
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			_, isPlain := info.(credentials.TLSInfo)
			ctx := peer.NewContext(t.Context(), &peer.Peer{AuthInfo: info})
			_, err = PeerOf(ctx, Agent)
			checkRefused(t, err, Expired, "it can only be renewed")
			late, err := LatePeerOf(ctx, Agent)
			if err != nil || late.Name != someAgent || isPlain {
				t.Errorf("for renewal it is %v, %v; plain TLS: %v", late, err, isPlain)
			}
			if _, err := LatePeerOf(ctx, Client); err == nil {
				t.Error("it is a client's")
			}
		})
	}

	// Whoever is in time is who he is to both.
	info, err := handshake(t, server(week), ClientConfig(ours.source(ours.certificateOf(t, agentURI)), collectors, now))
	if err != nil {
		t.Fatal(err)
	}
	ctx := peer.NewContext(t.Context(), &peer.Peer{AuthInfo: info})
	for _, of := range []func() (Peer, error){func() (Peer, error) { return PeerOf(ctx, Agent) }, func() (Peer, error) { return LatePeerOf(ctx, Agent) }} {
		if p, err := of(); err != nil || p.Name != someAgent {
			t.Errorf("in time: %v, %v", p, err)
		}
	}
}

// The grace is the agent's, not its CA's.
func TestLateAgentOfACAThatExpired(t *testing.T) {
	ours := authority{}.make(t, &x509.Certificate{
		Subject: pkix.Name{CommonName: "ours"}, NotBefore: today.AddDate(-1, 0, 0), NotAfter: today.Add(-time.Minute),
		KeyUsage: x509.KeyUsageCertSign, BasicConstraintsValid: true, IsCA: true,
	})
	pool := x509.NewCertPool()
	pool.AddCert(ours.certificate)
	leaf := ours.certificateOf(t, agentURI, func(c *x509.Certificate) { c.NotBefore, c.NotAfter = today.Add(-25*time.Hour), today.Add(-time.Hour) })
	peers := agents
	peers.Grace = 24 * time.Hour
	err := verify([]*x509.Certificate{leaf.Leaf}, pool, peers, x509.ExtKeyUsageClientAuth, today)
	checkRefused(t, err, Expired, "and its issuer too")
	var none *CertificateError
	if err := verify([]*x509.Certificate{leaf.Leaf}, pool, peers, x509.ExtKeyUsageClientAuth, today.Add(-2*time.Minute)); errors.As(err, &none) {
		t.Errorf("while the CA held: %v", err)
	}
}
