package decode

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/seawall-security/seawall/internal/event"
)

const sampleBoot = "6f1b2a7c-2f6e-4f0f-9a53-0b7b7c1d4e21"

// A whole number of seconds, so that wall times are easy to read.
var sampleClock = Clock{Offset: 1_795_000_000 * time.Second}

const (
	sampleTime   = 90_000_000_123
	sampleCgroup = 4711
	oddPath      = "/srv/www/up\nload/\xff\xfe\\.php"
)

// sample is a record and what it says.
type sample struct {
	name   string
	record []byte
	want   *event.Event
}

func sampleHeader(flags event.Flags) wireHeader {
	return wireHeader{
		TimeNS: sampleTime, Sequence: 17, StartNS: 80_000_000_456, ParentStartNS: 70_000_000_789, CgroupID: sampleCgroup,
		Flags: uint16(flags), CPU: 3, TGID: 1200, TID: 1201, ParentTGID: 900,
		UID: 33, EUID: 34, GID: 35, MountNS: 4026532001, PIDNS: 4026532002,
		Tree: uint32(event.TreeWeb | event.TreeEntered), Comm: bytes16("php-fpm8.2"),
	}
}

func sampleEvent(kind event.Kind, flags event.Flags, result int64, payload event.Payload) *event.Event {
	return &event.Event{
		Header: event.Header{
			Kind: kind, Flags: flags, Time: sampleTime, Wall: time.Unix(1_795_000_090, 123).UTC(),
			CPU: 3, CPUSequence: 17,
			Actor:  event.Key{TGID: 1200, Start: 80_000_000_456},
			Parent: event.Key{TGID: 900, Start: 70_000_000_789},
			TID:    1201, UID: 33, EUID: 34, GID: 35, CgroupID: sampleCgroup, MountNS: 4026532001, PIDNS: 4026532002,
			Tree: event.TreeWeb | event.TreeEntered, Comm: "php-fpm8.2", Result: result,
		},
		Payload: payload,
	}
}

var sampleWireFile = wireFile{
	Inode: 99, SizeBytes: 4096, ChangeNS: 1_794_000_000_000_000_001, Device: 8<<20 | 1, Filesystem: 0x794c7630,
	Mode: 0o100755, UID: 33, Links: 1, Flags: wireFileOverlay | wireFileOverlayUpper,
}

func sampleFile(path string) event.File {
	return event.File{
		Path: path, Inode: 99, Size: 4096, ChangeTime: 1_794_000_000_000_000_001, Device: 8<<20 | 1, Magic: 0x794c7630,
		Mode: 0o100755, UID: 33, Links: 1, Overlay: true, OverlayUpper: true,
	}
}

var (
	sampleWireSpaces = wireNamespaces{Mount: 1, PID: 2, Net: 3, User: 4, UTS: 5, IPC: 6, Cgroup: 7}
	sampleSpaces     = event.Namespaces{Mount: 1, PID: 2, Net: 3, User: 4, UTS: 5, IPC: 6, Cgroup: 7}
	loopback6        = netip.MustParseAddr("::1")
	mapped4          = netip.MustParseAddr("::ffff:198.51.100.7")
)

func sampleExec(flags uint32) wireExec {
	return wireExec{
		Header: sampleHeader(0), File: sampleWireFile, Namespaces: sampleWireSpaces,
		Stdio: [3]wireStdio{
			{Inode: 11, Kind: 3, Local: wireAddress{Address: [16]byte{10, 0, 0, 9}, Port: 80, Family: 2},
				Remote: wireAddress{Address: mapped4.As16(), Port: 4444, Family: 10}},
			{Inode: 12, Kind: 1, Device: 8<<20 | 1},
			{Inode: 13, Kind: 6},
		},
		CapEffective: 1 << 21, CapPermitted: 1 << 39,
		UID: 1, GID: 2, EUID: 3, EGID: 4, SUID: 5, SGID: 6, NSTGID: 7, SessionID: 900, TTY: 136<<20 | 2,
		ArgsBytes: 12, Flags: flags,
	}
}

func sampleImage(path, cwd, args, filename string) event.Image {
	return event.Image{
		File: sampleFile(path), CWD: cwd, Args: args, Filename: filename, ArgsBytes: 12,
		Credentials: event.Credentials{UID: 1, GID: 2, EUID: 3, EGID: 4, SUID: 5, SGID: 6, CapEffective: 1 << 21, CapPermitted: 1 << 39},
		Namespaces:  sampleSpaces, NSPID: 7, SessionPID: 900, TTY: 136<<20 | 2,
		Stdio: [3]event.Stdio{
			{Inode: 11, Kind: event.StdioSocket,
				Local:  event.Address{Family: event.FamilyIPv4, IP: netip.AddrFrom4([4]byte{10, 0, 0, 9}), Port: 80},
				Remote: event.Address{Family: event.FamilyIPv6, IP: mapped4, Port: 4444}},
			{Inode: 12, Kind: event.StdioFile, Device: 8<<20 | 1},
			{Inode: 13, Kind: event.StdioDevice + 1},
		},
	}
}

// samples has every kind at least once, and what is odd about some.
func samples() []sample {
	long := strings.Repeat("A", 8191) + "\x00"
	cut := sampleExec(wireExecArgsTruncated)
	cut.ArgsBytes = 1 << 20
	cutImage := sampleImage("/bin/echo", "/", long, "")
	cutImage.ArgsBytes, cutImage.ArgsCut = 1<<20, true
	unreadable := sampleImage("/bin/echo", "/", "", "")
	unreadable.ArgsCut = true

	return []sample{
		{"fork",
			encode(event.KindProcessFork, wireFork{
				Header: sampleHeader(event.HasResult), ChildStartNS: 91, ChildCgroupID: 92, ChildParentStartNS: 93,
				ChildTGID: 94, ChildParentTGID: 95, ChildNSTGID: 96, ChildPIDNS: 97, ChildTree: 2,
			}),
			// The record has no place for a result, whatever its flags say.
			sampleEvent(event.KindProcessFork, 0, 0, &event.Fork{
				Child: event.Key{TGID: 94, Start: 91}, ChildParent: event.Key{TGID: 95, Start: 93},
				ChildNSPID: 96, ChildPIDNS: 97, ChildCgroupID: 92, ChildTree: event.TreeWeb,
			})},
		{"exec",
			encode(event.KindProcessExec, sampleExec(wireExecEntered|wireExecInit|wireExecSecure),
				"/bin/dash", "/srv/www", "sh\x00-c\x00\x00id\x00", "/bin/sh"),
			sampleEvent(event.KindProcessExec, 0, 0, &event.Exec{
				Image:   sampleImage("/bin/dash", "/srv/www", "sh\x00-c\x00\x00id\x00", "/bin/sh"),
				Entered: true, Init: true, Secure: true,
			})},
		{"exec with argv cut",
			encode(event.KindProcessExec, cut, "/bin/echo", "/", long, ""),
			sampleEvent(event.KindProcessExec, 0, 0, &event.Exec{Image: cutImage})},
		{"exec with argv unreadable",
			encode(event.KindProcessExec, sampleExec(wireExecArgsUnreadable), "/bin/echo", "/", "", ""),
			sampleEvent(event.KindProcessExec, 0, 0, &event.Exec{Image: unreadable})},
		{"exec of an odd path",
			encode(event.KindProcessExec, sampleExec(0), oddPath, "/a\nb", "\xff\x00", "./\\"),
			sampleEvent(event.KindProcessExec, 0, 0, &event.Exec{Image: sampleImage(oddPath, "/a\nb", "\xff\x00", "./\\")})},
		{"seed",
			encode(event.KindProcessSeed, sampleExec(0), "/usr/sbin/nginx", "/", "nginx\x00", ""),
			sampleEvent(event.KindProcessSeed, 0, 0, &event.Exec{Image: sampleImage("/usr/sbin/nginx", "/", "nginx\x00", "")})},
		{"exit by signal",
			encode(event.KindProcessExit, wireExit{Header: sampleHeader(0), ExitCode: 0x8b}),
			sampleEvent(event.KindProcessExit, 0, 0, &event.Exit{Signal: 11})},
		{"exit with code",
			encode(event.KindProcessExit, wireExit{Header: sampleHeader(0), ExitCode: 127 << 8}),
			sampleEvent(event.KindProcessExit, 0, 0, &event.Exit{Code: 127})},
		{"namespace",
			encode(event.KindProcessNamespace, wireNamespace{
				Header: sampleHeader(event.HasResult), Before: sampleWireSpaces, After: wireNamespaces{Mount: 8, PID: 2}, Result: -1,
			}),
			sampleEvent(event.KindProcessNamespace, event.HasResult, -1, &event.Namespace{
				Before: sampleSpaces, After: event.Namespaces{Mount: 8, PID: 2},
			})},
		{"open",
			encode(event.KindFileOpen, wireOpen{
				Header: sampleHeader(event.HasResult | event.UserMemory), File: sampleWireFile, Result: 5, Flags: 0o1101,
				Seen: wireOpenWrite | wireOpenCreated | wireOpenTruncate,
			}, oddPath),
			sampleEvent(event.KindFileOpen, event.HasResult|event.UserMemory, 5, &event.Open{
				File: sampleFile(oddPath), Flags: 0o1101, Write: true, Created: true, Truncate: true,
			})},
		{"open for read that failed",
			encode(event.KindFileOpen, wireOpen{
				Header: sampleHeader(event.HasResult | event.Compat), Result: -13, Seen: wireOpenRead | wireOpenFailed,
			}, "/etc/shadow"),
			sampleEvent(event.KindFileOpen, event.HasResult|event.Compat, -13, &event.Open{
				File: event.File{Path: "/etc/shadow"}, Read: true, Failed: true,
			})},
		{"rename",
			encode(event.KindFileRename, wireRename{Header: sampleHeader(0), File: sampleWireFile, Result: 1}, "/tmp/a", "/tmp/b"),
			// Without the flag the result is not known, whatever the field holds.
			sampleEvent(event.KindFileRename, 0, 0, &event.Rename{File: sampleFile("/tmp/a"), NewPath: "/tmp/b"})},
		{"unlink",
			encode(event.KindFileUnlink, wireUnlink{Header: sampleHeader(event.HasResult), File: sampleWireFile, Result: 0}, "/tmp/a"),
			sampleEvent(event.KindFileUnlink, event.HasResult, 0, &event.Unlink{File: sampleFile("/tmp/a")})},
		{"chmod",
			encode(event.KindFileChmod, wireChmod{Header: sampleHeader(event.HasResult), File: sampleWireFile, Mode: 0o4755}, "/tmp/a"),
			sampleEvent(event.KindFileChmod, event.HasResult, 0, &event.Chmod{File: sampleFile("/tmp/a"), Mode: 0o4755})},
		{"connect",
			encode(event.KindNetworkConnect, wireFlow{
				Header: sampleHeader(event.HasResult),
				Local:  wireAddress{Address: [16]byte{10, 0, 0, 9}, Port: 50000, Family: 2},
				Remote: wireAddress{Address: [16]byte{203, 0, 113, 5, 9, 9}, Port: 4444, Family: 2},
				Result: -115, Type: 1, Protocol: 6,
			}, ""),
			sampleEvent(event.KindNetworkConnect, event.HasResult, -115, &event.Flow{
				Local:  event.Address{Family: event.FamilyIPv4, IP: netip.MustParseAddr("10.0.0.9"), Port: 50000},
				Remote: event.Address{Family: event.FamilyIPv4, IP: netip.MustParseAddr("203.0.113.5"), Port: 4444},
				Type:   1, Protocol: 6,
			})},
		{"connect to a unix socket",
			encode(event.KindNetworkConnect, wireFlow{
				Header: sampleHeader(0), Local: wireAddress{Port: 7}, Remote: wireAddress{Family: 1}, Type: 1,
			}, "@/run/x"),
			sampleEvent(event.KindNetworkConnect, 0, 0, &event.Flow{
				Remote: event.Address{Family: event.FamilyUnix}, Type: 1, Path: "@/run/x",
			})},
		{"accept",
			encode(event.KindNetworkAccept, wireFlow{
				Header: sampleHeader(event.HasResult),
				Local:  wireAddress{Address: loopback6.As16(), Port: 80, Family: 10},
				Remote: wireAddress{Address: mapped4.As16(), Port: 1234, Family: 10},
				Result: 9, Type: 1, Protocol: 6,
			}, ""),
			sampleEvent(event.KindNetworkAccept, event.HasResult, 9, &event.Flow{
				Local:  event.Address{Family: event.FamilyIPv6, IP: loopback6, Port: 80},
				Remote: event.Address{Family: event.FamilyIPv6, IP: mapped4, Port: 1234},
				Type:   1, Protocol: 6,
			})},
		{"protect",
			encode(event.KindMemoryProtect, wireMemory{
				Header: sampleHeader(event.HasResult), Address: 0x7f00, LengthBytes: 4096, Before: 3, After: 0x1000005, Region: 1,
			}, ""),
			sampleEvent(event.KindMemoryProtect, event.HasResult, 0, &event.Memory{
				Address: 0x7f00, Length: 4096, Before: event.ProtRead | event.ProtWrite, After: event.ProtRead | event.ProtExec,
				Region: event.RegionAnonymous,
			})},
		{"map",
			encode(event.KindMemoryMap, wireMemory{
				Header: sampleHeader(0), File: sampleWireFile, LengthBytes: 4096, Before: wireMemoryBeforeUnknown, After: 7, Region: 99, MapFlags: 2,
			}, "/memfd:x"),
			sampleEvent(event.KindMemoryMap, 0, 0, &event.Memory{
				File: sampleFile("/memfd:x"), Length: 4096, BeforeUnknown: true, After: 7, Region: event.RegionUnknown, MapFlags: 2,
			})},
		{"cgroup create",
			encode(event.KindCgroupCreate, wireCgroup{Header: sampleHeader(0), ID: 4712}, "/kubepods/x"),
			sampleEvent(event.KindCgroupCreate, 0, 0, &event.Cgroup{ID: 4712, Path: "/kubepods/x"})},
		{"cgroup remove",
			encode(event.KindCgroupRemove, wireCgroup{Header: sampleHeader(0), ID: 4712}, ""),
			sampleEvent(event.KindCgroupRemove, 0, 0, &event.Cgroup{ID: 4712})},
	}
}

// samplesByKind is the first sample of each kind, by the kind's name.
func samplesByKind() map[string][]byte {
	first := map[string][]byte{}
	for _, s := range samples() {
		if name := s.want.Kind.String(); first[name] == nil {
			first[name] = s.record
		}
	}
	return first
}

func TestSamplesHaveEveryKind(t *testing.T) {
	have := samplesByKind()
	for _, kind := range append([]event.Kind{event.KindProcessSeed}, event.Kinds...) {
		if have[kind.String()] == nil {
			t.Errorf("no sample of %s", kind)
		}
	}
}
