package image

import (
	"archive/tar"
	"bytes"
	"embed"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
	"time"
)

// layer writes a layer's archive. Errors are kept and come out of close. Of
// entries with the same name the first counts.
type layer struct {
	tar  *tar.Writer
	seen map[string]bool
	err  error
}

func newLayer(w io.Writer) *layer {
	return &layer{tar: tar.NewWriter(w), seen: map[string]bool{}}
}

func (l *layer) entry(header *tar.Header, content io.Reader) {
	if l.err != nil || l.seen[header.Name] {
		return
	}
	l.seen[header.Name] = true
	if header.Typeflag == tar.TypeDir {
		header.Name += "/"
	}
	if header.ModTime.IsZero() {
		header.ModTime = time.Unix(0, 0)
	}
	if l.err = l.tar.WriteHeader(header); l.err != nil || header.Size == 0 {
		return
	}
	_, l.err = io.Copy(l.tar, content)
}

func (l *layer) file(name string, mode int64, owner int, content []byte) {
	l.entry(&tar.Header{
		Typeflag: tar.TypeReg, Name: name, Mode: mode, Uid: owner, Gid: owner, Size: int64(len(content)),
	}, bytes.NewReader(content))
}

func (l *layer) dir(name string, mode int64, owner int) {
	l.entry(&tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: mode, Uid: owner, Gid: owner}, nil)
}

func (l *layer) link(name, target string) {
	l.entry(&tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: target, Mode: 0o777}, nil)
}

func (l *layer) close() error {
	if l.err == nil {
		l.err = l.tar.Close()
	}
	if l.err != nil {
		return fmt.Errorf("write layer: %w", l.err)
	}
	return nil
}

// The shop: web server configuration, PHP pages, a housekeeping script.
//
//go:embed app
var app embed.FS

// appLayer is the shop's files, owned by root, the folders in which the web
// server may write, and a file that it must not read.
func appLayer() ([]byte, error) {
	var content bytes.Buffer
	layer := newLayer(&content)
	err := fs.WalkDir(app, "app", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || name == "app" {
			return err
		}
		inside := strings.TrimPrefix(name, "app/")
		if entry.IsDir() {
			layer.dir(inside, 0o755, 0)
			return nil
		}
		mode := int64(0o644)
		if path.Base(path.Dir(inside)) == "bin" {
			mode = 0o755
		}
		text, err := app.ReadFile(name)
		if err != nil {
			return err
		}
		layer.file(inside, mode, 0, text)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the shop: %w", err)
	}
	for _, name := range []string{"run/lighttpd", "var/log/lighttpd", "var/www/data", "var/www/html/uploads"} {
		layer.dir(name, 0o755, User)
	}
	layer.file("etc/shadow", 0o600, 0, []byte("root:*:20000:0:99999:7:::\n"))
	if err := layer.close(); err != nil {
		return nil, err
	}
	return content.Bytes(), nil
}
