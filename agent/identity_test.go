package main

import (
	"os"
	"path/filepath"
	"testing"
)

func TestAgentIDIsKept(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	first, err := readAgentID(dir)
	if err != nil || !uuid.MatchString(first) {
		t.Fatalf("%q, %v", first, err)
	}
	again, err := readAgentID(dir)
	if err != nil || again != first {
		t.Errorf("%q after a restart, was %q (%v)", again, first, err)
	}
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
			id, err := readAgentID(spoil(t.TempDir()))
			if err == nil || !uuid.MatchString(id) {
				t.Errorf("%q, %v: want an id for this run, and why it is not kept", id, err)
			}
		})
	}
}
