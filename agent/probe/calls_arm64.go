package probe

import "golang.org/x/sys/unix"

// nativeCalls are numbers of the 64-bit ABI; arm64 never had open, rename, unlink, chmod.
var nativeCalls = map[string]uint32{
	"accept": unix.SYS_ACCEPT, "accept4": unix.SYS_ACCEPT4, "connect": unix.SYS_CONNECT, "fchmod": unix.SYS_FCHMOD,
	"fchmodat": unix.SYS_FCHMODAT, "fchmodat2": unix.SYS_FCHMODAT2, "mmap": unix.SYS_MMAP,
	"mprotect": unix.SYS_MPROTECT, "openat": unix.SYS_OPENAT, "openat2": unix.SYS_OPENAT2,
	"pkey_mprotect": unix.SYS_PKEY_MPROTECT, "renameat": unix.SYS_RENAMEAT, "renameat2": unix.SYS_RENAMEAT2,
	"setns": unix.SYS_SETNS, "unlinkat": unix.SYS_UNLINKAT, "unshare": unix.SYS_UNSHARE,
}

// compatCalls are numbers of the 32-bit ABI: arch/arm/tools/syscall.tbl.
var compatCalls = map[string]uint32{
	"accept": 285, "accept4": 366, "chmod": 15, "connect": 283, "creat": 8, "fchmod": 94, "fchmodat": 333,
	"fchmodat2": 452, "mmap2": 192, "mprotect": 125, "open": 5, "openat": 322, "openat2": 437,
	"pkey_mprotect": 394, "rename": 38, "renameat": 329, "renameat2": 382, "setns": 375, "unlink": 10,
	"unlinkat": 328, "unshare": 337,
}
