package lab

import (
	"archive/tar"
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

// tailBytes is how much of a console is kept for an error: an oops with its trace.
const tailBytes = 32 << 10

// tail keeps the end of what is written to it. It is safe for concurrent use.
type tail struct {
	mu   sync.Mutex
	text []byte // guarded by mu
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, p...)
	if len(t.text) > 2*tailBytes {
		t.text = append([]byte(nil), t.text[len(t.text)-tailBytes:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(bytes.TrimSpace(t.text[max(0, len(t.text)-tailBytes):]))
}

// copyTo returns a reader of one output that copies it to all the writers given.
func copyTo(writers ...io.Writer) func(io.Reader) error {
	var given []io.Writer
	for _, w := range writers {
		if w != nil {
			given = append(given, w)
		}
	}
	return func(r io.Reader) error {
		_, err := io.Copy(io.MultiWriter(given...), r)
		return err
	}
}

// progress follows the status port: "start", then "exit N". One goroutine reads;
// the fields are for whoever waited for it.
type progress struct {
	begun         time.Time
	started, done bool
	status        int
	boot, took    time.Duration
}

func (p *progress) read(r io.Reader) error {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		word, rest, _ := strings.Cut(lines.Text(), " ")
		switch word {
		case "start":
			p.started, p.boot = true, time.Since(p.begun)
		case "exit":
			status, err := strconv.Atoi(rest)
			if err != nil {
				return fmt.Errorf("parse status: %w", err)
			}
			p.done, p.status, p.took = true, status, time.Since(p.begun)-p.boot
		}
	}
	return lines.Err()
}

// extract unpacks the tar a guest sends into dir: folders and regular files,
// nothing outside dir. An empty stream makes nothing.
func extract(dir string, r io.Reader) error {
	in := bufio.NewReader(r)
	if _, err := in.Peek(1); err != nil || dir == "" {
		return nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	for members := tar.NewReader(in); ; {
		h, err := members.Next()
		if errors.Is(err, io.EOF) {
			_, err = io.Copy(io.Discard, in) // padding behind the end
			return err
		}
		if err != nil {
			return err
		}
		switch h.Typeflag {
		case tar.TypeDir:
			err = root.MkdirAll(filepath.Clean(h.Name), 0o755)
		case tar.TypeReg:
			err = extractFile(root, filepath.Clean(h.Name), h.FileInfo().Mode().Perm(), members)
		}
		if err != nil {
			return err
		}
	}
}

func extractFile(root *os.Root, name string, mode fs.FileMode, content io.Reader) error {
	f, err := root.OpenFile(name, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, mode|0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, content)
	return errors.Join(err, f.Close())
}

// treeSize adds up the files below a folder, each rounded up to blocks.
func treeSize(root string) (int64, error) {
	const block = 4096
	var total int64
	err := filepath.WalkDir(root, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		total += block
		if d.Type().IsRegular() {
			info, err := d.Info()
			if err != nil {
				return err
			}
			total += (info.Size() + block - 1) / block * block
		}
		return nil
	})
	return total, err
}
