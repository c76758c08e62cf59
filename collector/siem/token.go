package siem

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"google.golang.org/protobuf/proto"

	alertv1 "github.com/seawall-security/seawall/proto/alert/v1"
)

// A page token is the store's own and a keyed hash of it, the client and the filter:
// nobody can make one up, and one that was given for another list is refused instead of
// giving pages that do not belong together. The key lives as long as the service.
const (
	tokenHashBytes = 16
	maxStoreToken  = 128
)

var errToken = errors.New("page token is none that was given for this list: begin again without one")

// Strict: of several spellings of the same bytes only one is taken.
var tokenText = base64.RawURLEncoding.Strict()

type tokens struct{ key [32]byte }

func newTokens() *tokens {
	t := new(tokens)
	_, _ = rand.Read(t.key[:]) // never fails
	return t
}

// seal makes a client's token of a store's.
func (t *tokens) seal(token, client string, f *alertv1.Filter) (string, error) {
	if len(token) > maxStoreToken {
		return "", fmt.Errorf("token of the store has %d bytes, more than %d", len(token), maxStoreToken)
	}
	hash, err := t.hash(token, client, f)
	if err != nil {
		return "", err
	}
	return tokenText.EncodeToString(append(hash, token...)), nil
}

// open is the inverse of seal.
func (t *tokens) open(sealed, client string, f *alertv1.Filter) (string, error) {
	if len(sealed) > tokenText.EncodedLen(tokenHashBytes+maxStoreToken) || strings.ContainsAny(sealed, "\r\n") { // which the decoder skips
		return "", errToken
	}
	raw, err := tokenText.DecodeString(sealed)
	if err != nil || len(raw) < tokenHashBytes {
		return "", errToken
	}
	token := string(raw[tokenHashBytes:])
	hash, err := t.hash(token, client, f)
	if err != nil {
		return "", err
	}
	if !hmac.Equal(hash, raw[:tokenHashBytes]) {
		return "", errToken
	}
	return token, nil
}

func (t *tokens) hash(token, client string, f *alertv1.Filter) ([]byte, error) {
	filter, err := proto.MarshalOptions{Deterministic: true}.Marshal(f)
	if err != nil {
		return nil, fmt.Errorf("encode filter: %w", err)
	}
	mac := hmac.New(sha256.New, t.key[:])
	for _, part := range [][]byte{[]byte(token), []byte(client), filter} {
		mac.Write(binary.BigEndian.AppendUint64(nil, uint64(len(part))))
		mac.Write(part)
	}
	return mac.Sum(nil)[:tokenHashBytes], nil
}
