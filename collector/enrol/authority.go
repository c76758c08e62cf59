package enrol

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"net"
	"net/url"
	"time"

	"github.com/seawall-security/seawall/internal/tlsconf"
)

const (
	// How far a peer's clock may be behind ours for a new certificate to be good there.
	backdate = 5 * time.Minute
	// Long enough to outlive the installation: another CA means enrolling all again.
	authorityLifetime = 10 * 365 * 24 * time.Hour
	// Short, because there are no revocation lists: a revoked agent just cannot renew.
	agentLifetime     = 24 * time.Hour
	collectorLifetime = 7 * 24 * time.Hour
	redactionKeyBytes = 32
)

// Authority is the CA of a cluster.
type Authority struct {
	cluster      string
	certificate  *x509.Certificate
	key          crypto.Signer
	redactionKey []byte
	now          func() time.Time
}

// Cluster is the name that certificates carry.
func (a *Authority) Cluster() string { return a.cluster }

// Pin is by what agents know this CA before they have its certificate.
func (a *Authority) Pin() tlsconf.Pin { return tlsconf.PinOf(a.certificate) }

// Roots are what peers are to trust.
func (a *Authority) Roots() []*x509.Certificate { return []*x509.Certificate{a.certificate} }

// RedactionKey keys what redaction masks: 32 bytes, the cluster's secret.
func (a *Authority) RedactionKey() []byte { return append([]byte(nil), a.redactionKey...) }

// makeAuthority makes all that an Authority is, in memory.
func makeAuthority(cluster string, now func() time.Time) (*Authority, error) {
	key, err := newKey()
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		Subject:               pkix.Name{Organization: []string{"Seawall"}, CommonName: cluster},
		NotBefore:             now().Add(-backdate),
		NotAfter:              now().Add(authorityLifetime),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true, // nobody below signs
	}
	certificate, err := sign(template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	a := &Authority{cluster: cluster, certificate: certificate, key: key, now: now}
	a.redactionKey = make([]byte, redactionKeyBytes)
	_, _ = rand.Read(a.redactionKey) // never fails
	return a, nil
}

func newKey() (*ecdsa.PrivateKey, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) }

// sign makes a certificate with a random serial number.
func sign(template, parent *x509.Certificate, public crypto.PublicKey, key crypto.Signer) (*x509.Certificate, error) {
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, key)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

// leaf is what a certificate says beside its key.
type leaf struct {
	identity tlsconf.Identity
	usage    x509.ExtKeyUsage
	lifetime time.Duration
	// For peers that go by names; ours go by the identity.
	hosts     []string
	addresses []net.IP
}

func (a *Authority) issue(l leaf, public crypto.PublicKey) (*x509.Certificate, error) {
	uri, err := l.identity.URI()
	if err != nil {
		return nil, err
	}
	name := l.identity.Name
	if name == "" {
		name = string(l.identity.Role)
	}
	now := a.now()
	end := now.Add(l.lifetime)
	if end.After(a.certificate.NotAfter) {
		end = a.certificate.NotAfter
	}
	return sign(&x509.Certificate{
		Subject:               pkix.Name{CommonName: name},
		URIs:                  []*url.URL{uri},
		DNSNames:              l.hosts,
		IPAddresses:           l.addresses,
		NotBefore:             now.Add(-backdate),
		NotAfter:              end,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{l.usage},
		BasicConstraintsValid: true,
	}, a.certificate, public, a.key)
}

func (a *Authority) issueAgent(id string, public crypto.PublicKey) (*x509.Certificate, error) {
	return a.issue(leaf{
		identity: tlsconf.Identity{Cluster: a.cluster, Role: tlsconf.Agent, Name: id},
		usage:    x509.ExtKeyUsageClientAuth,
		lifetime: agentLifetime,
	}, public)
}
