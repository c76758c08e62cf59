package enrol

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/seawall-security/seawall/internal/tlsconf"
)

// Somebody else answers at the collector's address, with certificates that say all the
// right things. Whatever CA he shows, he never gets to see the proof.
func TestManInTheMiddleSeesNoSecret(t *testing.T) {
	c := &clock{time: today}
	ours, foreign := newAuthority(t), newAuthority(t)
	token := tlsconf.NewJoinToken(tlsconf.PinOf(ours.certificate))
	roots := filepath.Join(t.TempDir(), "ca.crt")
	account := filepath.Join(t.TempDir(), "token")
	for path, data := range map[string][]byte{roots: tlsconf.EncodeCertificates(ours.certificate), account: []byte("a.b.c\n")} {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, more := range map[string][]*x509.Certificate{"foreign CA": nil, "our CA shown beside it": {ours.certificate}} {
		for proof, change := range map[string]func(*Options){
			"join token":            func(o *Options) { o.JoinToken = &token },
			"service account token": func(o *Options) { o.ServiceAccountToken, o.Roots = account, roots },
		} {
			t.Run(name+", "+proof, func(t *testing.T) {
				server := listen(t, c, foreign, more...)
				o := server.options(t)
				change(&o)
				_, err := open(t, o).step(t.Context())
				if err == nil || !strings.Contains(err.Error(), "certificate of seawall://prod/collector (serial ") || strings.Contains(err.Error(), "\n") {
					t.Errorf("error %v", err)
				}
				server.set(func() {
					if len(server.enrolled) != 0 {
						t.Errorf("he was sent %v", server.enrolled)
					}
				})
			})
		}
	}
}

// The same, looked at from below gRPC: after the handshake comes nothing.
func TestNothingIsSentBeforeThePinHeld(t *testing.T) {
	c := &clock{time: today}
	foreign := newAuthority(t)
	key, err := newKey()
	if err != nil {
		t.Fatal(err)
	}
	leaf := foreign.leaf(t, "seawall://prod/collector", key.Public(), today.Add(-time.Hour), today.Add(time.Hour))
	config := &tls.Config{NextProtos: []string{"h2"}, Time: c.now, Certificates: []tls.Certificate{
		{Certificate: [][]byte{leaf.Raw, foreign.certificate.Raw}, PrivateKey: key},
	}}
	for name, secure := range map[string]func(net.Conn) net.Conn{
		"TLS":       func(conn net.Conn) net.Conn { return tls.Server(conn, config) },
		"plaintext": func(conn net.Conn) net.Conn { return conn },
	} {
		t.Run(name, func(t *testing.T) {
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer listener.Close()
			read := make(chan []byte, 1)
			go func() {
				defer close(read)
				for { // gRPC may knock more than once
					conn, err := listener.Accept()
					if err != nil {
						return
					}
					if name == "plaintext" {
						_, _ = conn.Write([]byte("HTTP/1.1 200 OK\r\n\r\n"))
					}
					text, _ := io.ReadAll(secure(conn)) // the client hangs up
					conn.Close()
					select {
					case read <- text:
					default:
					}
				}
			}()
			token := tlsconf.NewJoinToken(tlsconf.Pin{1})
			a := open(t, Options{
				StateDir: t.TempDir(), Collector: listener.Addr().String(), JoinToken: &token,
				Now: c.now, Random: func() float64 { return 0 }, Log: testLog(t),
			})
			if _, err := a.step(t.Context()); err == nil {
				t.Error("enrolled")
			}
			text := <-read
			secret := strings.Split(token.Reveal(), ".")[2]
			if bytes.Contains(text, []byte(secret)) || name == "TLS" && len(text) != 0 {
				t.Errorf("he read %q", text)
			}
		})
	}
}

func TestServiceAccountTokenIsReadEachTime(t *testing.T) {
	c := &clock{time: today}
	server := listen(t, c, newAuthority(t))
	o := server.options(t)
	dir := t.TempDir()
	o.ServiceAccountToken, o.Roots = filepath.Join(dir, "token"), filepath.Join(dir, "ca.crt")
	a := open(t, o)
	write := func(path, text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, next := range []struct {
		do   func()
		want string
	}{
		{func() {}, "ca.crt"},
		{func() { write(o.Roots, "garbage") }, "ca.crt"},
		{func() { write(o.Roots, string(tlsconf.EncodeCertificates(server.ca.certificate))) }, "read service account token"},
		{func() { write(o.ServiceAccountToken, strings.Repeat("x", 1<<20+1)) }, "larger than"},
	} {
		next.do()
		if _, err := a.step(t.Context()); err == nil || !strings.Contains(err.Error(), next.want) {
			t.Errorf("want an error about %q, got %v", next.want, err)
		}
	}
	write(o.ServiceAccountToken, "the.first.token\n")
	if _, err := a.step(t.Context()); err != nil {
		t.Fatal(err)
	}
	write(o.ServiceAccountToken, "the.second.token\n")
	c.advance(30 * time.Hour)
	if _, err := a.step(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(server.enrolled) != 2 || server.enrolled[0].GetServiceAccountToken() != "the.first.token" || server.enrolled[1].GetServiceAccountToken() != "the.second.token" {
		t.Errorf("sent %v", server.enrolled)
	}
}

// An impostor at renewal: the agent goes on with what it has.
func TestRenewalGoesToOurCollectorOnly(t *testing.T) {
	c := &clock{time: today}
	server := listen(t, c, newAuthority(t))
	o := server.options(t)
	o.JoinToken = server.token()
	settled(t, o)
	impostor := listen(t, c, newAuthority(t))
	o.Collector = impostor.address
	c.advance(17 * time.Hour)
	a := open(t, o)
	if _, err := a.step(t.Context()); err == nil || !strings.Contains(err.Error(), "is none of our CAs") {
		t.Errorf("error %v", err)
	}
	if id, ok := a.Identity(); !ok || id.Name != firstID || len(impostor.renewed) != 0 {
		t.Errorf("identity %v; the impostor answered %d renewals", id, len(impostor.renewed))
	}
	c.advance(-17 * time.Hour) // the old one still opens connections to ours
	conn, err := tls.Dial("tcp", server.address, withH2(a.TLS()))
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	if conn, err := tls.Dial("tcp", impostor.address, withH2(a.TLS())); err == nil {
		conn.Close()
		t.Error("the uplink would speak to an impostor")
	}
}

func withH2(config *tls.Config) *tls.Config {
	config.NextProtos = []string{"h2"}
	return config
}

func TestJoinTokenOfAnotherCollectorIsTold(t *testing.T) {
	c := &clock{time: today}
	server := listen(t, c, newAuthority(t))
	o := server.options(t)
	o.JoinToken = server.token()
	settled(t, o)
	other := tlsconf.NewJoinToken(tlsconf.Pin{7})
	o.JoinToken = &other
	logs := observe(&o)
	a := open(t, o)
	if id, _ := a.Identity(); id.Name != firstID || logs.FilterMessageSnippet("another CA").Len() != 1 {
		t.Errorf("identity %v, log %v", id, logs.All())
	}
}
