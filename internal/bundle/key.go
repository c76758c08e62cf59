package bundle

import (
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/seawall-security/seawall/internal/tlsconf"
)

// KeyID names a public key: the SHA-256 of its 32 bytes.
type KeyID [sha256.Size]byte

// String is the beginning of the id, enough for people to tell keys apart.
func (id KeyID) String() string { return hex.EncodeToString(id[:8]) }

// IDOf is the id of a public key.
func IDOf(key ed25519.PublicKey) KeyID { return sha256.Sum256(key) }

// Keys are the public keys that are trusted. Several, so that one can take another's place.
type Keys map[KeyID]ed25519.PublicKey

// String lists the keys' ids.
func (k Keys) String() string {
	names := make([]string, 0, len(k))
	for id := range k {
		names = append(names, id.String())
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

const blockPublicKey = "PUBLIC KEY"

// ReadKeys reads files of public keys, SPKI in PEM; a file may hold several.
func ReadKeys(paths ...string) (Keys, error) {
	keys := Keys{}
	for _, path := range paths {
		text, err := tlsconf.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("read bundle key: %w", err)
		}
		if err := keys.add(text); err != nil {
			return nil, fmt.Errorf("read bundle key %s: %w", path, err)
		}
	}
	return keys, nil
}

// add takes the keys of a PEM text that has nothing else.
func (k Keys) add(text []byte) error {
	found := false
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != blockPublicKey {
			return fmt.Errorf("a %.40q block where a %s belongs", block.Type, blockPublicKey)
		}
		key, err := x509.ParsePKIXPublicKey(block.Bytes)
		if err != nil {
			return err
		}
		public, ok := key.(ed25519.PublicKey)
		if !ok {
			return fmt.Errorf("a key of type %T, not Ed25519", key)
		}
		k[IDOf(public)], found = public, true
	}
	if !found {
		return errors.New("no " + blockPublicKey + " block in PEM")
	}
	return nil
}

// EncodePublicKey is the PEM text of a public key, SPKI.
func EncodePublicKey(key ed25519.PublicKey) ([]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode bundle key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: blockPublicKey, Bytes: der}), nil
}

// EncodePrivateKey is the PEM text of a private key, PKCS #8.
func EncodePrivateKey(key ed25519.PrivateKey) ([]byte, error) {
	text, err := tlsconf.EncodeKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode bundle key: %w", err)
	}
	return text, nil
}

// ReadPrivateKey reads a file with the private key to sign with, PKCS #8 in PEM.
func ReadPrivateKey(path string) (ed25519.PrivateKey, error) {
	text, err := tlsconf.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read signing key: %w", err)
	}
	signer, err := tlsconf.ParseKey(text)
	if err != nil {
		return nil, fmt.Errorf("read signing key %s: %w", path, err)
	}
	key, ok := signer.(ed25519.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("read signing key %s: a key of type %T, not Ed25519", path, signer)
	}
	return key, nil
}
