package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// returnCode is one instruction: return to the caller.
func returnCode() []byte {
	if runtime.GOARCH == "arm64" {
		return []byte{0xc0, 0x03, 0x5f, 0xd6}
	}
	return []byte{0xc3}
}

// page maps one page and notes where.
func page(r *report, fd, protection, how int) ([]byte, error) {
	m, err := unix.Mmap(fd, 0, os.Getpagesize(), protection, how)
	if err != nil {
		return nil, fmt.Errorf("map page: %w", err)
	}
	r.count("mmaps")
	r.Address, r.Length = uint64(uintptr(unsafe.Pointer(&m[0]))), len(m)
	return m, nil
}

func mprotect(_ *actor, r *report, args []string) error {
	if err := parse(flag.NewFlagSet("mprotect", flag.ContinueOnError), args, 0, 0); err != nil {
		return err
	}
	m, err := page(r, -1, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return err
	}
	copy(m, returnCode())
	if err := unix.Mprotect(m, unix.PROT_READ|unix.PROT_EXEC); err != nil {
		return errors.Join(fmt.Errorf("protect page: %w", err), unix.Munmap(m))
	}
	r.count("mprotects")
	return unix.Munmap(m)
}

func mmapWX(_ *actor, r *report, args []string) error {
	if err := parse(flag.NewFlagSet("mmap-wx", flag.ContinueOnError), args, 0, 0); err != nil {
		return err
	}
	m, err := page(r, -1, unix.PROT_READ|unix.PROT_WRITE|unix.PROT_EXEC, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return err
	}
	return unix.Munmap(m)
}

func mmapMemfdExec(_ *actor, r *report, args []string) (err error) {
	if err := parse(flag.NewFlagSet("mmap-memfd-exec", flag.ContinueOnError), args, 0, 0); err != nil {
		return err
	}
	fd, err := unix.MemfdCreate("attack", unix.MFD_CLOEXEC)
	if err != nil {
		return fmt.Errorf("make memfd: %w", err)
	}
	r.count("memfds")
	defer func() { err = errors.Join(err, unix.Close(fd)) }()
	if _, err := unix.Write(fd, returnCode()); err != nil {
		return fmt.Errorf("write memfd: %w", err)
	}
	m, err := page(r, fd, unix.PROT_READ|unix.PROT_EXEC, unix.MAP_PRIVATE)
	if err != nil {
		return err
	}
	return unix.Munmap(m)
}
