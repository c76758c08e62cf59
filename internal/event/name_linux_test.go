package event

import (
	"testing"

	"golang.org/x/sys/unix"
)

func TestFilesystemName(t *testing.T) {
	// Where x/sys knows the number too, the two have to agree.
	for name, magic := range map[string]int64{
		"":             0,
		"0x1":          1,
		"9p":           unix.V9FS_MAGIC,
		"anon_inodefs": unix.ANON_INODE_FS_MAGIC,
		"apparmorfs":   unix.AAFS_MAGIC,
		"autofs":       unix.AUTOFS_SUPER_MAGIC,
		"bdev":         unix.BDEVFS_MAGIC,
		"binfmt_misc":  unix.BINFMTFS_MAGIC,
		"bpf":          unix.BPF_FS_MAGIC,
		"btrfs":        unix.BTRFS_SUPER_MAGIC,
		"ceph":         unix.CEPH_SUPER_MAGIC,
		"cgroup":       unix.CGROUP_SUPER_MAGIC,
		"cgroup2":      unix.CGROUP2_SUPER_MAGIC,
		"cifs":         unix.CIFS_SUPER_MAGIC,
		"debugfs":      unix.DEBUGFS_MAGIC,
		"devpts":       unix.DEVPTS_SUPER_MAGIC,
		"ecryptfs":     unix.ECRYPTFS_SUPER_MAGIC,
		"efivarfs":     unix.EFIVARFS_MAGIC,
		"erofs":        unix.EROFS_SUPER_MAGIC_V1,
		"exfat":        unix.EXFAT_SUPER_MAGIC,
		"ext4":         unix.EXT4_SUPER_MAGIC,
		"f2fs":         unix.F2FS_SUPER_MAGIC,
		"fuse":         unix.FUSE_SUPER_MAGIC,
		"hugetlbfs":    unix.HUGETLBFS_MAGIC,
		"iso9660":      unix.ISOFS_SUPER_MAGIC,
		"nfs":          unix.NFS_SUPER_MAGIC,
		"nsfs":         unix.NSFS_MAGIC,
		"overlay":      unix.OVERLAYFS_SUPER_MAGIC,
		"pidfs":        unix.PID_FS_MAGIC,
		"pipefs":       unix.PIPEFS_MAGIC,
		"proc":         unix.PROC_SUPER_MAGIC,
		"pstore":       unix.PSTOREFS_MAGIC,
		"ramfs":        unix.RAMFS_MAGIC,
		"resctrl":      unix.RDTGROUP_SUPER_MAGIC,
		"secretmem":    unix.SECRETMEM_MAGIC,
		"securityfs":   unix.SECURITYFS_MAGIC,
		"selinuxfs":    unix.SELINUX_MAGIC,
		"smb2":         unix.SMB2_SUPER_MAGIC,
		"sockfs":       unix.SOCKFS_MAGIC,
		"squashfs":     unix.SQUASHFS_MAGIC,
		"sysfs":        unix.SYSFS_MAGIC,
		"tmpfs":        unix.TMPFS_MAGIC,
		"tracefs":      unix.TRACEFS_MAGIC,
		"vfat":         unix.MSDOS_SUPER_MAGIC,
		"xfs":          unix.XFS_SUPER_MAGIC,
		"configfs":     0x62656570,
		"mqueue":       0x19800202,
		"zfs":          0x2fc12fc1,
	} {
		if got := FilesystemName(uint32(magic)); got != name {
			t.Errorf("%#x is %q, want %q", magic, got, name)
		}
	}
}

func TestSocketTypeName(t *testing.T) {
	for n, want := range map[uint32]string{1: "stream", 2: "dgram", 3: "raw", 5: "seqpacket", 0: "0", 10: "10"} {
		if got := SocketTypeName(n); got != want {
			t.Errorf("%d is %q, want %q", n, got, want)
		}
	}
}

func TestExecutable(t *testing.T) {
	for mode, want := range map[uint32]bool{0o644: false, 0o4755: true, 0o001: true, 0o4000: false} {
		if got := (&Chmod{Mode: mode}).Executable(); got != want {
			t.Errorf("%o: %v", mode, got)
		}
	}
}
