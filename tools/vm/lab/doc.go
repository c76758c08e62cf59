// Package lab boots a Debian kernel in a throw-away QEMU machine and runs one
// command in it, so that what only a kernel can answer is tested on the kernels
// that are supported, whatever kernel the developer has.
//
// It owns a cache of kernels (see [Fetch]) and, for the time of one
// [Machine.Run], a QEMU process and nameless temporary files; they are gone when
// Run returns or the process that called it dies. The processor is emulated in
// software: neither /dev/kvm nor root is needed, and wall time grows with the
// load of the host, so give Timeout room.
//
// The guest: the command runs as root in /root with busybox's programs in PATH.
// Mounted are proc, sys, dev, tmp, run, tracefs, debugfs, bpffs, securityfs and
// cgroup2 with all its controllers on; lo is up; there is no network outside.
// Its stdout and stderr are devices that can be held open by one opener at a
// time: opening /dev/stdout once more fails with EBUSY.
//
// Memory is counted in MiB, times are host time. A Machine may be run several
// times and at the same time; Fetch is safe between processes, too.
package lab
