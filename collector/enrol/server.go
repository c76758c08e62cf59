package enrol

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"regexp"
	"time"

	"go.uber.org/zap"

	"github.com/seawall-security/seawall/internal/obs"
	"github.com/seawall-security/seawall/internal/tlsconf"
)

const (
	// The longest sleep: a clock that is set, or a machine that was suspended, is
	// noticed within it.
	longestWait = time.Hour
	retryWait   = time.Minute
)

// Wait sleeps for a time and returns the context's error if that ends first.
type Wait func(context.Context, time.Duration) error

// Sleep is the Wait of real time.
func Sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Server keeps the collector's own certificate. Its key never leaves memory:
// peers know the collector by the CA.
type Server struct {
	authority *Authority
	hosts     []string
	addresses []net.IP
	source    tlsconf.Source
	wait      Wait
	log       *zap.Logger
}

var hostName = regexp.MustCompile(`^(\*\.)?([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)*[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$`)

// CheckName says what is wrong with a name for a server's certificate.
func CheckName(name string) error {
	if net.ParseIP(name) == nil && (len(name) > 253 || !hostName.MatchString(name)) {
		return fmt.Errorf("%.80q is neither a host name nor an address", name)
	}
	return nil
}

// NewServer makes a certificate for a collector under names: host names and
// addresses by which clients that are not ours may know it.
func NewServer(authority *Authority, names []string, wait Wait, log *zap.Logger) (*Server, error) {
	s := &Server{authority: authority, wait: wait, log: log.Named("enrol")}
	for _, name := range names {
		if err := CheckName(name); err != nil {
			return nil, fmt.Errorf("make server certificate: %w", err)
		}
		if address := net.ParseIP(name); address != nil {
			s.addresses = append(s.addresses, address)
		} else {
			s.hosts = append(s.hosts, name)
		}
	}
	return s, s.renew()
}

// Source is what the collector shows and trusts.
func (s *Server) Source() *tlsconf.Source { return &s.source }

func (s *Server) renew() error {
	key, err := newKey()
	if err != nil {
		return fmt.Errorf("make server certificate: %w", err)
	}
	certificate, err := s.authority.issue(leaf{
		identity: tlsconf.Identity{Cluster: s.authority.cluster, Role: tlsconf.Collector},
		usage:    x509.ExtKeyUsageServerAuth, lifetime: collectorLifetime,
		hosts: s.hosts, addresses: s.addresses,
	}, key.Public())
	if err != nil {
		return fmt.Errorf("make server certificate: %w", err)
	}
	s.source.Set(tlsconf.Material{
		Certificate: &tls.Certificate{
			// With the root: those who have only its pin need to see it.
			Certificate: [][]byte{certificate.Raw, s.authority.certificate.Raw},
			PrivateKey:  key,
			Leaf:        certificate,
		},
		Roots: s.authority.Roots(),
	})
	s.log.Info("made server certificate", zap.String(obs.FieldSerial, certificate.SerialNumber.Text(16)),
		zap.Time(obs.FieldNotAfter, certificate.NotAfter), zap.Strings("hosts", s.hosts), zap.Any("addresses", s.addresses))
	return nil
}

// Run renews the certificate at two thirds of its life until ctx is done.
func (s *Server) Run(ctx context.Context) error {
	for {
		wait := retryWait
		if left := s.left(); left > 0 {
			wait = min(left, longestWait)
		} else if err := s.renew(); err != nil {
			s.log.Error("server certificate not renewed", zap.Error(err))
		} else {
			continue
		}
		if err := s.wait(ctx, wait); err != nil {
			return nil // ctx is done
		}
	}
}

// left is how long the certificate is not due yet.
func (s *Server) left() time.Duration {
	certificate := s.source.Material().Certificate.Leaf
	life := certificate.NotAfter.Sub(certificate.NotBefore)
	return certificate.NotBefore.Add(life * 2 / 3).Sub(s.authority.now())
}
