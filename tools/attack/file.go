package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
)

// make creates a file in the actor's folder, under a name that did not exist,
// and writes content. An empty name is replaced by one of our own.
func (a *actor) make(r *report, name string, content []byte, mode uint32) (string, error) {
	if name == "" {
		name = fmt.Sprintf("attack-%d-%d", os.Getpid(), r.Counts["creates"])
	}
	path := filepath.Join(a.dir, name)
	fd, err := unix.Open(path, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_CLOEXEC, mode)
	if err != nil {
		return "", fmt.Errorf("create %s: %w", path, err)
	}
	r.count("creates")
	f := os.NewFile(uintptr(fd), path)
	_, err = f.Write(content)
	if err := errors.Join(err, f.Close()); err != nil {
		return "", errors.Join(err, a.remove(r, path))
	}
	return path, nil
}

func (a *actor) remove(r *report, path string) error {
	if err := unix.Unlink(path); err != nil {
		return fmt.Errorf("unlink %s: %w", path, err)
	}
	r.count("unlinks")
	return nil
}

// openClose opens a file that exists, and closes it.
func openClose(r *report, path string, how int, what string) error {
	fd, err := unix.Open(path, how|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w", path, err)
	}
	r.count(what)
	return unix.Close(fd)
}

// parseMode reads permission bits; set-user-id and the like are refused.
func parseMode(text string) (uint32, error) {
	mode, err := strconv.ParseUint(text, 8, 32)
	if err != nil || mode > 0o777 {
		return 0, fmt.Errorf("%w: mode %q: want at most 0777", errUsage, text)
	}
	return uint32(mode), nil
}

func create(a *actor, r *report, args []string) error {
	flags := flag.NewFlagSet("create", flag.ContinueOnError)
	name, text := flags.String("name", "", ""), flags.String("text", "", "")
	octal, keep := flags.String("mode", "0600", ""), flags.Bool("keep", false, "")
	if err := parse(flags, args, 0, 0); err != nil {
		return err
	}
	mode, err := parseMode(*octal)
	if err != nil {
		return err
	}
	path, err := a.make(r, *name, []byte(*text), mode)
	if err != nil {
		return err
	}
	r.path(path)
	if *keep {
		return nil
	}
	return a.remove(r, path)
}

func openWrite(a *actor, r *report, args []string) error {
	flags := flag.NewFlagSet("open-write", flag.ContinueOnError)
	if err := parse(flags, args, 0, 1); err != nil {
		return err
	}
	if flags.NArg() == 1 {
		r.path(flags.Arg(0))
		if err := requireRegular(flags.Arg(0)); err != nil {
			return err
		}
		return openClose(r, flags.Arg(0), unix.O_WRONLY, "opens_write")
	}
	path, err := a.make(r, "", nil, 0o600)
	if err != nil {
		return err
	}
	r.path(path)
	return errors.Join(openClose(r, path, unix.O_WRONLY, "opens_write"), a.remove(r, path))
}

// requireRegular refuses what could react to being opened: devices, pipes.
func requireRegular(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("open %s: not a regular file", path)
	}
	return nil
}

func read(_ *actor, r *report, args []string) error {
	flags := flag.NewFlagSet("read", flag.ContinueOnError)
	if err := parse(flags, args, 1, 1); err != nil {
		return err
	}
	path := flags.Arg(0)
	r.path(path)
	if err := requireRegular(path); err != nil {
		return err
	}
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w", path, err)
	}
	r.count("opens_read")
	n, err := unix.Read(fd, make([]byte, 4096))
	if err != nil {
		return errors.Join(fmt.Errorf("read %s: %w", path, err), unix.Close(fd))
	}
	r.Counts["read_bytes"] = n
	return unix.Close(fd)
}

func rename(a *actor, r *report, args []string) error {
	flags := flag.NewFlagSet("rename", flag.ContinueOnError)
	name, to := flags.String("name", "", ""), flags.String("to", "", "")
	keep := flags.Bool("keep", false, "")
	if err := parse(flags, args, 0, 0); err != nil {
		return err
	}
	path, err := a.make(r, *name, nil, 0o600)
	if err != nil {
		return err
	}
	target := path + "-renamed"
	if *to != "" {
		target = filepath.Join(a.dir, *to)
	}
	r.path(path)
	r.path(target)
	if err := unix.Renameat2(unix.AT_FDCWD, path, unix.AT_FDCWD, target, unix.RENAME_NOREPLACE); err != nil {
		return errors.Join(fmt.Errorf("rename %s to %s: %w", path, target, err), a.remove(r, path))
	}
	r.count("renames")
	if *keep {
		return nil
	}
	return a.remove(r, target)
}

func unlink(a *actor, r *report, args []string) error {
	flags := flag.NewFlagSet("unlink", flag.ContinueOnError)
	name := flags.String("name", "", "")
	if err := parse(flags, args, 0, 0); err != nil {
		return err
	}
	path, err := a.make(r, *name, nil, 0o600)
	if err != nil {
		return err
	}
	r.path(path)
	return a.remove(r, path)
}

func chmod(a *actor, r *report, args []string) error {
	flags := flag.NewFlagSet("chmod", flag.ContinueOnError)
	name, octal := flags.String("name", "", ""), flags.String("mode", "0755", "")
	keep := flags.Bool("keep", false, "")
	if err := parse(flags, args, 0, 0); err != nil {
		return err
	}
	mode, err := parseMode(*octal)
	if err != nil {
		return err
	}
	path, err := a.make(r, *name, nil, 0o600)
	if err != nil {
		return err
	}
	r.path(path)
	if err := unix.Chmod(path, mode); err != nil {
		return errors.Join(fmt.Errorf("chmod %s: %w", path, err), a.remove(r, path))
	}
	r.count("chmods")
	if *keep {
		return nil
	}
	return a.remove(r, path)
}

func knob(_ *actor, r *report, args []string) error {
	flags := flag.NewFlagSet("knob", flag.ContinueOnError)
	if err := parse(flags, args, 1, 1); err != nil {
		return err
	}
	path := flags.Arg(0)
	r.path(path)
	var where unix.Statfs_t
	if err := unix.Statfs(path, &where); err != nil {
		return fmt.Errorf("find file system of %s: %w", path, err)
	}
	kinds := []int64{unix.PROC_SUPER_MAGIC, unix.SYSFS_MAGIC, unix.CGROUP_SUPER_MAGIC, unix.CGROUP2_SUPER_MAGIC, unix.BINFMTFS_MAGIC}
	if !slices.Contains(kinds, int64(where.Type)) {
		return fmt.Errorf("open %s: not a kernel knob", path)
	}
	return openClose(r, path, unix.O_WRONLY, "opens_write")
}

func badPath(a *actor, r *report, args []string) error {
	if err := parse(flag.NewFlagSet("bad-path", flag.ContinueOnError), args, 0, 0); err != nil {
		return err
	}
	for _, name := range []string{"new\nline", "invalid-\xff\xfe-utf8", `back\slash`, "escape-\x1b[31m"} {
		path, err := a.make(r, fmt.Sprintf("attack-%d-%s", os.Getpid(), name), nil, 0o600)
		if err != nil {
			return err
		}
		r.path(path)
		if err := errors.Join(openClose(r, path, unix.O_RDONLY, "opens_read"), a.remove(r, path)); err != nil {
			return err
		}
	}
	return nil
}
