package enrol

import (
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"github.com/seawall-security/seawall/internal/tlsconf"
)

// ClientLifetime is how long a client's certificate holds unless told
// otherwise. Nobody renews it by itself: a quarter is what people can remember.
const (
	ClientLifetime    = 90 * 24 * time.Hour
	maxClientLifetime = 2 * 365 * 24 * time.Hour
)

// ClientFiles are what a SIEM reader or an operator needs, in PEM.
type ClientFiles struct {
	Certificate []byte
	Key         []byte
	Roots       []byte
	// Made is in whole seconds, rounded down.
	Made     time.Time
	NotAfter time.Time
}

var errClientLifetime = errors.New("lifetime must be above 0 and at most two years")

// IssueClient makes key and certificate of a client. The key is not kept here.
func (a *Authority) IssueClient(name string, access tlsconf.Access, lifetime time.Duration) (ClientFiles, error) {
	if lifetime <= 0 || lifetime > maxClientLifetime {
		return ClientFiles{}, fmt.Errorf("issue client certificate: %w", errClientLifetime)
	}
	key, err := newKey()
	if err != nil {
		return ClientFiles{}, fmt.Errorf("issue client certificate: %w", err)
	}
	certificate, err := a.issue(leaf{
		identity: tlsconf.Identity{Cluster: a.cluster, Role: tlsconf.Client, Name: name, Access: access},
		usage:    x509.ExtKeyUsageClientAuth,
		lifetime: lifetime,
	}, key.Public())
	if err != nil {
		return ClientFiles{}, fmt.Errorf("issue client certificate: %w", err)
	}
	text, err := tlsconf.EncodeKey(key)
	if err != nil {
		return ClientFiles{}, fmt.Errorf("issue client certificate: %w", err)
	}
	return ClientFiles{
		Certificate: tlsconf.EncodeCertificates(certificate),
		Key:         text,
		Roots:       tlsconf.EncodeCertificates(a.certificate),
		Made:        made(certificate),
		NotAfter:    certificate.NotAfter,
	}, nil
}
