package enrol

import (
	"bytes"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/seawall-security/seawall/internal/tlsconf"
)

const (
	identityFile = "identity.pem"
	pendingFile  = "enrol.key"

	blockRoot         = "SEAWALL ROOT CERTIFICATE" // apart from the agent's own chain
	blockRedactionKey = "SEAWALL REDACTION KEY"

	redactionKeyBytes = 32
	maxChain          = 3
	maxRoots          = 8
)

// state is what an enrolled agent has. It does not change.
type state struct {
	identity     tlsconf.Identity
	key          crypto.Signer
	chain        []*x509.Certificate // leaf first
	roots        []*x509.Certificate
	redactionKey []byte
}

func (s *state) leaf() *x509.Certificate { return s.chain[0] }

func (s *state) material() tlsconf.Material {
	certificate := &tls.Certificate{PrivateKey: s.key, Leaf: s.leaf()}
	for _, c := range s.chain {
		certificate.Certificate = append(certificate.Certificate, c.Raw)
	}
	return tlsconf.Material{Certificate: certificate, Roots: s.roots}
}

// complete checks that the parts belong together and fills in whose they are.
// What day it is does not matter here.
func (s *state) complete() error {
	if len(s.chain) < 1 || len(s.chain) > maxChain || len(s.roots) < 1 || len(s.roots) > maxRoots {
		return fmt.Errorf("%d certificates and %d roots: want 1 to %d and 1 to %d", len(s.chain), len(s.roots), maxChain, maxRoots)
	}
	if len(s.redactionKey) != redactionKeyBytes {
		return fmt.Errorf("the redaction key has %d bytes, not %d", len(s.redactionKey), redactionKeyBytes)
	}
	leaf := s.leaf()
	public, ok := leaf.PublicKey.(interface{ Equal(crypto.PublicKey) bool })
	if s.key == nil || !ok || !public.Equal(s.key.Public()) {
		return errors.New("the certificate is not for our key")
	}
	var err error
	if s.identity, err = tlsconf.IdentityOf(leaf); err != nil {
		return err
	}
	if s.identity.Role != tlsconf.Agent {
		return fmt.Errorf("the certificate of %s is no agent's", s.identity)
	}
	roots, intermediates := x509.NewCertPool(), x509.NewCertPool()
	for _, root := range s.roots {
		if !root.IsCA {
			return errors.New("a root is no CA's certificate")
		}
		roots.AddCert(root)
	}
	for _, c := range s.chain[1:] {
		intermediates.AddCert(c)
	}
	_, err = leaf.Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: intermediates, CurrentTime: leaf.NotBefore,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	return err
}

// renewAt is two thirds of the certificate's life.
func (s *state) renewAt() time.Time {
	leaf := s.leaf()
	return leaf.NotBefore.Add(leaf.NotAfter.Sub(leaf.NotBefore) * 2 / 3)
}

func (s *state) encode() ([]byte, error) {
	text, err := tlsconf.EncodeKey(s.key)
	if err != nil {
		return nil, err
	}
	text = append(text, tlsconf.EncodeCertificates(s.chain...)...)
	for _, root := range s.roots {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: blockRoot, Bytes: root.Raw})...)
	}
	return append(text, pem.EncodeToMemory(&pem.Block{Type: blockRedactionKey, Bytes: s.redactionKey})...), nil
}

// parseState reads what encode wrote.
func parseState(text []byte) (*state, error) {
	s := new(state)
	for len(bytes.TrimSpace(text)) > 0 {
		block, rest := pem.Decode(text)
		if block == nil {
			return nil, errors.New("what follows is no PEM")
		}
		var err error
		switch block.Type {
		case tlsconf.BlockKey:
			s.key, err = tlsconf.ParseKey(pem.EncodeToMemory(block))
		case tlsconf.BlockCertificate:
			err = appendCertificate(&s.chain, block.Bytes)
		case blockRoot:
			err = appendCertificate(&s.roots, block.Bytes)
		case blockRedactionKey:
			s.redactionKey = block.Bytes
		default:
			err = fmt.Errorf("a block of type %.40q does not belong there", block.Type)
		}
		if err != nil {
			return nil, err
		}
		text = rest
	}
	return s, s.complete()
}

func appendCertificate(list *[]*x509.Certificate, der []byte) error {
	certificate, err := x509.ParseCertificate(der)
	*list = append(*list, certificate)
	return err
}

// readState returns nil where no identity is kept.
func readState(folder string) (*state, error) {
	path := filepath.Join(folder, identityFile)
	text, err := tlsconf.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	s, err := parseState(text)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return s, nil
}

// keep writes the identity, after which the key of the enrolment has done its work.
func (s *state) keep(folder string) error {
	text, err := s.encode()
	if err != nil {
		return err
	}
	if err := tlsconf.WriteSecret(filepath.Join(folder, identityFile), text); err != nil {
		return err
	}
	return dropPending(folder)
}

// pendingKey is the key of an enrolment whose answer has not come, or a new one.
func pendingKey(folder string) (crypto.Signer, error) {
	path := filepath.Join(folder, pendingFile)
	if text, err := tlsconf.ReadFile(path); err == nil {
		if key, err := tlsconf.ParseKey(text); err == nil {
			return key, nil
		}
	} // one that cannot be read is of no use: what it was sent for is lost
	key, err := newKey()
	if err != nil {
		return nil, err
	}
	text, err := tlsconf.EncodeKey(key)
	if err != nil {
		return nil, err
	}
	return key, tlsconf.WriteSecret(path, text)
}

func dropPending(folder string) error {
	err := os.Remove(filepath.Join(folder, pendingFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
