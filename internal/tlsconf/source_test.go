package tlsconf

import (
	"bytes"
	"crypto"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func writeFiles(t *testing.T, f Files, a authority, identity string) {
	t.Helper()
	certificate := a.certificateOf(t, identity)
	key, err := EncodeKey(certificate.PrivateKey.(crypto.Signer))
	if err != nil {
		t.Fatal(err)
	}
	for path, data := range map[string][]byte{
		f.Certificate: EncodeCertificates(certificate.Leaf), f.Key: key, f.Roots: EncodeCertificates(a.certificate),
	} {
		if err := WriteSecret(path, data); err != nil {
			t.Fatal(err)
		}
	}
}

func TestFilesReload(t *testing.T) {
	dir := t.TempDir()
	files := Files{Certificate: filepath.Join(dir, "a.crt"), Key: filepath.Join(dir, "a.key"), Roots: filepath.Join(dir, "ca.crt")}
	ours := newAuthority(t, "ours")
	writeFiles(t, files, ours, agentURI)
	source := new(Source)
	if err := files.Reload(source); err != nil {
		t.Fatal(err)
	}
	first := source.Material().Certificate

	// Half of a change: the certificate is the new one, the key is not yet.
	old, err := os.ReadFile(files.Key)
	if err != nil {
		t.Fatal(err)
	}
	writeFiles(t, files, ours, agentURI)
	changed, err := os.ReadFile(files.Key)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name, path, want string
		data             []byte
	}{
		{"other key", files.Key, files.Key, old},
		{"no key", files.Key, "a.key", nil},
		{"empty key", files.Key, "a.key", []byte{}},
		{"garbage key", files.Key, "a.key", []byte("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")},
		{"endless key", files.Key, "larger than", bytes.Repeat([]byte("x"), maxFile+1)},
		{"key as roots", files.Roots, "PRIVATE KEY", changed},
		{"leaf as root", files.Roots, "is no CA's", EncodeCertificates(first.Leaf)},
		{"no roots", files.Roots, "ca.crt", nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			kept, err := os.ReadFile(test.path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.Remove(test.path); err != nil {
				t.Fatal(err)
			}
			if test.data != nil {
				if err := WriteSecret(test.path, test.data); err != nil {
					t.Fatal(err)
				}
			}
			if err := files.Reload(source); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("want an error about %s, got %v", test.want, err)
			}
			if source.Material().Certificate != first {
				t.Error("the source lost what it had")
			}
			if err := WriteSecret(test.path, kept); err != nil {
				t.Fatal(err)
			}
		})
	}
	if err := files.Reload(source); err != nil || source.Material().Certificate == first {
		t.Errorf("the new pair is not taken: %v", err)
	}
}

func TestWriteSecret(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	for _, text := range []string{"one", "two"} {
		if err := WriteSecret(path, []byte(text)); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != text {
			t.Errorf("file holds %q, %v", got, err)
		}
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if err := WriteSecret(filepath.Join(path, "below-a-file"), nil); err == nil {
		t.Error("writing below a file works")
	}
	// What cannot take its place leaves nothing behind.
	folder := filepath.Join(t.TempDir(), "folder")
	if err := os.MkdirAll(filepath.Join(folder, "full"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := WriteSecret(folder, []byte("x")); err == nil {
		t.Error("a folder is replaced")
	}
	if entries, err := os.ReadDir(filepath.Dir(folder)); err != nil || len(entries) != 1 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}
