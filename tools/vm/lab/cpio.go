package lab

import (
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
)

// File types of a cpio mode, as in st_mode.
const (
	cpioDirectory = 0o040000
	cpioRegular   = 0o100000
	cpioSymlink   = 0o120000
)

// archive writes an initramfs in the kernel's "newc" cpio form. Names are
// relative to the root; folders above a name are made when first needed.
// Everything belongs to root and has no time, so the same input gives the same
// bytes.
type archive struct {
	out     io.Writer
	written int64
	inode   uint32
	folders map[string]bool
}

func newArchive(out io.Writer) *archive {
	return &archive{out: out, folders: map[string]bool{".": true}}
}

// directory adds a folder; one that exists is left alone.
func (a *archive) directory(name string, mode uint32) error {
	name = clean(name)
	if a.folders[name] {
		return nil
	}
	if err := a.parents(name); err != nil {
		return err
	}
	a.folders[name] = true
	return a.entry(name, cpioDirectory|mode, 0, nil)
}

// symlink adds a symbolic link to target.
func (a *archive) symlink(name, target string) error {
	name = clean(name)
	if err := a.parents(name); err != nil {
		return err
	}
	return a.entry(name, cpioSymlink|0o777, int64(len(target)), strings.NewReader(target))
}

// file adds a regular file of exactly size bytes.
func (a *archive) file(name string, mode uint32, size int64, content io.Reader) error {
	name = clean(name)
	if err := a.parents(name); err != nil {
		return err
	}
	return a.entry(name, cpioRegular|mode, size, content)
}

func (a *archive) text(name string, mode uint32, content string) error {
	return a.file(name, mode, int64(len(content)), strings.NewReader(content))
}

// close ends the archive; it does not close the writer below.
func (a *archive) close() error {
	a.inode = 0
	return a.entry("TRAILER!!!", 0, 0, nil)
}

func (a *archive) parents(name string) error {
	if parent := path.Dir(name); !a.folders[parent] {
		return a.directory(parent, 0o755)
	}
	return nil
}

func (a *archive) entry(name string, mode uint32, size int64, content io.Reader) error {
	if size < 0 || size > 1<<32-1 {
		return fmt.Errorf("archive %s: size %d does not fit the format", name, size)
	}
	links := uint32(1)
	if mode&cpioDirectory != 0 && mode&cpioRegular == 0 {
		links = 2
	}
	header := "070701"
	for _, field := range [13]uint32{
		a.inode, mode, 0, 0, links, 0, uint32(size), // inode, mode, uid, gid, links, mtime, size
		0, 0, 0, 0, uint32(len(name) + 1), 0, // devices, length of the name with its NUL, check sum
	} {
		header += fmt.Sprintf("%08x", field)
	}
	a.inode++
	if err := a.write(strings.NewReader(header+name+"\x00"), int64(len(header)+len(name)+1)); err != nil {
		return fmt.Errorf("archive %s: %w", name, err)
	}
	if err := a.write(content, size); err != nil {
		return fmt.Errorf("archive %s: %w", name, err)
	}
	return nil
}

// write copies exactly size bytes and pads to a multiple of four.
func (a *archive) write(content io.Reader, size int64) error {
	if size > 0 {
		n, err := io.CopyN(a.out, content, size)
		a.written += n
		if errors.Is(err, io.EOF) {
			return io.ErrUnexpectedEOF
		}
		if err != nil {
			return err
		}
	}
	n, err := a.out.Write(make([]byte, -a.written&3))
	a.written += int64(n)
	return err
}

func clean(name string) string { return strings.TrimPrefix(path.Clean("/"+name), "/") }
