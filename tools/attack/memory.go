package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
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
	return mapped(r, fd, 1, protection, how)
}

func mapped(r *report, fd, pages, protection, how int) ([]byte, error) {
	m, err := unix.Mmap(fd, 0, pages*os.Getpagesize(), protection, how)
	if err != nil {
		return nil, fmt.Errorf("map page: %w", err)
	}
	r.count("mmaps")
	r.Address, r.Length = uint64(uintptr(unsafe.Pointer(&m[0]))), len(m)
	return m, nil
}

func mprotect(a *actor, r *report, args []string) error {
	flags := flag.NewFlagSet("mprotect", flag.ContinueOnError)
	behind, again := flags.Bool("behind", false, ""), flags.Bool("again", false, "")
	busy := flags.Int("busy", 0, "")
	if err := parse(flags, args, 0, 0); err != nil {
		return err
	}
	quiet := keepBusy(r, *busy)
	err := protect(r, *behind)
	if err := errors.Join(err, quiet()); err != nil || !*again {
		return err
	}
	if err := printLine(a.out, r.finish(nil)); err != nil {
		return err
	}
	if err := unix.Exec(a.self, []string{a.self, "mprotect"}, os.Environ()); err != nil {
		return fmt.Errorf("execute %s: %w", a.self, err)
	}
	return nil
}

// protect takes write from a page and gives it execute; behind: as the second of two
// pages, the first of which is executable already.
func protect(r *report, behind bool) error {
	first, pages := unix.PROT_READ|unix.PROT_WRITE, 1
	if behind {
		first, pages = unix.PROT_READ|unix.PROT_EXEC, 2
	}
	m, err := mapped(r, -1, pages, first, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return err
	}
	last := m[len(m)-os.Getpagesize():]
	if behind {
		if err := protectPage(r, last, unix.PROT_READ|unix.PROT_WRITE); err != nil {
			return errors.Join(err, unix.Munmap(m))
		}
	}
	copy(last, returnCode())
	return errors.Join(protectPage(r, m, unix.PROT_READ|unix.PROT_EXEC), unix.Munmap(m))
}

func protectPage(r *report, m []byte, protection int) error {
	if err := unix.Mprotect(m, protection); err != nil {
		return fmt.Errorf("protect page: %w", err)
	}
	r.count("mprotects")
	return nil
}

// keepBusy has threads map and unmap a page until the function it returns is called.
func keepBusy(r *report, threads int) (quiet func() error) {
	var running, started sync.WaitGroup
	var stop atomic.Bool
	var mmaps atomic.Int64
	errs := make([]error, threads)
	started.Add(threads)
	for i := range threads {
		running.Go(func() {
			runtime.LockOSThread()
			started.Done()
			for errs[i] == nil && !stop.Load() {
				p, err := unix.MmapPtr(-1, 0, nil, uintptr(os.Getpagesize()), unix.PROT_READ, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
				if err != nil {
					errs[i] = fmt.Errorf("map page: %w", err)
					return
				}
				mmaps.Add(1)
				errs[i] = unix.MunmapPtr(p, uintptr(os.Getpagesize()))
			}
		})
	}
	started.Wait()
	return func() error {
		stop.Store(true)
		running.Wait()
		r.Counts["mmaps"] += int(mmaps.Load())
		return errors.Join(errs...)
	}
}

const personalityReadImpliesExec = 0x0400000 // linux/personality.h

func readImpliesExec(_ *actor, r *report, args []string) (err error) {
	if err := parse(flag.NewFlagSet("read-implies-exec", flag.ContinueOnError), args, 0, 0); err != nil {
		return err
	}
	// Of this thread, the main one, alone.
	before, err := personality(0xffffffff) // asks only
	if err != nil {
		return err
	}
	if _, err := personality(before | personalityReadImpliesExec); err != nil {
		return err
	}
	defer func() {
		_, back := personality(before)
		err = errors.Join(err, back)
	}()
	m, err := page(r, -1, unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return err
	}
	copy(m, returnCode())
	return errors.Join(protectPage(r, m, unix.PROT_READ), unix.Munmap(m))
}

func personality(to uintptr) (before uintptr, err error) {
	before, _, errno := unix.RawSyscall(unix.SYS_PERSONALITY, to, 0, 0)
	if errno != 0 {
		return 0, fmt.Errorf("change personality: %w", errno)
	}
	return before, nil
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
