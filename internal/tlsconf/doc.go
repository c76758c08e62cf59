// Package tlsconf says who is who between the parts of Seawall and builds TLS
// configurations from it.
//
// An [Identity] is one URI in a certificate; nothing else in a certificate
// names anybody. Connections are TLS 1.3 with certificates on both sides, but
// for enrolment, where a client has none yet ([Peers].Optional). Peers are
// verified here, by our roots, cluster and role ([CertificateError] says what
// is wrong in one line), in every handshake: sessions are not resumed.
//
// A [Source] holds the certificate and the roots that the next handshake uses.
// Setting another one swaps both at once and leaves running connections alone;
// who keeps connections open for long looks at [Peer].Certificate's end.
//
// A [Pin] is the hash of a CA's public key: by it an agent that has nothing but
// a [JoinToken] knows the collector. A JoinToken prints without its secret.
//
// All values are safe for use by any goroutine; a [Material] must not change
// once a Source has it.
package tlsconf
