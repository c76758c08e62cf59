package rules

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/seawall-security/seawall/internal/bundle"
	"github.com/seawall-security/seawall/internal/tlsconf"
)

// Files of the state folder.
const (
	bundleFile = "bundle"
	serialFile = "bundle-serial"
	// newPattern is what a bundle is called until it is in force.
	newPattern = ".bundle.new-*"
)

// kept is the state folder as far as bundles go. Empty: there is none that is ours.
type kept struct{ dir string }

// tidy removes what an agent that was killed has left behind.
func (k kept) tidy() {
	if k.dir == "" {
		return
	}
	left, _ := filepath.Glob(filepath.Join(k.dir, newPattern)) // fails for bad patterns only
	for _, path := range left {
		_ = os.Remove(path) // in nobody's way
	}
}

// read returns the bundle that was in force last; nil: there is none.
func (k kept) read() (*bundle.Signed, error) {
	if k.dir == "" {
		return nil, nil
	}
	path := filepath.Join(k.dir, bundleFile)
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read bundle: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, bundle.MaxBytes+1))
	if err != nil {
		return nil, fmt.Errorf("read bundle: %w", err)
	}
	s, err := bundle.Decode(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return &s, nil
}

// prepared is a bundle that is on disk, but not under its name.
type prepared struct{ path, name string }

// prepare writes a bundle to disk: what is left to do cannot want for space.
func (k kept) prepare(s bundle.Signed) (prepared, error) {
	if k.dir == "" {
		return prepared{}, errors.New("keep bundle: this agent has no state_dir of its own")
	}
	data, err := s.Encode()
	if err != nil {
		return prepared{}, err
	}
	f, err := os.CreateTemp(k.dir, newPattern) // mode 0600
	if err != nil {
		return prepared{}, fmt.Errorf("keep bundle: %w", err)
	}
	p := prepared{f.Name(), filepath.Join(k.dir, bundleFile)}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return prepared{}, errors.Join(fmt.Errorf("keep bundle: %w", err), p.discard())
	}
	return p, nil
}

// rename gives it its name; on disk too, as far as the disk tells.
func (p prepared) rename() error {
	if err := os.Rename(p.path, p.name); err != nil {
		return fmt.Errorf("keep bundle: %w", err)
	}
	// It has its name now. Should a power cut take that back, the one before is there.
	_ = tlsconf.SyncFolder(filepath.Dir(p.name))
	return nil
}

func (p prepared) discard() error { return os.Remove(p.path) }

// serial is the highest that was in force; 0: none was.
func (k kept) serial() (uint64, error) {
	if k.dir == "" {
		return 0, nil
	}
	path := filepath.Join(k.dir, serialFile)
	text, err := tlsconf.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read serial of the last bundle: %w", err)
	}
	serial, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("read serial of the last bundle: %s holds no number", path)
	}
	return serial, nil
}

func (k kept) writeSerial(serial uint64) error {
	return tlsconf.WriteSecret(filepath.Join(k.dir, serialFile), fmt.Appendf(nil, "%d\n", serial))
}
