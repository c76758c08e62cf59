package tlsconf

import (
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Peers says who may be at the other end.
type Peers struct {
	// Cluster that they must be of; empty: any that our roots vouch for.
	Cluster string
	// Roles of which they must have one.
	Roles []Role
	// Optional lets a client in that shows no certificate: then [PeerOf] is an
	// error. One that it shows must be good. For servers.
	Optional bool
	// Grace lets an agent in whose certificate expired no longer ago than this, and is
	// good otherwise. [PeerOf] refuses it all the same: it is nobody but to
	// [LatePeerOf], which is for who renews certificates. For servers.
	Grace time.Duration
}

// Reason is why a certificate was refused: a bounded set, for metrics too.
type Reason string

const (
	Missing       Reason = "missing"
	Expired       Reason = "expired"
	NotYetValid   Reason = "not_yet_valid"
	ForeignCA     Reason = "foreign_ca"
	Invalid       Reason = "invalid"
	NoIdentity    Reason = "no_identity"
	WrongCluster  Reason = "wrong_cluster"
	WrongRole     Reason = "wrong_role"
	PinNotMatched Reason = "pin"
)

// CertificateError says in one line which certificate was refused and why.
type CertificateError struct {
	Reason Reason
	// Certificate is who it claims to be of, with its serial; empty: there is none.
	Certificate string
	Detail      string
}

func (e *CertificateError) Error() string {
	if e.Certificate == "" {
		return e.Detail
	}
	return "certificate of " + e.Certificate + ": " + e.Detail
}

// describe names a certificate that may be anybody's: quoted, and no longer than a line.
func describe(certificate *x509.Certificate) string {
	name := fmt.Sprintf("%.80q", certificate.Subject.String())
	if id, err := IdentityOf(certificate); err == nil {
		name = id.String()
	}
	serial := certificate.SerialNumber.Bytes()
	return fmt.Sprintf("%s (serial %x)", name, serial[:min(len(serial), 20)])
}

// maxChain is a leaf, two intermediates and a root: more only costs signatures to check.
const maxChain = 4

// verify checks a chain, leaf first, that a peer has shown and proven its key of.
func verify(chain []*x509.Certificate, roots *x509.CertPool, peers Peers, usage x509.ExtKeyUsage, now time.Time) error {
	if len(chain) == 0 {
		return &CertificateError{Reason: Missing, Detail: "the peer shows no certificate"}
	}
	leaf := chain[0]
	refuse := func(reason Reason, detail string, args ...any) error {
		return &CertificateError{Reason: reason, Certificate: describe(leaf), Detail: fmt.Sprintf(detail, args...)}
	}
	if len(chain) > maxChain {
		return refuse(Invalid, "comes with %d others, more than %d", len(chain)-1, maxChain-1)
	}
	intermediates := x509.NewCertPool()
	for _, certificate := range chain[1:] {
		intermediates.AddCert(certificate)
	}
	// A late one is judged as of its last moment; those above it as of now.
	late, at := peers.Grace > 0 && expiredFor(leaf, now) > 0 && expiredFor(leaf, now) <= peers.Grace, now
	if late {
		at = leaf.NotAfter
	}
	chains, err := leaf.Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: intermediates, CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{usage},
	})
	if err != nil {
		return explain(leaf, usage, now, err)
	}
	if late && !slices.ContainsFunc(chains, func(chain []*x509.Certificate) bool {
		return !slices.ContainsFunc(chain[1:], func(above *x509.Certificate) bool { return expiredFor(above, now) > 0 })
	}) {
		return refuse(Expired, "expired on %s, and its issuer too: it is %s here", stamp(leaf.NotAfter), stamp(now))
	}
	id, err := IdentityOf(leaf)
	switch {
	case err != nil:
		return refuse(NoIdentity, "%v", err)
	case peers.Cluster != "" && id.Cluster != peers.Cluster:
		return refuse(WrongCluster, "is of cluster %s, this is %s", id.Cluster, peers.Cluster)
	case late && id.Role != Agent:
		return refuse(Expired, "expired on %s, it is %s here", stamp(leaf.NotAfter), stamp(now))
	case !slices.Contains(peers.Roles, id.Role):
		return refuse(WrongRole, "is %s's, wanted is one of %v", article(id.Role), peers.Roles)
	}
	return nil
}

// expiredFor is how long ago a certificate expired; not above 0: it has not.
func expiredFor(certificate *x509.Certificate, now time.Time) time.Duration {
	return now.Sub(certificate.NotAfter)
}

func article(role Role) string {
	if role == Agent {
		return "an " + string(role)
	}
	return "a " + string(role)
}

// explain puts what crypto/x509 says into our words.
func explain(leaf *x509.Certificate, usage x509.ExtKeyUsage, now time.Time, err error) error {
	var invalid x509.CertificateInvalidError
	var unknown x509.UnknownAuthorityError
	e := &CertificateError{Reason: Invalid, Certificate: describe(leaf), Detail: fmt.Sprintf("%.200q", err.Error())}
	switch {
	case errors.As(err, &unknown):
		e.Reason = ForeignCA
		e.Detail = fmt.Sprintf("its issuer %.80q is none of our CAs", leaf.Issuer.String())
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		if invalid.Cert != nil { // it may be the CA's
			e.Certificate = describe(invalid.Cert)
			leaf = invalid.Cert
		}
		e.Reason, e.Detail = Expired, "expired on "+stamp(leaf.NotAfter)+", it is "+stamp(now)+" here"
		if now.Before(leaf.NotBefore) {
			e.Reason, e.Detail = NotYetValid, "not valid before "+stamp(leaf.NotBefore)+", it is "+stamp(now)+" here"
		}
	case errors.As(err, &invalid) && invalid.Reason == x509.IncompatibleUsage:
		e.Reason, e.Detail = WrongRole, "is not for clients"
		if usage == x509.ExtKeyUsageServerAuth {
			e.Detail = "is not for servers"
		}
	}
	return e
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
