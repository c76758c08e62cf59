package live

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// creat is the system call of that name; the library's function of that name is an open.
func creat(file string) (fd int, err error) {
	path, err := unix.BytePtrFromString(file)
	if err != nil {
		return -1, err
	}
	n, _, errno := unix.Syscall(unix.SYS_CREAT, uintptr(unsafe.Pointer(path)), 0o600, 0)
	if errno != 0 {
		return -1, errno
	}
	return int(n), nil
}
