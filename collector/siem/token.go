package siem

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"

	alertv1 "github.com/seawall-security/seawall/proto/alert/v1"
)

// A page token is a place and a keyed hash of it, the client and the filter: nobody can
// make one up, and one that was given for another list is refused instead of giving
// pages that do not belong together. The key lives as long as the service.
const (
	tokenPlaceBytes = 8
	tokenHashBytes  = 16
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

// make is the token of the page that begins below a place.
func (t *tokens) make(place uint64, client string, f *alertv1.Filter) (string, error) {
	raw := binary.BigEndian.AppendUint64(nil, place)
	hash, err := t.hash(raw, client, f)
	if err != nil {
		return "", err
	}
	return tokenText.EncodeToString(append(raw, hash...)), nil
}

// place is the inverse of make.
func (t *tokens) place(token, client string, f *alertv1.Filter) (uint64, error) {
	if len(token) != tokenText.EncodedLen(tokenPlaceBytes+tokenHashBytes) {
		return 0, errToken
	}
	raw, err := tokenText.DecodeString(token)
	if err != nil || len(raw) != tokenPlaceBytes+tokenHashBytes { // the decoder skips line breaks
		return 0, errToken
	}
	hash, err := t.hash(raw[:tokenPlaceBytes], client, f)
	if err != nil {
		return 0, err
	}
	if !hmac.Equal(hash, raw[tokenPlaceBytes:]) {
		return 0, errToken
	}
	return binary.BigEndian.Uint64(raw), nil
}

func (t *tokens) hash(place []byte, client string, f *alertv1.Filter) ([]byte, error) {
	filter, err := proto.MarshalOptions{Deterministic: true}.Marshal(f)
	if err != nil {
		return nil, fmt.Errorf("encode filter: %w", err)
	}
	mac := hmac.New(sha256.New, t.key[:])
	mac.Write(place)
	mac.Write(binary.BigEndian.AppendUint64(nil, uint64(len(client))))
	mac.Write([]byte(client))
	mac.Write(filter)
	return mac.Sum(nil)[:tokenHashBytes], nil
}
