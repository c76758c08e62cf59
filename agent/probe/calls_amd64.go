package probe

import "golang.org/x/sys/unix"

// nativeCalls are numbers of the 64-bit ABI; x32 uses the same below a flag bit.
var nativeCalls = map[string]uint32{
	"accept": unix.SYS_ACCEPT, "accept4": unix.SYS_ACCEPT4, "chmod": unix.SYS_CHMOD, "connect": unix.SYS_CONNECT,
	"creat": unix.SYS_CREAT, "fchmod": unix.SYS_FCHMOD, "fchmodat": unix.SYS_FCHMODAT, "fchmodat2": unix.SYS_FCHMODAT2,
	"mmap": unix.SYS_MMAP, "mprotect": unix.SYS_MPROTECT, "open": unix.SYS_OPEN, "openat": unix.SYS_OPENAT,
	"openat2": unix.SYS_OPENAT2, "pkey_mprotect": unix.SYS_PKEY_MPROTECT, "rename": unix.SYS_RENAME,
	"renameat": unix.SYS_RENAMEAT, "renameat2": unix.SYS_RENAMEAT2, "setns": unix.SYS_SETNS,
	"unlink": unix.SYS_UNLINK, "unlinkat": unix.SYS_UNLINKAT, "unshare": unix.SYS_UNSHARE,
}

// compatCalls are numbers of the 32-bit ABI: arch/x86/entry/syscalls/syscall_32.tbl.
var compatCalls = map[string]uint32{
	"accept4": 364, "chmod": 15, "connect": 362, "creat": 8, "fchmod": 94, "fchmodat": 306, "fchmodat2": 452,
	"mmap2": 192, "mprotect": 125, "open": 5, "openat": 295, "openat2": 437, "pkey_mprotect": 380, "rename": 38,
	"renameat": 302, "renameat2": 353, "setns": 346, "socketcall": 102, "unlink": 10, "unlinkat": 301, "unshare": 310,
}
