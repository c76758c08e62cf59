package enrol

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
)

// Bounds of what a request may bring. An agent's PKCS #10 is some 250 bytes; a
// service account token some 1,200.
const (
	maxRequest             = 4 << 10
	maxServiceAccountToken = 16 << 10
	maxAttribute           = 256
)

var (
	errRequestSize = fmt.Errorf("certificate request is larger than %d bytes", maxRequest)
	errRequestForm = errors.New("certificate request is no PKCS #10")
	errRequestKey  = errors.New("certificate request has a key that is neither ECDSA P-256 nor Ed25519")
	errRequestSign = errors.New("certificate request is not signed with its own key")
)

// publicKey reads the key out of a certificate request whose sender has shown
// that he holds it. All else in the request, names first, is not looked at.
func publicKey(der []byte) (key crypto.PublicKey, hash [sha256.Size]byte, err error) {
	if len(der) > maxRequest {
		return nil, hash, errRequestSize
	}
	request, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, hash, errRequestForm
	}
	var algorithm x509.SignatureAlgorithm
	switch key := request.PublicKey.(type) {
	case *ecdsa.PublicKey:
		if key.Curve != elliptic.P256() {
			return nil, hash, errRequestKey
		}
		algorithm = x509.ECDSAWithSHA256
	case ed25519.PublicKey:
		algorithm = x509.PureEd25519
	default:
		return nil, hash, errRequestKey
	}
	if request.SignatureAlgorithm != algorithm || request.CheckSignature() != nil {
		return nil, hash, errRequestSign
	}
	return request.PublicKey, sha256.Sum256(request.RawSubjectPublicKeyInfo), nil
}
