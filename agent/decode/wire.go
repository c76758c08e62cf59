package decode

// The structs of bpf/event.h as Go lays them out: natural alignment with the
// padding named, so that both compilers agree. Tests compare every field with
// the header and with the type information of the compiled layout object.

type wireSpan struct {
	Offset uint32 // from the start of the record
	Length uint32
}

type wireHeader struct {
	TimeNS        uint64
	Sequence      uint64
	StartNS       uint64
	ParentStartNS uint64
	CgroupID      uint64
	Size          uint32
	Kind          uint16
	Flags         uint16
	CPU           uint32
	TGID          uint32
	TID           uint32
	ParentTGID    uint32
	UID           uint32
	EUID          uint32
	GID           uint32
	MountNS       uint32
	PIDNS         uint32
	Tree          uint32
	Comm          [16]byte
}

const (
	wireFileOverlayUpper = 1 << iota
	wireFileMemfd
	wireFileDeleted
	wireFileOverlay
)

type wireFile struct {
	Inode      uint64
	SizeBytes  uint64
	ChangeNS   uint64
	Device     uint32
	Filesystem uint32
	Mode       uint32
	UID        uint32
	Links      uint32
	Flags      uint32
}

type wireNamespaces struct {
	Mount  uint32
	PID    uint32
	Net    uint32
	User   uint32
	UTS    uint32
	IPC    uint32
	Cgroup uint32
	Pad    uint32
}

type wireAddress struct {
	Address [16]byte
	Port    uint16
	Family  uint16
	NetNS   uint32
}

type wireStdio struct {
	Inode  uint64
	Local  wireAddress
	Remote wireAddress
	Kind   uint32
	Device uint32
}

const (
	wireExecEntered = 1 << iota
	wireExecInit
	wireExecArgsTruncated
	wireExecArgsUnreadable
	wireExecSecure
)

type wireExec struct {
	Header       wireHeader
	File         wireFile
	Namespaces   wireNamespaces
	Stdio        [3]wireStdio
	CapEffective uint64
	CapPermitted uint64
	UID          uint32
	GID          uint32
	EUID         uint32
	EGID         uint32
	SUID         uint32
	SGID         uint32
	NSTGID       uint32
	SessionID    uint32
	TTY          uint32
	ArgsBytes    uint32
	Flags        uint32
	Pad          uint32
	Path         wireSpan
	CWD          wireSpan
	Args         wireSpan
	Filename     wireSpan
}

type wireFork struct {
	Header             wireHeader
	ChildStartNS       uint64
	ChildCgroupID      uint64
	ChildParentStartNS uint64
	ChildTGID          uint32
	ChildParentTGID    uint32
	ChildNSTGID        uint32
	ChildPIDNS         uint32
	ChildTree          uint32
	Pad                uint32
}

type wireExit struct {
	Header   wireHeader
	ExitCode uint32
	Pad      uint32
}

type wireNamespace struct {
	Header wireHeader
	Before wireNamespaces
	After  wireNamespaces
	Result int64
}

const (
	wireOpenWrite = 1 << iota
	wireOpenRead
	wireOpenCreated
	wireOpenTruncate
	wireOpenFailed
)

type wireOpen struct {
	Header wireHeader
	File   wireFile
	Result int64
	Flags  uint32
	Seen   uint32
	Path   wireSpan
}

type wireRename struct {
	Header  wireHeader
	File    wireFile
	Result  int64
	Path    wireSpan
	NewPath wireSpan
}

type wireUnlink struct {
	Header wireHeader
	File   wireFile
	Result int64
	Path   wireSpan
}

type wireChmod struct {
	Header wireHeader
	File   wireFile
	Result int64
	Mode   uint32
	Pad    uint32
	Path   wireSpan
}

type wireFlow struct {
	Header   wireHeader
	Local    wireAddress
	Remote   wireAddress
	Result   int64
	Type     uint32
	Protocol uint32
	Path     wireSpan
}

const wireMemoryBeforeUnknown = 0x80000000

type wireMemory struct {
	Header      wireHeader
	File        wireFile
	Address     uint64
	LengthBytes uint64
	Result      int64
	Before      uint32
	After       uint32
	Region      uint32
	MapFlags    uint32
	Path        wireSpan
}

type wireCgroup struct {
	Header wireHeader
	ID     uint64
	Path   wireSpan
}
