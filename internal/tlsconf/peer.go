package tlsconf

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"time"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
)

// Peer is who is at the other end of a call.
type Peer struct {
	Identity
	Certificate *x509.Certificate
}

var errNoTLS = errors.New("the connection is not TLS")

// PeerOf is who calls, by the certificate that was verified in the handshake
// ([ServerConfig]); it must have one of the roles. Certificates can expire on
// running connections: callers for whom that matters compare.
func PeerOf(ctx context.Context, roles ...Role) (Peer, error) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return Peer{}, errNoTLS
	}
	return PeerOfConnection(p.AuthInfo, roles...)
}

// LatePeerOf is PeerOf that takes an agent, too, who came with an expired certificate
// within [Peers].Grace. Revocation apart, that may do one thing: renew it.
func LatePeerOf(ctx context.Context, roles ...Role) (Peer, error) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return Peer{}, errNoTLS
	}
	if late, ok := p.AuthInfo.(lateInfo); ok {
		return peerOf(late.TLSInfo, roles)
	}
	return PeerOfConnection(p.AuthInfo, roles...)
}

// PeerOfConnection is PeerOf by what a handshake left ([ServerCredentials]).
func PeerOfConnection(info credentials.AuthInfo, roles ...Role) (Peer, error) {
	switch info := info.(type) {
	case credentials.TLSInfo:
		return peerOf(info, roles)
	case lateInfo:
		leaf := info.State.PeerCertificates[0]
		return Peer{}, &CertificateError{Reason: Expired, Certificate: describe(leaf), Detail: "expired on " + stamp(leaf.NotAfter) + ": it can only be renewed"}
	}
	return Peer{}, errNoTLS
}

// lateInfo is of a connection whose peer came with an expired certificate. It is a type of
// its own, so that whoever does not know of it takes the peer for nobody.
type lateInfo struct{ credentials.TLSInfo }

func peerOf(info credentials.TLSInfo, roles []Role) (Peer, error) {
	if len(info.State.PeerCertificates) == 0 {
		return Peer{}, &CertificateError{Reason: Missing, Detail: "the peer shows no certificate"}
	}
	leaf := info.State.PeerCertificates[0]
	id, err := IdentityOf(leaf)
	if err != nil {
		return Peer{}, &CertificateError{Reason: NoIdentity, Certificate: describe(leaf), Detail: err.Error()}
	}
	if !slices.Contains(roles, id.Role) {
		return Peer{}, &CertificateError{Reason: WrongRole, Certificate: describe(leaf),
			Detail: fmt.Sprintf("is %s's, wanted is one of %v", article(id.Role), roles)}
	}
	return Peer{Identity: id, Certificate: leaf}, nil
}

// ServerCredentials are credentials.NewTLS that tell of handshakes that failed:
// gRPC itself says so nowhere, and the client learns no more than "bad
// certificate". Anybody can make refused be called often, at once from many
// goroutines. The configuration is one of [ServerConfig].
func ServerCredentials(config *tls.Config, refused func(from net.Addr, err error)) credentials.TransportCredentials {
	return &telling{TransportCredentials: credentials.NewTLS(config), now: config.Time, refused: refused}
}

type telling struct {
	credentials.TransportCredentials
	now     func() time.Time
	refused func(net.Addr, error)
}

func (t *telling) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	comer := &comer{Conn: conn}
	secured, info, err := t.TransportCredentials.ServerHandshake(comer)
	comer.admitted = err == nil
	if err != nil {
		t.refused(conn.RemoteAddr(), err)
		return secured, info, err
	}
	if shown, ok := info.(credentials.TLSInfo); ok {
		if chain := shown.State.PeerCertificates; len(chain) > 0 && expiredFor(chain[0], t.now()) > 0 {
			info = lateInfo{shown}
		}
	}
	return secured, info, nil
}

const (
	lingerTime  = time.Second
	lingerBytes = 16 << 10
)

// comer is a connection that lets its peer read why it was refused before it is closed. In
// TLS 1.3 a client has finished its handshake by then and writes: to close on what was not
// read would reset the connection, and all that the client learned would be "broken pipe".
type comer struct {
	net.Conn
	admitted bool // set before anybody else has the connection
}

func (c *comer) Close() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok && !c.admitted &&
		half.CloseWrite() == nil && c.SetReadDeadline(time.Now().Add(lingerTime)) == nil {
		_, _ = io.CopyN(io.Discard, c.Conn, lingerBytes) // it ends as it likes: the connection is over
	}
	return c.Conn.Close()
}

func (t *telling) Clone() credentials.TransportCredentials {
	return &telling{TransportCredentials: t.TransportCredentials.Clone(), now: t.now, refused: t.refused}
}
