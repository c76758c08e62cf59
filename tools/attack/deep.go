package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// folderBytes is how long the name of one folder may get; the kernel's limit is 255.
const folderBytes = 200

// deepRename renames by names as long as the kernel takes them (4095 bytes), relative to
// a folder that is itself far down: what both say together may exceed any buffer.
func deepRename(a *actor, r *report, args []string) (err error) {
	flags := flag.NewFlagSet("deep-rename", flag.ContinueOnError)
	cwd, text := flags.Int("cwd", 2000, ""), flags.Int("text", 2000, "")
	if err := parse(flags, args, 0, 0); err != nil {
		return err
	}
	if !filepath.IsAbs(a.dir) {
		return fmt.Errorf("%w: deep-rename: -dir has to be absolute", errUsage)
	}
	top := fmt.Sprintf("%s/attack-%d", a.dir, os.Getpid())
	down, below := *cwd-len(top)-1, *text-len("/old")
	if down < 1 || below < 1 || *cwd >= unix.PathMax || *text >= unix.PathMax {
		return fmt.Errorf("%w: %d and %d bytes: want more than the names need, less than %d", errUsage, *cwd, *text, unix.PathMax)
	}
	if err := unix.Mkdir(top, 0o700); err != nil {
		return fmt.Errorf("make %s: %w", top, err)
	}
	defer func() { err = errors.Join(err, unix.Rmdir(top)) }()
	out, err := enterNew(top, folders(down))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out()) }()
	back, err := makeFolders(folders(below))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, back()) }()

	before, after := folders(below)+"/old", folders(below)+"/new"
	for _, name := range []string{before, after} {
		r.path(top + "/" + folders(down) + "/" + name)
	}
	fd, err := unix.Open(before, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return fmt.Errorf("create a file: %w", err)
	}
	r.count("creates")
	if err := unix.Close(fd); err != nil {
		return errors.Join(err, a.remove(r, before))
	}
	if err := unix.Renameat2(unix.AT_FDCWD, before, unix.AT_FDCWD, after, unix.RENAME_NOREPLACE); err != nil {
		return errors.Join(fmt.Errorf("rename a file: %w", err), a.remove(r, before))
	}
	r.count("renames")
	return a.remove(r, after)
}

// folders is a relative path of exactly so many bytes.
func folders(bytes int) string {
	var path strings.Builder
	for bytes > 0 {
		n := min(bytes, folderBytes)
		if bytes-n == 1 { // a slash would end the path
			n--
		}
		path.WriteString(strings.Repeat("d", n))
		if bytes -= n; bytes > 0 {
			path.WriteByte('/')
			bytes--
		}
	}
	return path.String()
}

// enterNew makes a path of folders in another one and goes there; back goes to the root
// and removes them.
func enterNew(in, path string) (back func() error, err error) {
	if err := unix.Chdir(in); err != nil {
		return nil, fmt.Errorf("enter %s: %w", in, err)
	}
	remove, err := makeFolders(path)
	if err != nil {
		return nil, err
	}
	if err := unix.Chdir(path); err != nil {
		return nil, errors.Join(fmt.Errorf("enter a folder: %w", err), remove())
	}
	return func() error { return errors.Join(unix.Chdir(in), remove(), unix.Chdir("/")) }, nil
}

// makeFolders makes a relative path of folders; remove takes them away again.
func makeFolders(path string) (remove func() error, err error) {
	var made []string
	remove = func() error {
		var errs []error
		for i := len(made) - 1; i >= 0; i-- {
			errs = append(errs, unix.Rmdir(made[i]))
		}
		return errors.Join(errs...)
	}
	for i := range len(path) + 1 {
		if i < len(path) && path[i] != '/' {
			continue
		}
		if err := unix.Mkdir(path[:i], 0o700); err != nil {
			return nil, errors.Join(fmt.Errorf("make a folder: %w", err), remove())
		}
		made = append(made, path[:i])
	}
	return remove, nil
}
