package auditrule

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
)

// maxCertificateRequest bounds what is parsed of one, as base64.
const maxCertificateRequest = 64 << 10

// certificateRequestOf says for whom a certificate is asked (PKCS #10, PEM or DER, in
// base64, as a CertificateSigningRequest carries it); nil: it cannot be read.
func certificateRequestOf(text string) any {
	if len(text) > maxCertificateRequest {
		return nil
	}
	data, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil
	}
	if block, _ := pem.Decode(data); block != nil {
		data = block.Bytes
	}
	asked, err := x509.ParseCertificateRequest(data)
	if err != nil {
		return nil
	}
	organizations := make([]any, len(asked.Subject.Organization))
	for i, name := range asked.Subject.Organization {
		organizations[i] = name
	}
	return map[string]any{"common_name": asked.Subject.CommonName, "organizations": organizations}
}
