package bundle

import (
	"crypto/ed25519"
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"
)

// domain begins what is signed, so that a signature made for anything else is none for a
// bundle.
const domain = "seawall bundle 1\x00"

// message is what the signature is over.
func message(data []byte) []byte { return append([]byte(domain), data...) }

// Sign encodes a bundle and signs it. It fails if the bundle is out of bounds.
func Sign(b Bundle, key ed25519.PrivateKey) (Signed, error) {
	data, err := b.encode()
	if err != nil {
		return Signed{}, err
	}
	id := IDOf(key.Public().(ed25519.PublicKey))
	s := Signed{Bytes: data, Signature: ed25519.Sign(key, message(data)), KeyID: id[:]}
	if n := proto.Size(s.Proto()); n > MaxBytes {
		return Signed{}, tooLarge(n)
	}
	return s, nil
}

// Verify returns the bundle if one of the keys vouches for these very bytes and it is
// within bounds. Nothing of it is decoded before the signature is good.
func (k Keys) Verify(s Signed) (Bundle, error) {
	if n := proto.Size(s.Proto()); n > MaxBytes {
		return Bundle{}, tooLarge(n)
	}
	if len(k) == 0 {
		return Bundle{}, errors.New("no key is trusted to sign bundles")
	}
	var id KeyID
	if copy(id[:], s.KeyID) != len(id) || len(s.KeyID) != len(id) {
		return Bundle{}, fmt.Errorf("signed bundle names its key with %d bytes, not %d", len(s.KeyID), len(id))
	}
	key, ok := k[id]
	if !ok {
		return Bundle{}, fmt.Errorf("bundle is signed with key %s, which is not trusted (trusted: %s)", id, k)
	}
	if !ed25519.Verify(key, message(s.Bytes), s.Signature) {
		return Bundle{}, fmt.Errorf("bundle is not what key %s has signed", id)
	}
	return s.Unverified()
}
