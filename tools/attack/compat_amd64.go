package main

import (
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"unsafe"

	"golang.org/x/sys/unix"
)

// int80 makes a system call through the 32-bit entry.
func int80(number, a, b, c uint32) int32

// open32 is open(2) of the 32-bit ABI, whose number is 5. Its pointer has to
// fit 32 bits, so the path is put into a page below 2 GiB.
func open32(path string, how int) (fd int, err error) {
	if len(path) >= unix.PathMax {
		return -1, unix.ENAMETOOLONG
	}
	m, err := unix.Mmap(-1, 0, unix.PathMax, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_32BIT)
	if err != nil {
		return -1, fmt.Errorf("map low page: %w", err)
	}
	defer func() { err = errors.Join(err, unix.Munmap(m)) }()
	copy(m, path)
	fd, err = trap(5, uint32(uintptr(unsafe.Pointer(&m[0]))), uint32(how))
	if err != nil {
		return -1, fmt.Errorf("open %s by the 32-bit ABI: %w", path, err)
	}
	return fd, nil
}

// trap survives a kernel without the 32-bit ABI, where the instruction faults.
func trap(number, a, b uint32) (result int, err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		switch fault := recover().(type) {
		case nil:
		case runtime.Error:
			err = fmt.Errorf("this kernel has no 32-bit ABI: %w", fault)
		default:
			panic(fault)
		}
	}()
	n := int80(number, a, b, 0)
	if n < 0 {
		return -1, unix.Errno(-n)
	}
	return int(n), nil
}
