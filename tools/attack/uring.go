package main

import (
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Of the kernel's io_uring interface, what one open needs (linux/io_uring.h).
const (
	uringSubmitRing  = 0
	uringEntriesArea = 0x10000000
	uringOpenAt      = 18
	uringWait        = 1 // IORING_ENTER_GETEVENTS
)

type uringSubmitOffsets struct {
	head, tail, mask, entries, flags, dropped, array, _ uint32
	_                                                   uint64
}

type uringCompleteOffsets struct {
	head, tail, mask, entries, overflow, entry, flags, _ uint32
	_                                                    uint64
}

type uringParams struct {
	submitEntries, completeEntries, flags, threadCPU, threadIdle, features, queue uint32
	_                                                                             [3]uint32
	submit                                                                        uringSubmitOffsets
	complete                                                                      uringCompleteOffsets
}

type uringSubmission struct {
	opcode, flags uint8
	priority      uint16
	fd            int32
	offset        uint64
	address       uint64
	length        uint32
	openFlags     uint32
	userData      uint64
	_             [3]uint64
}

type uringCompletion struct {
	userData uint64
	result   int32
	flags    uint32
}

// openUring is open(2) as a request in a ring of one entry: no open system call
// takes place.
func openUring(path string, how int) (fd int, err error) {
	name, err := unix.BytePtrFromString(path)
	if err != nil {
		return -1, err
	}
	var p uringParams
	n, _, errno := unix.Syscall(unix.SYS_IO_URING_SETUP, 1, uintptr(unsafe.Pointer(&p)), 0)
	if errno != 0 {
		return -1, fmt.Errorf("make io_uring: %w", errno)
	}
	uring := int(n)
	defer func() { err = errors.Join(err, unix.Close(uring)) }()

	// Since 5.4 one mapping holds both rings.
	size := max(p.submit.array+4*p.submitEntries, p.complete.entry+p.completeEntries*uint32(unsafe.Sizeof(uringCompletion{})))
	rings, err := unix.Mmap(uring, uringSubmitRing, int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_POPULATE)
	if err != nil {
		return -1, fmt.Errorf("map io_uring: %w", err)
	}
	defer func() { err = errors.Join(err, unix.Munmap(rings)) }()
	entries, err := unix.Mmap(uring, uringEntriesArea, int(unsafe.Sizeof(uringSubmission{}))*int(p.submitEntries),
		unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_POPULATE)
	if err != nil {
		return -1, fmt.Errorf("map io_uring entries: %w", err)
	}
	defer func() { err = errors.Join(err, unix.Munmap(entries)) }()

	*(*uringSubmission)(unsafe.Pointer(&entries[0])) = uringSubmission{
		opcode: uringOpenAt, fd: unix.AT_FDCWD,
		address: uint64(uintptr(unsafe.Pointer(name))), openFlags: uint32(how | unix.O_CLOEXEC),
	}
	*(*uint32)(unsafe.Pointer(&rings[p.submit.array])) = 0
	atomic.AddUint32((*uint32)(unsafe.Pointer(&rings[p.submit.tail])), 1)
	_, _, errno = unix.Syscall6(unix.SYS_IO_URING_ENTER, uintptr(uring), 1, 1, uringWait, 0, 0)
	runtime.KeepAlive(name)
	if errno != 0 {
		return -1, fmt.Errorf("enter io_uring: %w", errno)
	}
	done := *(*uringCompletion)(unsafe.Pointer(&rings[p.complete.entry]))
	if done.result < 0 {
		return -1, fmt.Errorf("open %s by io_uring: %w", path, unix.Errno(-done.result))
	}
	return int(done.result), nil
}
