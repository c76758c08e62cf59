package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

func memfdExec(a *actor, r *report, args []string) error {
	if err := parse(flag.NewFlagSet("memfd-exec", flag.ContinueOnError), args, 0, 0); err != nil {
		return err
	}
	fd, err := unix.MemfdCreate("attack", unix.MFD_CLOEXEC)
	if err != nil {
		return fmt.Errorf("make memfd: %w", err)
	}
	r.count("memfds")
	f := os.NewFile(uintptr(fd), "memfd")
	defer f.Close()
	content, err := a.ownProgram(r)
	if err != nil {
		return err
	}
	if _, err := f.Write(content); err != nil {
		return fmt.Errorf("write memfd: %w", err)
	}
	return become(r, fd)
}

func deletedExec(a *actor, r *report, args []string) error {
	if err := parse(flag.NewFlagSet("deleted-exec", flag.ContinueOnError), args, 0, 0); err != nil {
		return err
	}
	content, err := a.ownProgram(r)
	if err != nil {
		return err
	}
	name, err := a.make(r, "", content, 0o700)
	if err != nil {
		return err
	}
	r.path(name)
	fd, err := unix.Open(name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return errors.Join(fmt.Errorf("open %s: %w", name, err), a.remove(r, name))
	}
	r.count("opens_read")
	if err := a.remove(r, name); err != nil {
		return errors.Join(err, unix.Close(fd))
	}
	return errors.Join(become(r, fd), unix.Close(fd))
}

// ownProgram is the file this process runs.
func (a *actor) ownProgram(r *report) ([]byte, error) {
	content, err := os.ReadFile(a.self)
	if err != nil {
		return nil, fmt.Errorf("read own program: %w", err)
	}
	r.count("opens_read")
	return content, nil
}

// become replaces this process by the program in a file without a name. That
// program, a copy of this one, prints the report: a line is the proof that it ran.
func become(r *report, fd int) error {
	r.count("execs")
	line, err := json.Marshal(r.finish(nil))
	if err != nil {
		return err
	}
	argv, err := syscall.SlicePtrFromStrings([]string{"attack", "noop", "-say", string(line)})
	if err != nil {
		return err
	}
	env, err := syscall.SlicePtrFromStrings(os.Environ())
	if err != nil {
		return err
	}
	empty, err := syscall.BytePtrFromString("")
	if err != nil {
		return err
	}
	_, _, errno := unix.Syscall6(unix.SYS_EXECVEAT, uintptr(fd), uintptr(unsafe.Pointer(empty)),
		uintptr(unsafe.Pointer(&argv[0])), uintptr(unsafe.Pointer(&env[0])), unix.AT_EMPTY_PATH, 0)
	r.Counts["execs"]--
	return fmt.Errorf("execute descriptor %d: %w", fd, errno)
}
