package enrol

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"testing"
)

func ed(t testing.TB) crypto.Signer {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestPublicKey(t *testing.T) {
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	modulus, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	key := p256(t)
	named, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		Subject: pkix.Name{CommonName: "seawall://prod/collector"}, DNSNames: []string{"collector"},
	}, key)
	if err != nil {
		t.Fatal(err)
	}
	wide, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{SignatureAlgorithm: x509.ECDSAWithSHA512}, key)
	if err != nil {
		t.Fatal(err)
	}
	good := request(t, key)
	unsigned := append([]byte(nil), good...)
	unsigned[len(unsigned)-1] ^= 1
	for _, test := range []struct {
		name string
		der  []byte
		want error
	}{
		{"P-256", good, nil},
		{"Ed25519", request(t, ed(t)), nil},
		{"with names", named, nil},
		{"RSA", request(t, modulus), errRequestKey},
		{"P-384", request(t, p384), errRequestKey},
		{"other hash", wide, errRequestSign},
		{"not signed", unsigned, errRequestSign},
		{"nothing", nil, errRequestForm},
		{"garbage", []byte("-----BEGIN CERTIFICATE REQUEST-----"), errRequestForm},
		{"more behind", append(append([]byte(nil), good...), 0), errRequestForm},
		{"oversized", make([]byte, maxRequest+1), errRequestSize},
	} {
		if _, _, err := publicKey(test.der); !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", test.name, err, test.want)
		}
	}
	for i := range good {
		if _, _, err := publicKey(good[:i]); err == nil {
			t.Errorf("the first %d bytes of %d are taken", i, len(good))
		}
	}
}

func FuzzPublicKey(f *testing.F) {
	f.Add(request(f, p256(f)))
	f.Add(request(f, ed(f)))
	f.Fuzz(func(t *testing.T, der []byte) {
		key, hash, err := publicKey(der)
		if err != nil {
			if key != nil {
				t.Error("a key and an error")
			}
			return
		}
		switch key := key.(type) {
		case ed25519.PublicKey:
		case *ecdsa.PublicKey:
			if key.Curve != elliptic.P256() {
				t.Errorf("curve %v", key.Curve)
			}
		default:
			t.Errorf("key %T", key)
		}
		if _, again, err := publicKey(der); err != nil || again != hash {
			t.Error("the same request is another one the second time")
		}
	})
}
