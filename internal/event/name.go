package event

import "strconv"

// FilesystemName names a super block magic as mount(8) would; an unknown one is
// its number in hex.
func FilesystemName(magic uint32) string {
	switch magic {
	case 0:
		return ""
	case 0x794c7630:
		return "overlay"
	case 0xef53: // shared by ext2 and ext3, which the ext4 driver serves
		return "ext4"
	case 0x58465342:
		return "xfs"
	case 0x9123683e:
		return "btrfs"
	case 0x01021994: // devtmpfs is one too
		return "tmpfs"
	case 0x858458f6:
		return "ramfs"
	case 0x958458f6:
		return "hugetlbfs"
	case 0x9fa0:
		return "proc"
	case 0x62656572:
		return "sysfs"
	case 0x27e0eb:
		return "cgroup"
	case 0x63677270:
		return "cgroup2"
	case 0x1cd1:
		return "devpts"
	case 0x19800202:
		return "mqueue"
	case 0x6e736673:
		return "nsfs"
	case 0x50495045:
		return "pipefs"
	case 0x534f434b:
		return "sockfs"
	case 0x50494446:
		return "pidfs"
	case 0x09041934:
		return "anon_inodefs"
	case 0xcafe4a11:
		return "bpf"
	case 0x73636673:
		return "securityfs"
	case 0xf97cff8c:
		return "selinuxfs"
	case 0x5a3c69f0:
		return "apparmorfs"
	case 0x64626720:
		return "debugfs"
	case 0x74726163:
		return "tracefs"
	case 0x62656570:
		return "configfs"
	case 0x42494e4d:
		return "binfmt_misc"
	case 0xde5e81e4:
		return "efivarfs"
	case 0x6165676c:
		return "pstore"
	case 0x7655821:
		return "resctrl"
	case 0x0187:
		return "autofs"
	case 0x65735546:
		return "fuse"
	case 0x6969:
		return "nfs"
	case 0xff534d42:
		return "cifs"
	case 0xfe534d42:
		return "smb2"
	case 0x00c36400:
		return "ceph"
	case 0x01021997:
		return "9p"
	case 0x2fc12fc1:
		return "zfs"
	case 0xf2f52010:
		return "f2fs"
	case 0x73717368:
		return "squashfs"
	case 0xe0f5e1e2:
		return "erofs"
	case 0x9660:
		return "iso9660"
	case 0x4d44:
		return "vfat"
	case 0x2011bab0:
		return "exfat"
	case 0xf15f:
		return "ecryptfs"
	case 0x62646576:
		return "bdev"
	case 0x5345434d:
		return "secretmem"
	}
	return "0x" + strconv.FormatUint(uint64(magic), 16)
}

// SocketTypeName names SOCK_*: stream, dgram, raw, seqpacket or the number.
func SocketTypeName(t uint32) string {
	switch t {
	case 1:
		return "stream"
	case 2:
		return "dgram"
	case 3:
		return "raw"
	case 5:
		return "seqpacket"
	}
	return strconv.FormatUint(uint64(t), 10)
}

// Loopback reports whether the address never leaves the host.
func (a Address) Loopback() bool { return a.IP.Unmap().IsLoopback() }

// Executable reports whether an execute bit is in the new mode.
func (c *Chmod) Executable() bool { return c.Mode&0o111 != 0 }

// Changed names the namespace kinds in which the actor moved. A kind that was
// not known on either side did not.
func (n *Namespace) Changed() []string {
	var names []string
	after := n.After.numbers()
	for i, before := range n.Before.numbers() {
		if before != 0 && after[i] != 0 && before != after[i] {
			names = append(names, namespaceNames[i])
		}
	}
	return names
}

// JoinedHost names those of Changed that are now the host's.
func (n *Namespace) JoinedHost() []string {
	var names []string
	before, host := n.Before.numbers(), n.Host.numbers()
	for i, after := range n.After.numbers() {
		if before[i] != 0 && before[i] != after && after != 0 && after == host[i] {
			names = append(names, namespaceNames[i])
		}
	}
	return names
}

var namespaceNames = [...]string{"mount", "pid", "net", "user", "uts", "ipc", "cgroup"}

// numbers are the inodes in the order of namespaceNames.
func (n Namespaces) numbers() [len(namespaceNames)]uint32 {
	return [...]uint32{n.Mount, n.PID, n.Net, n.User, n.UTS, n.IPC, n.Cgroup}
}
