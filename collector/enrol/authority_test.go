package enrol

import (
	"bytes"
	"crypto/x509"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seawall-security/seawall/internal/tlsconf"
)

func TestAuthorityIsMadeOnce(t *testing.T) {
	dir, c := t.TempDir(), newClock()
	// What a start that was killed left behind.
	if err := os.MkdirAll(filepath.Join(dir, unfinished+"1"), 0o700); err != nil {
		t.Fatal(err)
	}
	first, made, err := OpenAuthority(dir, "prod", c.now)
	if err != nil || !made {
		t.Fatalf("made %v, %v", made, err)
	}
	c.advance(1000 * time.Hour)
	second, made, err := OpenAuthority(dir, "prod", c.now)
	if err != nil || made {
		t.Fatalf("made %v, %v", made, err)
	}
	if first.Pin() != second.Pin() || !bytes.Equal(first.RedactionKey(), second.RedactionKey()) || len(first.RedactionKey()) != 32 {
		t.Error("another CA or redaction key")
	}
	if bytes.Equal(first.RedactionKey(), make([]byte, 32)) {
		t.Error("the redaction key is no key")
	}
	ca := first.Roots()[0]
	if !ca.IsCA || !ca.MaxPathLenZero || ca.PublicKeyAlgorithm != x509.ECDSA || ca.Subject.CommonName != "prod" {
		t.Errorf("CA %+v", ca.Subject)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("data folder has %v, %v", entries, err)
	}
	err = filepath.WalkDir(filepath.Join(dir, "ca"), func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func TestAuthorityIsNotMadeAgain(t *testing.T) {
	other := t.TempDir()
	if _, _, err := OpenAuthority(other, "prod", newClock().now); err != nil {
		t.Fatal(err)
	}
	foreign := func(name string) []byte {
		data, err := os.ReadFile(filepath.Join(other, "ca", name))
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	for _, test := range []struct {
		name, file string
		data       []byte // nil: removed
		want       string
	}{
		{"no certificate", "ca.crt", nil, "has lost ca.crt: restore it"},
		{"no key", "ca.key", nil, "has lost ca.key: restore it"},
		{"no redaction key", "redaction.key", nil, "has lost redaction.key: restore it"},
		{"empty certificate", "ca.crt", []byte{}, "ca.crt"},
		{"empty key", "ca.key", []byte{}, "ca.key"},
		{"short redaction key", "redaction.key", []byte("0123\n"), "redaction.key: not 32 bytes"},
		{"another key", "ca.key", foreign("ca.key"), "do not belong together"},
		{"another certificate", "ca.crt", foreign("ca.crt"), "do not belong together"},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			if _, _, err := OpenAuthority(dir, "prod", newClock().now); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(dir, "ca", test.file)
			err := os.Remove(path)
			if test.data != nil {
				err = os.WriteFile(path, test.data, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
			before := tree(t, dir)
			if _, _, err := OpenAuthority(dir, "prod", newClock().now); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("want an error about %q, got %v", test.want, err)
			}
			if after := tree(t, dir); after != before {
				t.Errorf("the folder changed from %s to %s", before, after)
			}
		})
	}
	for name, open := range map[string]func() error{
		"renamed": func() error { _, _, err := OpenAuthority(other, "test", newClock().now); return err },
		"expired": func() error {
			c := newClock()
			c.advance(11 * 365 * 24 * time.Hour)
			_, _, err := OpenAuthority(other, "prod", c.now)
			return err
		},
		"bad name": func() error { _, _, err := OpenAuthority(t.TempDir(), "a.b", newClock().now); return err },
	} {
		if err := open(); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func tree(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			var data []byte
			data, err = os.ReadFile(path)
			b.WriteString(path + "=" + string(data) + ";")
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// Many processes on one folder: one makes the CA, none makes a second.
func TestAuthorityIsMadeOnceByMany(t *testing.T) {
	dir := t.TempDir()
	var mu sync.Mutex
	pins, makers := map[tlsconf.Pin]bool{}, 0
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			a, made, err := OpenAuthority(dir, "prod", newClock().now)
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			pins[a.Pin()] = true
			if made {
				makers++
			}
		})
	}
	all.Wait()
	if len(pins) != 1 || makers != 1 {
		t.Errorf("%d CAs, made by %d", len(pins), makers)
	}
}

func TestIssueClient(t *testing.T) {
	a, _, err := OpenAuthority(t.TempDir(), "prod", newClock().now)
	if err != nil {
		t.Fatal(err)
	}
	files, err := a.IssueClient("siem", tlsconf.Viewer, ClientLifetime)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	paths := tlsconf.Files{Certificate: filepath.Join(dir, "c"), Key: filepath.Join(dir, "k"), Roots: filepath.Join(dir, "r")}
	for path, data := range map[string][]byte{paths.Certificate: files.Certificate, paths.Key: files.Key, paths.Roots: files.Roots} {
		if err := tlsconf.WriteSecret(path, data); err != nil {
			t.Fatal(err)
		}
	}
	material, err := paths.Load()
	if err != nil {
		t.Fatal(err)
	}
	id, err := tlsconf.IdentityOf(material.Certificate.Leaf)
	if want := (tlsconf.Identity{Cluster: "prod", Role: tlsconf.Client, Name: "siem", Access: tlsconf.Viewer}); err != nil || id != want {
		t.Errorf("identity %v, %v", id, err)
	}
	if !files.NotAfter.Equal(today.Add(ClientLifetime)) {
		t.Errorf("ends %v", files.NotAfter)
	}
	for _, bad := range []func() error{
		func() error { _, err := a.IssueClient("a/b", tlsconf.Viewer, time.Hour); return err },
		func() error { _, err := a.IssueClient("a", "admin", time.Hour); return err },
		func() error { _, err := a.IssueClient("a", tlsconf.Viewer, 0); return err },
		func() error { _, err := a.IssueClient("a", tlsconf.Viewer, 3*365*24*time.Hour); return err },
	} {
		if bad() == nil {
			t.Error("a bad client is given a certificate")
		}
	}
}
