package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seawall-security/seawall/internal/redact"
)

func TestAgentIDIsKept(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	first, err := readIdentity(dir)
	if err != nil || !uuid.MatchString(first.id) {
		t.Fatalf("%q, %v", first.id, err)
	}
	other, err := readIdentity(dir)
	if err == nil || !strings.Contains(err.Error(), "another agent uses "+dir) || other.id == first.id || !uuid.MatchString(other.id) {
		t.Errorf("%q beside %q (%v): two agents must have two ids", other.id, first.id, err)
	}
	if err := errors.Join(other.close(), first.close()); err != nil {
		t.Fatal(err)
	}
	again, err := readIdentity(dir)
	if err != nil || again.id != first.id {
		t.Errorf("%q after a restart, was %q (%v)", again.id, first.id, err)
	}
	defer again.close()
	info, err := os.Stat(filepath.Join(dir, "agent-id"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
}

func TestAgentIDWithoutAPlaceToKeepIt(t *testing.T) {
	for name, spoil := range map[string]func(dir string) string{
		"no folder can be made": func(dir string) string {
			file := filepath.Join(dir, "file")
			if err := os.WriteFile(file, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			return filepath.Join(file, "state")
		},
		"something else is in its place": func(dir string) string {
			if err := os.WriteFile(filepath.Join(dir, "agent-id"), []byte("not an id\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			return dir
		},
	} {
		t.Run(name, func(t *testing.T) {
			made, err := readIdentity(spoil(t.TempDir()))
			if err == nil || !uuid.MatchString(made.id) || made.lock != nil {
				t.Errorf("%q, %v: want an id for this run, and why it is not kept", made.id, err)
			}
		})
	}
}

func TestRedactionKeyIsKept(t *testing.T) {
	dir := t.TempDir()
	first, err := localRedactionKey(dir)
	if err != nil || len(first) != redact.KeyBytes || bytes.Equal(first, make([]byte, redact.KeyBytes)) {
		t.Fatalf("%d bytes, %v", len(first), err)
	}
	again, err := localRedactionKey(dir)
	if err != nil || !bytes.Equal(again, first) {
		t.Errorf("another key after a restart (%v)", err)
	}
	path := filepath.Join(dir, redactionKeyFile)
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	if err := os.WriteFile(path, first[1:], 0o600); err != nil {
		t.Fatal(err)
	}
	for what, dir := range map[string]string{"short": dir, "no folder": filepath.Join(dir, "nowhere")} {
		key, err := localRedactionKey(dir)
		if err == nil || len(key) != redact.KeyBytes || bytes.Equal(key, first) {
			t.Errorf("%s: %d bytes, %v: want a key for this run, and why it is not kept", what, len(key), err)
		}
	}
}
