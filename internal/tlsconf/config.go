package tlsconf

import (
	"crypto/tls"
	"crypto/x509"
	"time"
)

// ServerConfig asks clients for certificates and verifies them by the roots
// that the source has at that moment.
func ServerConfig(own *Source, peers Peers, now func() time.Time) *tls.Config {
	ask := tls.RequireAnyClientCert
	if peers.Optional {
		ask = tls.RequestClientCert
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		Time:       now,
		// The chain is ours to verify: VerifyConnection runs in every handshake.
		ClientAuth:             ask,
		SessionTicketsDisabled: true, // each handshake meets today's roots
		GetCertificate:         func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return own.certificate() },
		VerifyConnection: func(state tls.ConnectionState) error {
			if peers.Optional && len(state.PeerCertificates) == 0 {
				return nil
			}
			return verify(state.PeerCertificates, own.load().pool, peers, x509.ExtKeyUsageClientAuth, now())
		},
	}
}

// ClientConfig shows the source's certificate, if it has one, and verifies the
// server by its roots and by who it is. The name under which it was dialled
// does not matter: addresses change, the CA is ours alone.
func ClientConfig(own *Source, peers Peers, now func() time.Time) *tls.Config {
	return client(own, now, func(chain []*x509.Certificate) error {
		return verify(chain, own.load().pool, peers, x509.ExtKeyUsageServerAuth, now())
	})
}

// PinnedConfig is for first contact: the server must be a collector by a CA
// whose public key has the pin. Shows no certificate.
func PinnedConfig(pin Pin, now func() time.Time) *tls.Config {
	return client(new(Source), now, func(chain []*x509.Certificate) error { return verifyPinned(chain, pin, now()) })
}

func client(own *Source, now func() time.Time, check func([]*x509.Certificate) error) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		Time:       now,
		// It turns off only the verification by host name: VerifyConnection does its work,
		// before a byte of ours is sent.
		InsecureSkipVerify: true,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			if c := own.load().Certificate; c != nil {
				return c, nil
			}
			return new(tls.Certificate), nil // the server decides about those who have none
		},
		VerifyConnection: func(state tls.ConnectionState) error { return check(state.PeerCertificates) },
	}
}

// verifyPinned trusts the one certificate of the chain that has the pin. What
// else stands in that certificate does not matter, as only the key counts: the
// leaf must be signed with it.
func verifyPinned(chain []*x509.Certificate, pin Pin, now time.Time) error {
	if len(chain) == 0 {
		return verify(chain, nil, Peers{}, x509.ExtKeyUsageServerAuth, now)
	}
	for _, certificate := range chain[1:min(len(chain), maxChain)] {
		if PinOf(certificate) == pin {
			roots := x509.NewCertPool()
			roots.AddCert(certificate)
			return verify(chain, roots, Peers{Roles: []Role{Collector}}, x509.ExtKeyUsageServerAuth, now)
		}
	}
	return &CertificateError{Reason: PinNotMatched, Certificate: describe(chain[0]),
		Detail: "its CA is not the one of the join token: somebody else answers at this address, or the token is another collector's"}
}
