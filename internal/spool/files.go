package spool

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// files is the folder as the spool needs it: a seam for tests of failing disks.
type files interface {
	// Lock makes this process the owner until the result is closed.
	Lock() (io.Closer, error)
	// List names the regular files.
	List() ([]string, error)
	// Create makes a file that must not exist.
	Create(name string) (file, error)
	Open(name string) (file, error)
	Rename(from, to string) error
	Remove(name string) error
	// Sync makes names durable.
	Sync() error
}

// file is one open file. Nothing written is durable before Sync.
type file interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Size() (int64, error)
	// Allocate takes the space for size bytes and makes the file that long, or says
	// errors.ErrUnsupported.
	Allocate(size int64) error
	Truncate(size int64) error
	Sync() error
}

const lockName = "lock"

// folder is a real folder. os.Root keeps every name inside it.
type folder struct {
	root *os.Root
}

func openFolder(dir string) (*folder, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	if err := syncFolder(filepath.Dir(dir)); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	return &folder{root: root}, nil
}

func (f *folder) Lock() (io.Closer, error) {
	l, err := f.root.OpenFile(lockName, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(l.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		l.Close()
		f.root.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, ErrOwned
		}
		return nil, fmt.Errorf("lock: %w", err)
	}
	return l, nil
}

func (f *folder) List() ([]string, error) {
	entries, err := fs.ReadDir(f.root.FS(), ".")
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if e.Type().IsRegular() {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

func (f *folder) open(name string, flags int) (file, error) {
	opened, err := f.root.OpenFile(name, os.O_RDWR|flags, 0o600)
	if err != nil {
		return nil, err
	}
	return &diskFile{opened}, nil
}

func (f *folder) Create(name string) (file, error) { return f.open(name, os.O_CREATE|os.O_EXCL) }

func (f *folder) Open(name string) (file, error) { return f.open(name, 0) }

func (f *folder) Rename(from, to string) error { return f.root.Rename(from, to) }

func (f *folder) Remove(name string) error { return f.root.Remove(name) }

func (f *folder) Sync() error {
	d, err := f.root.Open(".")
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func (f *folder) Close() error { return f.root.Close() }

func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

type diskFile struct{ *os.File }

func (f *diskFile) Size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

func (f *diskFile) Allocate(size int64) error {
	return uninterrupted(func() error { return unix.Fallocate(int(f.Fd()), 0, 0, size) })
}

// Sync is fdatasync: it leaves out the times, and writes a changed size.
func (f *diskFile) Sync() error {
	return uninterrupted(func() error { return unix.Fdatasync(int(f.Fd())) })
}

func uninterrupted(call func() error) error {
	for {
		if err := call(); !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}
