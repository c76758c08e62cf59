package tlsconf

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"slices"

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
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok {
		return Peer{}, errNoTLS
	}
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
// goroutines.
func ServerCredentials(config *tls.Config, refused func(from net.Addr, err error)) credentials.TransportCredentials {
	return &telling{TransportCredentials: credentials.NewTLS(config), refused: refused}
}

type telling struct {
	credentials.TransportCredentials
	refused func(net.Addr, error)
}

func (t *telling) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	secured, info, err := t.TransportCredentials.ServerHandshake(conn)
	if err != nil {
		t.refused(conn.RemoteAddr(), err)
	}
	return secured, info, err
}

func (t *telling) Clone() credentials.TransportCredentials {
	return &telling{TransportCredentials: t.TransportCredentials.Clone(), refused: t.refused}
}
