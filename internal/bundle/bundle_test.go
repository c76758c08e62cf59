package bundle

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/seawall-security/seawall/internal/tlsconf"
)

// key is the n-th of the tests' keys.
func key(n byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{n}, ed25519.SeedSize))
}

func trusted(keys ...ed25519.PrivateKey) Keys {
	k := Keys{}
	for _, one := range keys {
		public := one.Public().(ed25519.PublicKey)
		k[IDOf(public)] = public
	}
	return k
}

func sample() Bundle {
	return Bundle{Serial: 7, Version: "2026-11 ü", Signed: time.Unix(1_780_000_000, 0).UTC(),
		Files: []File{{"rules.yaml", []byte("rules: []\n")}, {"team-a/more.yaml", []byte("lists: {}\n")}}}
}

func sign(t testing.TB, b Bundle) Signed {
	t.Helper()
	s, err := Sign(b, key(1))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func encode(t testing.TB, s Signed) []byte {
	t.Helper()
	data, err := s.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestSignedBundleComesBackWhole(t *testing.T) {
	s, err := Decode(encode(t, sign(t, sample())))
	if err != nil {
		t.Fatal(err)
	}
	// The second key is on its way to take the first one's place.
	got, err := trusted(key(2), key(1)).Verify(s)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(sample(), got); diff != "" {
		t.Error(diff)
	}
}

// Whatever bit of a file is turned over, no agent takes it.
func TestTamperedAnywhereIsRefused(t *testing.T) {
	good := encode(t, sign(t, sample()))
	keys := trusted(key(1), key(2))
	for i := range good {
		for bit := range 8 {
			bad := bytes.Clone(good)
			bad[i] ^= 1 << bit
			s, err := Decode(bad)
			if err != nil {
				continue
			}
			if b, err := keys.Verify(s); err == nil {
				t.Errorf("byte %d, bit %d: taken as %+v", i, bit, b)
			}
		}
	}
	for n := range good {
		if s, err := Decode(good[:n]); err == nil {
			if _, err := keys.Verify(s); err == nil {
				t.Errorf("%d of %d bytes are taken", n, len(good))
			}
		}
	}
}

func TestVerifySaysWhyNot(t *testing.T) {
	good := sign(t, sample())
	id1, id2 := IDOf(key(1).Public().(ed25519.PublicKey)), IDOf(key(2).Public().(ed25519.PublicKey))
	otherDomain := good
	otherDomain.Signature = ed25519.Sign(key(1), good.Bytes)
	otherName := good
	otherName.KeyID = id2[:]
	shortName := good
	shortName.KeyID = id1[:31]
	longName := good
	longName.KeyID = append(bytes.Clone(id1[:]), 0)
	for _, test := range []struct {
		name   string
		keys   Keys
		signed Signed
		want   string
	}{
		{"nobody is trusted", nil, good, "no key is trusted to sign bundles"},
		{"another key", trusted(key(2)), good, fmt.Sprintf("bundle is signed with key %s, which is not trusted (trusted: %s)", id1, id2)},
		{"in another's name", trusted(key(1), key(2)), otherName, fmt.Sprintf("bundle is not what key %s has signed", id2)},
		{"signed for something else", trusted(key(1)), otherDomain, fmt.Sprintf("bundle is not what key %s has signed", id1)},
		{"a short name", trusted(key(1)), shortName, "signed bundle names its key with 31 bytes, not 32"},
		{"a long name", trusted(key(1)), longName, "signed bundle names its key with 33 bytes, not 32"},
		{"nothing", trusted(key(1)), Signed{}, "signed bundle names its key with 0 bytes, not 32"},
		{"too much", trusted(key(1)), Signed{Bytes: make([]byte, MaxBytes)}, "signed bundle has 2097157 bytes, more than 2097152"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if _, err := test.keys.Verify(test.signed); err == nil || err.Error() != test.want {
				t.Errorf("got %v, want %s", err, test.want)
			}
		})
	}
}

// Bounds hold for what is signed, and for what somebody else's program has signed.
func TestBoundsHoldOnBothSides(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(*Bundle)
		want   string // "": fine
	}{
		{"no files: takes back what was there", func(b *Bundle) { b.Files = nil }, ""},
		{"most files", func(b *Bundle) { b.Files = files(MaxFiles) }, ""},
		{"too many files", func(b *Bundle) { b.Files = files(MaxFiles + 1) }, "bundle has more than 256 files"},
		{"no serial", func(b *Bundle) { b.Serial = 0 }, "bundle has no serial number above 0"},
		{"no version", func(b *Bundle) { b.Version = "" }, `bundle's version "" is not text`},
		{"version of two lines", func(b *Bundle) { b.Version = "a\nb" }, `bundle's version "a\nb" is not text`},
		{"long version", func(b *Bundle) { b.Version = strings.Repeat("v", MaxVersionBytes+1) }, "bundle's version has 257 bytes, more than 256"},
		{"two of a name", func(b *Bundle) { b.Files[1].Name = b.Files[0].Name }, "bundle has two files called rules.yaml"},
		{"absolute", func(b *Bundle) { b.Files[0].Name = "/etc/rules.yaml" }, `bundle's file name "/etc/rules.yaml" is not`},
		{"outside", func(b *Bundle) { b.Files[0].Name = "../rules.yaml" }, `bundle's file name "../rules.yaml" is not`},
		{"inside and outside", func(b *Bundle) { b.Files[0].Name = "a/../../rules.yaml" }, `is not a relative path`},
		{"hidden", func(b *Bundle) { b.Files[0].Name = ".yaml" }, `bundle's file name ".yaml" is not`},
		{"two slashes", func(b *Bundle) { b.Files[0].Name = "a//b.yaml" }, `bundle's file name "a//b.yaml" is not`},
		{"control characters", func(b *Bundle) { b.Files[0].Name = "a\x1b.yaml" }, `bundle's file name "a\x1b.yaml" is not`},
		{"no rules", func(b *Bundle) { b.Files[0].Name = "README.md" }, `bundle's file name "README.md" is not`},
		{"endless name", func(b *Bundle) { b.Files[0].Name = strings.Repeat("n", 251) + ".yaml" }, "bundle's file name"},
		{"too large", func(b *Bundle) { b.Files[0].Data = make([]byte, MaxBytes) }, "more than 2097152"},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := sample()
			test.change(&b)
			_, err := Sign(b, key(1))
			if test.want == "" {
				if err != nil {
					t.Errorf("refused: %v", err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("signing says %v, want %s", err, test.want)
			}
			data := carelessly(b)
			id := IDOf(key(1).Public().(ed25519.PublicKey))
			s := Signed{Bytes: data, Signature: ed25519.Sign(key(1), message(data)), KeyID: id[:]}
			if _, err := trusted(key(1)).Verify(s); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("verifying says %v, want %s", err, test.want)
			}
		})
	}
}

func files(n int) (all []File) {
	for i := range n {
		all = append(all, File{Name: fmt.Sprintf("%d.yaml", i)})
	}
	return all
}

// carelessly encodes a bundle without looking at it.
func carelessly(b Bundle) (data []byte) {
	data = protowire.AppendVarint(protowire.AppendTag(data, 1, protowire.VarintType), b.Serial)
	data = protowire.AppendString(protowire.AppendTag(data, 2, protowire.BytesType), b.Version)
	for _, f := range b.Files {
		var file []byte
		file = protowire.AppendString(protowire.AppendTag(file, 1, protowire.BytesType), f.Name)
		file = protowire.AppendBytes(protowire.AppendTag(file, 2, protowire.BytesType), f.Data)
		data = protowire.AppendBytes(protowire.AppendTag(data, 3, protowire.BytesType), file)
	}
	return data
}

// What a newer version adds is signed like the rest, and an older agent lets it be.
func TestFieldsOfANewerVersionAreSignedAndLetBe(t *testing.T) {
	data := protowire.AppendString(protowire.AppendTag(carelessly(sample()), 99, protowire.BytesType), "from the future")
	id := IDOf(key(1).Public().(ed25519.PublicKey))
	s := Signed{Bytes: data, Signature: ed25519.Sign(key(1), message(data)), KeyID: id[:]}
	b, err := trusted(key(1)).Verify(s)
	if err != nil || b.Serial != 7 || len(b.Files) != 2 {
		t.Errorf("%+v, %v", b, err)
	}
	s.Bytes = bytes.Replace(data, []byte("future"), []byte("nature"), 1)
	if _, err := trusted(key(1)).Verify(s); err == nil {
		t.Error("what it does not know is not under the signature")
	}
}

func TestKeyFiles(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, text []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	public := func(n byte) []byte {
		text, err := EncodePublicKey(key(n).Public().(ed25519.PublicKey))
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	private, err := EncodePrivateKey(key(1))
	if err != nil {
		t.Fatal(err)
	}
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	otherPrivate, err := tlsconf.EncodeKey(other)
	if err != nil {
		t.Fatal(err)
	}
	otherDER, err := x509.MarshalPKIXPublicKey(other.Public())
	if err != nil {
		t.Fatal(err)
	}
	otherPublic := pem.EncodeToMemory(&pem.Block{Type: blockPublicKey, Bytes: otherDER})

	signing, err := ReadPrivateKey(write("a.key", private))
	if err != nil || !signing.Equal(key(1)) {
		t.Errorf("private key comes back as %v, %v", signing, err)
	}
	keys, err := ReadKeys(write("a.pub", public(1)), write("two.pub", append(public(2), public(3)...)))
	if diff := cmp.Diff(trusted(key(1), key(2), key(3)), keys); diff != "" || err != nil {
		t.Error(err, diff)
	}
	for name, path := range map[string]string{
		"a private key on an agent": write("b", private), "another sort of key": write("c", otherPublic),
		"no PEM": write("d", []byte("key")), "no DER": write("e", pem.EncodeToMemory(&pem.Block{Type: blockPublicKey, Bytes: []byte{1}})),
		"no file": filepath.Join(dir, "nowhere"),
	} {
		if _, err := ReadKeys(path); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, path := range map[string]string{
		"a public key": write("f", public(1)), "another sort of key": write("g", otherPrivate), "no PEM": write("h", nil),
	} {
		if _, err := ReadPrivateKey(path); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("to sign with %s: %v", name, err)
		}
	}
}

// Whoever is not trusted can send the most files that fit; they are counted, not made.
func TestFilesAreCountedBeforeTheyAreMade(t *testing.T) {
	s := Signed{Bytes: bytes.Repeat([]byte{filesNumber<<3 | 2, 0}, MaxBytes/2-100)}
	if n := testing.AllocsPerRun(3, func() {
		if _, err := s.Unverified(); err == nil || err.Error() != tooMany().Error() {
			t.Errorf("got %v", err)
		}
	}); n > 50 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzVerify: nothing but what the key has signed is taken, and what anybody sends costs
// bounded memory.
func FuzzVerify(f *testing.F) {
	keys := trusted(key(1))
	good := sign(f, sample())
	f.Add(encode(f, good))
	f.Add(encode(f, Signed{Bytes: carelessly(Bundle{Files: files(MaxFiles + 1)}), KeyID: good.KeyID, Signature: good.Signature}))
	f.Add(append(encode(f, good), 0x7a, 1, 0))
	f.Add([]byte{0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f})
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := Decode(data)
		if err != nil {
			return
		}
		if b, err := s.Unverified(); err == nil && (b.Serial == 0 || b.Version == "" || len(b.Files) > MaxFiles) {
			t.Errorf("out of bounds: %+v", b)
		}
		if _, err := keys.Verify(s); err == nil && !bytes.Equal(s.Bytes, good.Bytes) {
			t.Errorf("taken although nobody signed it: %x", data)
		}
	})
}
