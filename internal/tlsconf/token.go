package tlsconf

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

// Pin is the SHA-256 of a CA's SubjectPublicKeyInfo.
type Pin [sha256.Size]byte

// PinOf is the pin of a CA's certificate.
func PinOf(ca *x509.Certificate) Pin { return sha256.Sum256(ca.RawSubjectPublicKeyInfo) }

func (p Pin) String() string { return base64.RawURLEncoding.EncodeToString(p[:]) }

const (
	tokenVersion = "seawall1"
	idBytes      = 8
	secretBytes  = 32
	// MaxProof is above any id with its secret.
	MaxProof = 2*idBytes + 1 + (secretBytes*8+5)/6
)

// Strict: of several spellings of the same bytes only one is taken.
var base64URL = base64.RawURLEncoding.Strict()

// JoinToken is what a person carries from the collector to an agent: one
// string, seawall1.<id>.<secret>.<pin>. Only Reveal and Proof show the secret.
type JoinToken struct {
	ID     string // 16 hexadecimal digits; no secret
	Pin    Pin
	secret [secretBytes]byte
}

// NewJoinToken makes up an id and a secret.
func NewJoinToken(pin Pin) JoinToken {
	var id [idBytes]byte
	t := JoinToken{Pin: pin}
	_, _ = rand.Read(id[:]) // never fails
	_, _ = rand.Read(t.secret[:])
	t.ID = hex.EncodeToString(id[:])
	return t
}

// Errors never quote a token: most of it may be right.
var (
	errTokenForm   = errors.New("join token: want " + tokenVersion + ".<id>.<secret>.<hash of the CA's key>")
	errTokenID     = errors.New("join token: its id is not 16 hexadecimal digits in small letters")
	errTokenSecret = errors.New("join token: its secret is cut or mistyped")
	errTokenPin    = errors.New("join token: the hash of the CA's key is cut or mistyped")
	errProofForm   = errors.New("join token: want <id>.<secret>")
)

// ParseJoinToken takes exactly what Reveal prints.
func ParseJoinToken(text string) (JoinToken, error) {
	parts := strings.SplitN(text, ".", 5)
	if len(parts) != 4 || parts[0] != tokenVersion {
		return JoinToken{}, errTokenForm
	}
	t := JoinToken{ID: parts[1]}
	if err := checkTokenID(t.ID); err != nil {
		return JoinToken{}, err
	}
	if !decode(t.secret[:], parts[2]) {
		return JoinToken{}, errTokenSecret
	}
	if !decode(t.Pin[:], parts[3]) {
		return JoinToken{}, errTokenPin
	}
	return t, nil
}

// ParseProof takes exactly what Proof prints: the id, and the hash that the
// collector keeps of the secret.
func ParseProof(proof string) (id string, secretHash [sha256.Size]byte, err error) {
	if len(proof) > MaxProof {
		return "", secretHash, errProofForm
	}
	id, text, ok := strings.Cut(proof, ".")
	if !ok {
		return "", secretHash, errProofForm
	}
	if err := checkTokenID(id); err != nil {
		return "", secretHash, err
	}
	var secret [secretBytes]byte
	if !decode(secret[:], text) {
		return "", secretHash, errTokenSecret
	}
	return id, sha256.Sum256(secret[:]), nil
}

func checkTokenID(id string) error {
	if raw, err := hex.DecodeString(id); err != nil || len(raw) != idBytes || strings.ToLower(id) != id {
		return errTokenID
	}
	return nil
}

// decode fills all of into, or nothing is right. The length comes first: it
// bounds the work, and line breaks, which the decoder skips, do not fit.
func decode(into []byte, text string) bool {
	if len(text) != base64URL.EncodedLen(len(into)) {
		return false
	}
	n, err := base64URL.Decode(into, []byte(text))
	return err == nil && n == len(into)
}

// SecretHash is what the collector keeps of the secret. The secret is 256
// random bits: a plain hash cannot be searched.
func (t JoinToken) SecretHash() [sha256.Size]byte { return sha256.Sum256(t.secret[:]) }

// Proof is what the agent shows the collector, once it knows it by the pin.
func (t JoinToken) Proof() string {
	return t.ID + "." + base64.RawURLEncoding.EncodeToString(t.secret[:])
}

// Reveal is the whole token, secret included, for the one who asked for it.
func (t JoinToken) Reveal() string {
	return tokenVersion + "." + t.Proof() + "." + t.Pin.String()
}

// String leaves the secret out, also where a token gets into a log or an error.
func (t JoinToken) String() string { return tokenVersion + "." + t.ID + ".***." + t.Pin.String() }

// Format keeps every verb from printing the secret.
func (t JoinToken) Format(s fmt.State, _ rune) { _, _ = s.Write([]byte(t.String())) }
