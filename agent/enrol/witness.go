package enrol

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/credentials"

	"github.com/seawall-security/seawall/internal/tlsconf"
)

// refusedError is an answer that asking again does not change: one side does not take
// the other's certificate, or the collector says no.
type refusedError struct{ err error }

func (e *refusedError) Error() string { return e.err.Error() }
func (e *refusedError) Unwrap() error { return e.err }

// witness are credentials that note a handshake in which a certificate was refused. gRPC
// itself gives that no other code than a collector that is away. In TLS 1.3 the client is
// done before the server has looked at its certificate: the refusal comes with the first read.
type witness struct {
	credentials.TransportCredentials
	failed *atomic.Bool
}

func (w *witness) ClientHandshake(ctx context.Context, authority string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := w.TransportCredentials.ClientHandshake(ctx, authority, raw)
	if err != nil {
		w.note(err)
		return nil, nil, err
	}
	return &witnessed{conn, w}, info, nil
}

func (w *witness) Clone() credentials.TransportCredentials {
	return &witness{w.TransportCredentials.Clone(), w.failed}
}

func (w *witness) note(err error) {
	var refused *tlsconf.CertificateError
	var told *net.OpError
	if errors.As(err, &refused) || errors.As(err, &told) && told.Op == "remote error" { // crypto/tls's word for an alert
		w.failed.Store(true)
	}
}

// drain is how long a reason may take that was sent before the connection was closed.
const drain = time.Second

type witnessed struct {
	net.Conn
	witness *witness
}

func (c *witnessed) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if err != nil {
		c.witness.note(err)
	}
	return n, err
}

// Write may find the connection closed before anybody has read why.
func (c *witnessed) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	if err != nil && c.Conn.SetReadDeadline(time.Now().Add(drain)) == nil {
		var rest [1]byte
		_, _ = c.Read(rest[:]) // it is over either way
	}
	return n, err
}
