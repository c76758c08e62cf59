// Package event holds what a node sees, as both halves of Seawall speak of it.
//
// An [Event] is a union: a header, one typed [Payload], and the facts that the
// agent's stages attach (process, container, session). The decoder lends events:
// an event and the text in it are valid until the next one is read, and
// [Event.Clone] makes one to keep. What the stages attach is not lent: a
// [Process], [Container] or [Session] never changes after it was published, so
// its pointer may be kept and read from any goroutine.
//
// Text is the kernel's own and need not be UTF-8; only the conversion to the
// wire ([Event.Proto]) escapes it. Names, numbers and units are those of
// proto/sensor/v1/event.proto.
package event

import (
	"slices"
	"strings"
	"time"
)

// Event is one thing a process did.
type Event struct {
	Header
	Payload Payload

	// Attached by the stages. Nil says: not known, or (Container, Session) none.
	Process   *Process
	Container *Container
	Session   *Session
	// Entry says that somebody came into a container with this event: its Session begins
	// here, or it is a connection made within the container's network namespace from
	// outside.
	Entry bool
	// EnteredHome is that container where the runtime did not do it, EnteredContainer what
	// is known of it.
	EnteredHome      Home
	EnteredContainer *Container
}

// Header is common to all kinds. Numbers are the kernel's; times are CLOCK_BOOTTIME.
type Header struct {
	Kind  Kind
	Flags Flags
	// Sequence is the agent's own count of admitted events; 0 before admission.
	Sequence uint64
	// Time is when the hook ran.
	Time Boot
	// Wall is Time on the wall clock, set by the agent as it reads the event.
	Wall time.Time
	// CPU and CPUSequence order the records of one ring and prove loss in it.
	CPU         uint32
	CPUSequence uint64
	// Actor is the process that acted, Parent the one it descends from by the kernel's word.
	Actor    Key
	Parent   Key
	TID      uint32
	UID      uint32
	EUID     uint32
	GID      uint32
	CgroupID uint64
	MountNS  uint32
	PIDNS    uint32
	Tree     Tree
	// Comm is the task's own name, at most 15 bytes.
	Comm string
	// Result is the call's outcome if Flags has HasResult: a value, or -errno.
	Result int64
}

// Boot is a time in nanoseconds of CLOCK_BOOTTIME.
type Boot uint64

// Key names a process on one boot of one node: thread group id and the leader's
// start_boottime. The zero Key names nothing.
type Key struct {
	TGID  uint32
	Start Boot
}

// IsZero reports whether the key names nothing.
func (k Key) IsZero() bool { return k == Key{} }

// Flags say how far a record can be believed and what admitted it.
type Flags uint16

// The bits of enum event_flags in bpf/event.h.
const (
	UserMemory Flags = 1 << iota
	Compat
	HasResult
	ByTree
	SelfTest
	PathTruncated
	Unfiltered
)

// Has reports whether all bits of f are set.
func (f Flags) Has(bits Flags) bool { return f&bits == bits }

// Tree says why a process belongs to the tree of interest.
type Tree uint32

// The bits of enum tree_reason in bpf/event.h.
const (
	TreeEntered Tree = 1 << iota
	TreeWeb
	TreeDownload
	TreeRule
	TreeCollector
	TreeWebServer
)

// Has reports whether all the reasons are among t.
func (t Tree) Has(reasons Tree) bool { return t&reasons == reasons }

var treeNames = [...]string{"entered", "web", "download", "rule", "collector", "web-server"}

// Names lists the reasons in the order of their bits.
func (t Tree) Names() []string {
	var names []string
	for i, name := range treeNames {
		if t&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return names
}

// Clone returns a copy that stays valid: it owns its payload and its text.
func (e *Event) Clone() *Event {
	kept := *e
	kept.Comm = strings.Clone(e.Comm)
	if e.Payload != nil {
		kept.Payload = e.Payload.clone()
	}
	return &kept
}

// Payload is what one kind of event adds: *Fork, *Exec, *Exit, *Namespace,
// *Open, *Rename, *Unlink, *Chmod, *Flow, *Memory or *Cgroup. The set is closed.
type Payload interface {
	clone() Payload
}

// Fork: the actor made a process.
type Fork struct {
	Child         Key
	ChildParent   Key // differs from the actor under CLONE_PARENT
	ChildNSPID    uint32
	ChildPIDNS    uint32
	ChildCgroupID uint64
	ChildTree     Tree
	// ChildProcess is attached by agent/process.
	ChildProcess *Process
}

// Exec: the actor runs another program. Image is what the kernel said of it;
// agent/process publishes it as the event's Process.
type Exec struct {
	Image
	Entered bool
	Init    bool
	Secure  bool
	// Before is the program this process ran until now, attached by agent/process.
	Before *Process
}

// Image is everything the kernel tells of a program at exec or in the seed.
type Image struct {
	File        File
	Args        string // words, each ended by NUL
	ArgsBytes   uint32 // before truncation
	ArgsCut     bool   // truncated, or unreadable
	CWD         string
	Filename    string
	Credentials Credentials
	Namespaces  Namespaces
	NSPID       uint32
	SessionPID  uint32
	TTY         uint32 // major << 20 | minor; 0: none
	Stdio       [3]Stdio
}

// Exit: the last thread of the actor is gone.
type Exit struct {
	Code   uint32
	Signal uint32
}

// Namespace: the actor moved to other namespaces. Before and After count the
// pid namespace of coming children. Host is attached by agent/process.
type Namespace struct {
	Before Namespaces
	After  Namespaces
	Host   Namespaces
}

// Open: a file was opened for write, created, or read although it is watched.
type Open struct {
	File     File
	Flags    uint32
	Write    bool
	Read     bool
	Created  bool
	Truncate bool
	Failed   bool
}

// Rename: a file has another name.
type Rename struct {
	File    File
	NewPath string
}

// Unlink: a name is gone.
type Unlink struct{ File File }

// Chmod: permission bits were set.
type Chmod struct {
	File File
	Mode uint32
}

// Flow: a connection was begun (connect) or taken (accept).
type Flow struct {
	Local    Address
	Remote   Address
	Type     uint32
	Protocol uint32
	Path     string // AF_UNIX
}

// Memory: a region's protection changes (protect) or a region is mapped (map).
type Memory struct {
	Address       uint64
	Length        uint64
	Before        Protection
	After         Protection
	BeforeUnknown bool
	Region        Region
	MapFlags      uint32
	File          File
}

// Cgroup: a cgroup of the chosen hierarchy was made or removed.
type Cgroup struct {
	ID   uint64
	Path string
}

func (p *Fork) clone() Payload { kept := *p; return &kept }
func (p *Exec) clone() Payload {
	kept := *p
	kept.Image = p.Image.Clone()
	return &kept
}
func (p *Exit) clone() Payload      { kept := *p; return &kept }
func (p *Namespace) clone() Payload { kept := *p; return &kept }
func (p *Open) clone() Payload      { kept := *p; kept.File = p.File.Clone(); return &kept }
func (p *Rename) clone() Payload {
	kept := *p
	kept.File, kept.NewPath = p.File.Clone(), strings.Clone(p.NewPath)
	return &kept
}
func (p *Unlink) clone() Payload { kept := *p; kept.File = p.File.Clone(); return &kept }
func (p *Chmod) clone() Payload  { kept := *p; kept.File = p.File.Clone(); return &kept }
func (p *Flow) clone() Payload   { kept := *p; kept.Path = strings.Clone(p.Path); return &kept }
func (p *Memory) clone() Payload { kept := *p; kept.File = p.File.Clone(); return &kept }
func (p *Cgroup) clone() Payload { kept := *p; kept.Path = strings.Clone(p.Path); return &kept }

// Clone returns an image that owns its text.
func (i *Image) Clone() Image {
	kept := *i
	kept.File = i.File.Clone()
	kept.Args, kept.CWD, kept.Filename = strings.Clone(i.Args), strings.Clone(i.CWD), strings.Clone(i.Filename)
	return kept
}

// Words splits NUL-ended argv text. An empty text has no words; an empty word counts.
func Words(args string) []string {
	if args == "" {
		return nil
	}
	return slices.Collect(strings.SplitSeq(strings.TrimSuffix(args, "\x00"), "\x00"))
}
