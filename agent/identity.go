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

	"golang.org/x/sys/unix"

	"github.com/seawall-security/seawall/internal/redact"
	"github.com/seawall-security/seawall/internal/tlsconf"
)

var uuid = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)

// identity is the agent's id and what keeps it from being another's too.
type identity struct {
	id   string
	lock *os.File // of the state folder; nil: the id is for this run only
}

// readIdentity returns the id this agent has had since its first start, a random UUID in
// the state folder, which is locked until close. With an error the id is for this run:
// events are told apart by agent, so two agents must not share one.
func readIdentity(dir string) (identity, error) {
	i := identity{id: newUUID()}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return i, fmt.Errorf("keep agent id: %w", err)
	}
	lock, err := os.Open(dir)
	if err != nil {
		return i, fmt.Errorf("keep agent id: %w", err)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = fmt.Errorf("another agent uses %s: give each a state_dir of its own", dir)
		}
		return i, errors.Join(fmt.Errorf("keep agent id: %w", err), lock.Close())
	}
	id, err := keptID(dir, i.id)
	if err != nil {
		return i, errors.Join(err, lock.Close())
	}
	return identity{id: id, lock: lock}, nil
}

func (i identity) close() error {
	if i.lock == nil {
		return nil
	}
	return i.lock.Close()
}

// keptID returns the id in the state folder; where there is none, fresh is put there.
func keptID(dir, fresh string) (string, error) {
	path := filepath.Join(dir, "agent-id")
	text, err := os.ReadFile(path)
	switch id := strings.TrimSpace(string(text)); {
	case err == nil && uuid.MatchString(id):
		return id, nil
	case err == nil:
		return "", fmt.Errorf("read agent id: %s holds no UUID: remove it to have a new one made", path)
	case !errors.Is(err, fs.ErrNotExist):
		return "", fmt.Errorf("read agent id: %w", err)
	}
	// Whole and on disk, or not at all: a full disk or a power cut would leave an empty
	// file, an id that is never one.
	if err := tlsconf.WriteSecret(path, []byte(fresh+"\n")); err != nil {
		return "", fmt.Errorf("keep agent id: %w", err)
	}
	return fresh, nil
}

const redactionKeyFile = "redaction-key"

// localRedactionKey returns the key of masks in what this agent prints, and in what it
// spools before it is enrolled: a random one in the state folder, so that masks join over
// restarts. Other nodes have others. With an error the key is for this run.
func localRedactionKey(dir string) ([]byte, error) {
	fresh := make([]byte, redact.KeyBytes)
	_, _ = rand.Read(fresh) // never fails
	path := filepath.Join(dir, redactionKeyFile)
	key, err := tlsconf.ReadFile(path)
	switch {
	case err == nil && len(key) == redact.KeyBytes:
		return key, nil
	case err == nil:
		return fresh, fmt.Errorf("read redaction key: %s has %d bytes, not %d: remove it to have a new one made", path, len(key), redact.KeyBytes)
	case !errors.Is(err, fs.ErrNotExist):
		return fresh, fmt.Errorf("read redaction key: %w", err)
	}
	if err := tlsconf.WriteSecret(path, fresh); err != nil {
		return fresh, fmt.Errorf("keep redaction key: %w", err)
	}
	return fresh, nil
}

// readMachineID is the host's name for itself, "" where it has none.
func readMachineID(path string) string {
	text, err := tlsconf.ReadFile(path)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}

// newUUID is a random one, version 4 of RFC 9562.
func newUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[0:4], b[4:6], b[6:8], b[8:10], b[10:16])
}
