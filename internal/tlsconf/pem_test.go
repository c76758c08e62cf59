package tlsconf

import (
	"bytes"
	"crypto/x509"
	"testing"
)

// FuzzPEM: what is taken for certificates or a key comes back as it was written.
func FuzzPEM(f *testing.F) {
	a := newAuthority(f, "harbour")
	key, err := EncodeKey(a.key)
	if err != nil {
		f.Fatal(err)
	}
	certificate := EncodeCertificates(a.certificate)
	f.Add(key)
	f.Add(certificate)
	f.Add(append(certificate, certificate...))
	f.Add(append(certificate, key...))
	f.Add([]byte("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if all, err := ParseCertificates(text); err == nil {
			again, err := ParseCertificates(EncodeCertificates(all...))
			if err != nil || len(again) != len(all) {
				t.Fatalf("%d certificates, then %d, %v", len(all), len(again), err)
			}
			for i := range all {
				if !bytes.Equal(all[i].Raw, again[i].Raw) {
					t.Errorf("certificate %d is another one", i)
				}
				_, _ = IdentityOf(all[i]) // any certificate may be asked
				_ = describe(all[i])
			}
		}
		if key, err := ParseKey(text); err == nil {
			if _, err := x509.MarshalPKIXPublicKey(key.Public()); err != nil {
				t.Errorf("a key without a public one: %v", err)
			}
		}
	})
}
