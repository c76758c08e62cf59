// Package bundle is how rules travel from an operator to agents: files of rules,
// exceptions, lists and marks under one serial number and one Ed25519 signature.
//
// A [Signed] is what travels and what is kept on disk: the bytes that the signature is
// over, never encoded again. Only [Keys.Verify] makes a [Bundle] of it that may be
// acted on; [Signed.Unverified] tells people what it says of itself. Fields that this
// version does not know are under the signature like the others, and let be.
//
// Nothing here knows the rule language: whether the files load is for internal/rule.
// Values are the caller's; functions are safe for concurrent use.
package bundle

import (
	"errors"
	"fmt"
	"path"
	"strings"
	"time"
	"unicode"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

// Bounds, far above what people write. They hold for who signs and for who verifies.
const (
	// MaxBytes is for a signed bundle as a whole, encoded.
	MaxBytes        = 2 << 20
	MaxFiles        = 256
	MaxVersionBytes = 256
	maxNameBytes    = 255
)

// Bundle is a set of rule files.
type Bundle struct {
	// Serial rises from bundle to bundle; it is never 0.
	Serial uint64
	// Version is for people: 1 to MaxVersionBytes bytes that can be printed.
	Version string
	// Signed is when, by the signer's clock; zero: not said.
	Signed time.Time
	Files  []File
}

// File is one rule file. Its name is a relative path of letters, digits and ._-/ that
// ends in .yaml.
type File struct {
	Name string
	Data []byte
}

// Signed is a bundle as it travels.
type Signed struct {
	// Bytes is an encoded Bundle message.
	Bytes     []byte
	Signature []byte
	// KeyID names the key that the signature is to be checked with.
	KeyID []byte
}

// FromProto takes a bundle off the wire. It shares the message's memory.
func FromProto(m *sensorv1.SignedBundle) Signed {
	return Signed{Bytes: m.GetBundle(), Signature: m.GetSignature(), KeyID: m.GetKeyId()}
}

// Proto is the bundle for the wire. It shares the bundle's memory.
func (s Signed) Proto() *sensorv1.SignedBundle {
	return &sensorv1.SignedBundle{Bundle: s.Bytes, Signature: s.Signature, KeyId: s.KeyID}
}

// Decode reads a signed bundle as Encode writes it to a file.
func Decode(data []byte) (Signed, error) {
	if len(data) > MaxBytes {
		return Signed{}, tooLarge(len(data))
	}
	var m sensorv1.SignedBundle
	if err := (proto.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(data, &m); err != nil {
		return Signed{}, fmt.Errorf("read signed bundle: %w", err)
	}
	if len(m.GetBundle()) == 0 {
		return Signed{}, errors.New("read signed bundle: it holds none")
	}
	return FromProto(&m), nil
}

// Encode is the signed bundle as a file holds it.
func (s Signed) Encode() ([]byte, error) {
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(s.Proto())
	if err != nil {
		return nil, fmt.Errorf("encode signed bundle: %w", err)
	}
	return data, nil
}

// Unverified is what the bundle says it is, whoever made it: for showing, not for use.
func (s Signed) Unverified() (Bundle, error) {
	if n := proto.Size(s.Proto()); n > MaxBytes {
		return Bundle{}, tooLarge(n)
	}
	if err := boundFiles(s.Bytes); err != nil {
		return Bundle{}, err
	}
	var m sensorv1.Bundle
	if err := (proto.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(s.Bytes, &m); err != nil {
		return Bundle{}, fmt.Errorf("read bundle: %w", err)
	}
	b := Bundle{Serial: m.GetSerial(), Version: m.GetVersion()}
	if m.GetSigned().IsValid() {
		b.Signed = m.GetSigned().AsTime()
	}
	for _, f := range m.GetFiles() {
		b.Files = append(b.Files, File{Name: f.GetName(), Data: f.GetData()})
	}
	return b, b.check()
}

// boundFiles counts the files before there is memory for each: an empty one takes two
// bytes on the wire.
func boundFiles(data []byte) error {
	files := 0
	for len(data) > 0 {
		number, kind, n := protowire.ConsumeTag(data)
		if n < 0 {
			return fmt.Errorf("read bundle: %w", protowire.ParseError(n))
		}
		data = data[n:]
		if n = protowire.ConsumeFieldValue(number, kind, data); n < 0 {
			return fmt.Errorf("read bundle: %w", protowire.ParseError(n))
		}
		data = data[n:]
		if number == filesNumber {
			files++
		}
		if files > MaxFiles {
			return tooMany()
		}
	}
	return nil
}

// filesNumber is the number of the field files in message Bundle.
const filesNumber = 3

// check holds a bundle to its bounds, on both sides.
func (b Bundle) check() error {
	if b.Serial == 0 {
		return errors.New("bundle has no serial number above 0")
	}
	if len(b.Version) > MaxVersionBytes {
		return fmt.Errorf("bundle's version has %d bytes, more than %d", len(b.Version), MaxVersionBytes)
	}
	if b.Version == "" || strings.ContainsFunc(b.Version, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return fmt.Errorf("bundle's version %q is not text that can be printed", b.Version)
	}
	if len(b.Files) > MaxFiles {
		return tooMany()
	}
	seen := make(map[string]bool, len(b.Files))
	for _, f := range b.Files {
		if !plain(f.Name) {
			return fmt.Errorf("bundle's file name %.300q is not a relative path of letters, digits, '.', '_' and '-' that ends in .yaml", f.Name)
		}
		if seen[f.Name] {
			return fmt.Errorf("bundle has two files called %s", f.Name)
		}
		seen[f.Name] = true
	}
	return nil
}

// plain reports whether a name is one that means the same everywhere, and hides nothing.
func plain(name string) bool {
	if len(name) > maxNameBytes || path.Ext(name) != ".yaml" {
		return false
	}
	for element := range strings.SplitSeq(name, "/") {
		if element == "" || element[0] == '.' {
			return false
		}
	}
	return !strings.ContainsFunc(name, func(r rune) bool {
		letter := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
		return !letter && !strings.ContainsRune("._-/", r)
	})
}

// encode is the message that is signed.
func (b Bundle) encode() ([]byte, error) {
	if err := b.check(); err != nil {
		return nil, err
	}
	m := &sensorv1.Bundle{Serial: b.Serial, Version: b.Version}
	if !b.Signed.IsZero() {
		m.Signed = timestamppb.New(b.Signed)
	}
	for _, f := range b.Files {
		m.Files = append(m.Files, &sensorv1.BundleFile{Name: f.Name, Data: f.Data})
	}
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encode bundle: %w", err)
	}
	return data, nil
}

func tooLarge(n int) error {
	return fmt.Errorf("signed bundle has %d bytes, more than %d", n, MaxBytes)
}

func tooMany() error { return fmt.Errorf("bundle has more than %d files", MaxFiles) }
