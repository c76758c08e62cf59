package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

var uuid = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)

// readAgentID returns the id this agent has had since its first start, a random UUID in
// the state folder. With an error it returns an id for this run.
func readAgentID(dir string) (string, error) {
	path := filepath.Join(dir, "agent-id")
	text, err := os.ReadFile(path)
	if id := strings.TrimSpace(string(text)); err == nil && uuid.MatchString(id) {
		return id, nil
	}
	id := newUUID()
	if err == nil {
		return id, fmt.Errorf("read agent id: %s holds no UUID", path)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return id, fmt.Errorf("read agent id: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return id, fmt.Errorf("keep agent id: %w", err)
	}
	if err := os.WriteFile(path, []byte(id+"\n"), 0o600); err != nil {
		return id, fmt.Errorf("keep agent id: %w", err)
	}
	return id, nil
}

// newUUID is a random one, version 4 of RFC 9562.
func newUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[0:4], b[4:6], b[6:8], b[8:10], b[10:16])
}
