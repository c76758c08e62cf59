package enrol

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	"github.com/seawall-security/seawall/internal/tlsconf"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

const (
	callTimeout = 30 * time.Second
	maxAnswer   = 64 << 10 // some 2 KiB are usual
)

func newKey() (crypto.Signer, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) }

// certificateRequest carries a key and no names: the collector gives those.
func certificateRequest(key crypto.Signer) ([]byte, error) {
	return x509.CreateCertificateRequest(rand.Reader, new(x509.CertificateRequest), key)
}

// call runs one call on a connection of its own. Nothing is sent before the
// handshake is done, and with it what the configuration asks of the collector.
// An error is a [refusedError] if it will not get better by itself.
func (a *Agent) call(ctx context.Context, config *tls.Config, do func(context.Context, sensorv1.EnrolmentClient) error) (err error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	handshake := &witness{TransportCredentials: credentials.NewTLS(config), failed: new(atomic.Bool)}
	conn, err := grpc.NewClient(a.options.Collector,
		grpc.WithTransportCredentials(handshake),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxAnswer)),
		grpc.WithDisableServiceConfig()) // the name service has no say
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	if err = do(ctx, sensorv1.NewEnrolmentClient(conn)); err != nil {
		if code := status.Code(err); handshake.failed.Load() || code == codes.Unauthenticated || code == codes.PermissionDenied {
			return &refusedError{err}
		}
	}
	return err
}

// enrol gets the first certificate, or the first after the last one ran out.
func (a *Agent) enrol(ctx context.Context) (*state, error) {
	request := &sensorv1.EnrolRequest{Node: a.options.Node, MachineId: a.options.MachineID}
	config, err := a.introduce(request)
	if err != nil {
		return nil, err
	}
	key, err := pendingKey(a.options.StateDir)
	if err != nil {
		return nil, err
	}
	if request.CertificateRequestDer, err = certificateRequest(key); err != nil {
		return nil, err
	}
	var answer *sensorv1.EnrolResponse
	err = a.call(ctx, config, func(ctx context.Context, client sensorv1.EnrolmentClient) (err error) {
		answer, err = client.Enrol(ctx, request)
		return err
	})
	if err != nil {
		return nil, err
	}
	s, err := a.accept(answer, key)
	if err != nil {
		return nil, err
	}
	if token := a.options.JoinToken; token != nil && !hasPin(s.roots, token.Pin) {
		return nil, errors.New("answer: the CA of the join token is not among the roots")
	}
	return s, nil
}

// introduce puts the proof into a request and says whom it may be shown.
func (a *Agent) introduce(request *sensorv1.EnrolRequest) (*tls.Config, error) {
	if token := a.options.JoinToken; token != nil {
		request.Proof = &sensorv1.EnrolRequest_JoinToken{JoinToken: token.Proof()}
		return tlsconf.PinnedConfig(token.Pin, a.options.Now), nil
	}
	// Both files are read each time: the kubelet renews the token, and people mend roots.
	roots, err := tlsconf.LoadRoots(a.options.Roots)
	if err != nil {
		return nil, err
	}
	token, err := tlsconf.ReadFile(a.options.ServiceAccountToken)
	if err != nil {
		return nil, fmt.Errorf("read service account token: %w", err)
	}
	request.Proof = &sensorv1.EnrolRequest_ServiceAccountToken{ServiceAccountToken: strings.TrimSpace(string(token))}
	own := tlsconf.NewSource(tlsconf.Material{Roots: roots})
	return tlsconf.ClientConfig(own, tlsconf.Peers{Roles: []tlsconf.Role{tlsconf.Collector}}, a.options.Now), nil
}

// renew gets a certificate for a new key. An answer that gets lost costs
// nothing: the old certificate still holds, or can still be renewed.
func (a *Agent) renew(ctx context.Context, old *state) (*state, error) {
	key, err := newKey()
	if err != nil {
		return nil, err
	}
	der, err := certificateRequest(key)
	if err != nil {
		return nil, err
	}
	var answer *sensorv1.EnrolResponse
	err = a.call(ctx, a.config(old), func(ctx context.Context, client sensorv1.EnrolmentClient) (err error) {
		answer, err = client.Renew(ctx, &sensorv1.RenewRequest{CertificateRequestDer: der})
		return err
	})
	if err != nil {
		return nil, err
	}
	s, err := a.accept(answer, key)
	if err != nil {
		return nil, err
	}
	if s.identity != old.identity {
		return nil, fmt.Errorf("answer: the certificate is %s's, not ours, %s", s.identity, old.identity)
	}
	return s, nil
}

// accept makes a state of an answer; nothing of it counts unless all of it holds.
func (a *Agent) accept(answer *sensorv1.EnrolResponse, key crypto.Signer) (*state, error) {
	s := &state{key: key, redactionKey: answer.GetRedactionKey()}
	if len(answer.GetCertificatesDer()) > maxChain || len(answer.GetRootsDer()) > maxRoots {
		return nil, errors.New("answer: too many certificates")
	}
	for _, der := range answer.GetCertificatesDer() {
		if err := appendCertificate(&s.chain, der); err != nil {
			return nil, fmt.Errorf("answer: read certificate: %w", err)
		}
	}
	for _, der := range answer.GetRootsDer() {
		if err := appendCertificate(&s.roots, der); err != nil {
			return nil, fmt.Errorf("answer: read root: %w", err)
		}
	}
	if err := s.complete(); err != nil {
		return nil, fmt.Errorf("answer: %w", err)
	}
	if s.identity.Name != answer.GetAgentId() || s.identity.Cluster != answer.GetCluster() {
		return nil, fmt.Errorf("answer: the certificate is %s's, the rest is another agent's", s.identity)
	}
	now := a.options.Now()
	if now.After(s.leaf().NotAfter) {
		return nil, fmt.Errorf("answer: the certificate ends on %s, and it is %s here: is this machine's clock right?",
			stamp(s.leaf().NotAfter), stamp(now))
	}
	return s, nil
}

func hasPin(roots []*x509.Certificate, pin tlsconf.Pin) bool {
	return slices.ContainsFunc(roots, func(root *x509.Certificate) bool { return tlsconf.PinOf(root) == pin })
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
