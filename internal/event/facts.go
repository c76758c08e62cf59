package event

import (
	"net/netip"
	"strings"
	"time"
)

// Process is a program in a process. A Process never changes once published: an
// exec publishes a new one with the same Key.
type Process struct {
	// ID is 32 hex digits derived from boot id and Key (see [ProcessID]).
	ID     string
	Key    Key
	Coarse bool // Key.Start came from procfs, in ticks of 10 ms

	// Parent is the creator as it was when it forked, however long dead; nil: not
	// known. Chains are bounded by their owner.
	Parent *Process
	// ParentKey is the parent by the kernel's word, also where Parent is nil.
	ParentKey Key

	StartWall time.Time
	ExecTime  time.Time // zero: running before the agent, or came by fork
	Comm      string
	Name      string // last name of Exe.Path
	Exe       File
	Args      []string
	ArgsCut   bool
	ArgsBytes uint32
	CWD       string
	Filename  string

	Credentials   Credentials
	Namespaces    Namespaces
	HostMount     bool // the mount namespace is the host's
	NSPID         uint32
	SessionLeader uint32
	TTY           string
	Stdio         [3]Stdio
	CgroupID      uint64
	Tree          Tree
	Session       *Session
	// Home is the container that the process comes from; nil: the host.
	Home Home
	// Unknown says that only Key and Comm are known.
	Unknown bool
}

// Ancestors calls yield for the process's ancestors, nearest first, until it
// returns false. It allocates nothing.
func (p *Process) Ancestors(yield func(*Process) bool) {
	for a := p.Parent; a != nil && yield(a); a = a.Parent {
	}
}

// Home is a container as the place that processes come from. It lasts as long as one of
// them is remembered, also when cgroup and container are long gone. Unlike other facts it
// goes with the times: a runtime's word may come after the process.
type Home interface {
	// ID is the container's, as its cgroup claims it.
	ID() string
	// Container is what is known now. Nil: the claim was refuted or, while pending,
	// awaits a runtime's word.
	Container() (c *Container, pending bool)
	// Cgroup is one of the container's.
	Cgroup() uint64
}

// Session is a tree of processes that entered a container from outside, through
// its runtime or past it.
type Session struct {
	ID          string
	Root        Key
	RootID      string
	Time        time.Time
	ContainerID string
	Args        []string
	ArgsCut     bool
	TTY         string
	Init        bool // the container's own first program; false: kubectl exec and the like
	// ByNamespace says that the root was not started by the runtime: it is a process from
	// elsewhere that came into the container's mount namespace.
	ByNamespace bool
	// ExecID is the id that containerd was asked with; "": not known.
	ExecID string
}

// EnteredBy is how the session's root came in: runtime or namespace.
func (s *Session) EnteredBy() string {
	if s.ByNamespace {
		return "namespace"
	}
	return "runtime"
}

// Container is what is known of a container. A Container never changes once
// published: news publish a new one with the same ID.
type Container struct {
	ID               string
	Runtime          string // containerd, or unknown: no runtime told its name
	RuntimeNamespace string
	Name             string
	Image            string
	ImageDigest      string
	Created          time.Time
	PodName          string
	PodNamespace     string
	PodUID           string
	Labels           map[string]string
	CgroupID         uint64
	CgroupPath       string
}

// File is a file as the kernel holds it.
type File struct {
	Path         string
	Inode        uint64
	Device       uint32 // major << 20 | minor
	Magic        uint32 // super block magic
	Mode         uint32
	UID          uint32
	Links        uint32
	Size         uint64
	ChangeTime   int64 // ctime, Unix nanoseconds; 0: not known
	OverlayUpper bool
	Overlay      bool
	Memfd        bool
	Deleted      bool
	// Origin is who wrote the file, attached where the agent saw it.
	Origin *Origin
}

// Name is the last name of the file's path. It allocates nothing.
func (f *File) Name() string { return BaseName(f.Path) }

// Clone returns a File that owns its text.
func (f *File) Clone() File {
	kept := *f
	kept.Path = strings.Clone(f.Path)
	return kept
}

// BaseName is the last name of a path, "" for a path that ends in a slash.
func BaseName(path string) string { return path[strings.LastIndexByte(path, '/')+1:] }

// Origin is the last process seen opening a file for write, or started with its
// output or errors going to it; where none was, the one seen renaming it into
// place. Its process has no ancestors.
type Origin struct {
	Process *Process
	Wall    time.Time
	Time    Boot
}

// Credentials are the task's own.
type Credentials struct {
	UID, GID, EUID, EGID, SUID, SGID uint32
	CapEffective, CapPermitted       uint64
}

// Namespaces by inode number; 0: not known.
type Namespaces struct {
	Mount, PID, Net, User, UTS, IPC, Cgroup uint32
}

// Each calls yield with name and number of every namespace kind.
func (n Namespaces) Each(yield func(name string, inode uint32) bool) {
	_ = yield("mount", n.Mount) && yield("pid", n.PID) && yield("net", n.Net) && yield("user", n.User) &&
		yield("uts", n.UTS) && yield("ipc", n.IPC) && yield("cgroup", n.Cgroup)
}

// StdioKind is what a standard descriptor is.
type StdioKind uint8

// The numbers of enum stdio_kind in bpf/event.h.
const (
	StdioNone StdioKind = iota
	StdioFile
	StdioPipe
	StdioSocket
	StdioTTY
	StdioDevice
)

func (k StdioKind) String() string {
	return [...]string{"none", "file", "pipe", "socket", "tty", "device", "unknown"}[min(k, StdioDevice+1)]
}

// Stdio is one of descriptors 0, 1 and 2 at exec.
type Stdio struct {
	Kind   StdioKind
	Inode  uint64
	Device uint32 // of a file, as File.Device
	Local  Address
	Remote Address
}

// Family is an address family.
type Family uint16

// Address families, as Linux numbers them.
const (
	FamilyNone Family = 0
	FamilyUnix Family = 1
	FamilyIPv4 Family = 2
	FamilyIPv6 Family = 10
)

func (f Family) String() string {
	switch f {
	case FamilyUnix:
		return "unix"
	case FamilyIPv4:
		return "ipv4"
	case FamilyIPv6:
		return "ipv6"
	case FamilyNone:
		return ""
	}
	return "other"
}

// Address is one end of a connection. IPv4 in IPv6 is shown as IPv4 by IP.Unmap.
type Address struct {
	Family Family
	IP     netip.Addr
	Port   uint16
	// NetNamespace is the network namespace that the address is of; 0: not told.
	NetNamespace uint32
}

// Protection is PROT_READ, PROT_WRITE, PROT_EXEC of mmap(2).
type Protection uint32

const (
	ProtRead Protection = 1 << iota
	ProtWrite
	ProtExec
)

// Region is what a range of memory is backed by.
type Region uint8

// The numbers of enum memory_region_kind in bpf/event.h.
const (
	RegionUnknown Region = iota
	RegionAnonymous
	RegionFile
	RegionMemfd
	RegionStack
	RegionHeap
)

func (r Region) String() string {
	return [...]string{"unknown", "anonymous", "file", "memfd", "stack", "heap", "unknown"}[min(r, RegionHeap+1)]
}

// WriteToExecute reports whether write permission went and execute came, or may have:
// what was before is not always known, and must not be a way to hide.
func (m *Memory) WriteToExecute() bool {
	before := m.BeforeUnknown || m.Before&ProtWrite != 0 && m.Before&ProtExec == 0
	return before && m.After&ProtExec != 0 && m.After&ProtWrite == 0
}

// WriteAndExecute reports whether the region is writable and executable at once.
func (m *Memory) WriteAndExecute() bool { return m.After&(ProtWrite|ProtExec) == ProtWrite|ProtExec }
