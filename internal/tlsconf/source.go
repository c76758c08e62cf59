package tlsconf

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"sync/atomic"
)

// Material is what one side of a connection shows and trusts.
type Material struct {
	// Certificate with its key; nil: nothing to show.
	Certificate *tls.Certificate
	// Roots are the CAs that peers must come from.
	Roots []*x509.Certificate
}

// Source holds the material of the next handshake. The zero Source has none:
// it shows nothing and trusts nobody.
type Source struct {
	held atomic.Pointer[held]
}

type held struct {
	Material
	pool *x509.CertPool
}

// NewSource returns a source that holds m.
func NewSource(m Material) *Source {
	s := new(Source)
	s.Set(m)
	return s
}

// Set swaps certificate and roots at once. Running connections stay.
func (s *Source) Set(m Material) {
	pool := x509.NewCertPool()
	for _, root := range m.Roots {
		pool.AddCert(root)
	}
	s.held.Store(&held{Material: m, pool: pool})
}

// Material is what the next handshake uses.
func (s *Source) Material() Material { return s.load().Material }

func (s *Source) load() *held {
	if h := s.held.Load(); h != nil {
		return h
	}
	return &held{pool: x509.NewCertPool()}
}

var errNoCertificate = errors.New("there is no certificate to show yet")

func (s *Source) certificate() (*tls.Certificate, error) {
	if c := s.load().Certificate; c != nil {
		return c, nil
	}
	return nil, errNoCertificate
}

// Files are the PEM files of a material.
type Files struct {
	Certificate string // leaf first
	Key         string
	Roots       string
}

// Load reads the files.
func (f Files) Load() (Material, error) {
	certificate, err := ReadFile(f.Certificate)
	if err != nil {
		return Material{}, fmt.Errorf("read certificate: %w", err)
	}
	key, err := ReadFile(f.Key)
	if err != nil {
		return Material{}, fmt.Errorf("read key: %w", err)
	}
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		return Material{}, fmt.Errorf("read %s with key %s: %w", f.Certificate, f.Key, err)
	}
	roots, err := LoadRoots(f.Roots)
	if err != nil {
		return Material{}, err
	}
	return Material{Certificate: &pair, Roots: roots}, nil
}

// Reload puts what the files hold now into a source. With an error (they may
// just be changing) the source keeps what it has.
func (f Files) Reload(s *Source) error {
	m, err := f.Load()
	if err != nil {
		return err
	}
	s.Set(m)
	return nil
}

// LoadRoots reads a PEM file of CA certificates.
func LoadRoots(path string) ([]*x509.Certificate, error) {
	text, err := ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read roots: %w", err)
	}
	roots, err := ParseCertificates(text)
	if err != nil {
		return nil, fmt.Errorf("read roots of %s: %w", path, err)
	}
	for _, root := range roots {
		if !root.IsCA {
			return nil, fmt.Errorf("read roots of %s: certificate of %s is no CA's", path, describe(root))
		}
	}
	return roots, nil
}
