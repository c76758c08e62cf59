package rule

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/seawall-security/seawall/internal/event"
)

const testBoot = "6f2d1c3a-0000-4000-8000-000000000001"

// testNow is when tests load rules: before any expiry they write.
func testNow() time.Time { return time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC) }

// generator makes events of all kinds whose text often is what rules look for.
type generator struct{ *rand.Rand }

func newGenerator(seed uint64) generator { return generator{rand.New(rand.NewPCG(seed, 7))} }

func pick[T any](g generator, all ...T) T { return all[g.IntN(len(all))] }

func (g generator) coin() bool { return g.IntN(2) == 0 }

func (g generator) text(all ...string) string { return pick(g, append(all, "", "größe", "x")...) }

func (g generator) moment() time.Time {
	if g.IntN(4) == 0 {
		return time.Time{}
	}
	return time.Unix(1_790_000_000+g.Int64N(3600), g.Int64N(1e9))
}

func (g generator) boot() event.Boot { return event.Boot(g.Uint64N(uint64(time.Hour))) }

func (g generator) program() string {
	return pick(g, "bash", "dash", "busybox", "nginx", "php-fpm8.2", "apache2", "curl", "apt-get", "runc", "java", "python3.11", "sudo", "evil", "größe")
}

func (g generator) path() string {
	return pick(g, "/etc/shadow", "/host/etc/shadow", "/etc/sudoers.d/x", "/var/www/html/a.php", "/var/www/html/cache/b.php", "/tmp/x.php.jpg",
		"/proc/sys/kernel/core_pattern", "/sys/fs/cgroup/release_agent", "/proc/sys/kernel/modprobe", "/tmp/", "relative", "", "/memfd:runc_cloned:x",
		"/run/docker.sock", "/usr/bin/"+g.program(), "/run/größe.sock", "/a/.hidden", "/"+g.program())
}

func (g generator) address() event.Address {
	switch g.IntN(4) {
	case 0:
		return event.Address{}
	case 1:
		return event.Address{Family: event.FamilyUnix}
	case 2:
		return event.Address{
			Family: event.FamilyIPv6, Port: uint16(g.IntN(1 << 16)),
			IP: netip.MustParseAddr(pick(g, "::1", "fe80::1", "::ffff:10.0.0.1", "2001:db8::1")),
		}
	}
	return event.Address{
		Family: event.FamilyIPv4, Port: pick(g, uint16(0), 22, 443, 4444, 40000),
		IP: netip.MustParseAddr(pick(g, "127.0.0.1", "10.0.0.1", "169.254.169.254", "203.0.113.9")),
	}
}

func (g generator) file() event.File {
	f := event.File{
		Path: g.path(), Inode: g.Uint64N(4), Device: uint32(g.IntN(3)), Magic: pick(g, uint32(0), 0x794c7630, 0x9fa0, 0x27e0eb, 0x1234),
		Mode: uint32(g.IntN(0o1000)), UID: uint32(g.IntN(3)), Size: g.Uint64N(9000), OverlayUpper: g.coin(), Overlay: g.coin(),
		Memfd: g.coin(), Deleted: g.coin(),
	}
	if g.coin() {
		f.ChangeTime = g.moment().UnixNano()
	}
	if g.IntN(3) == 0 {
		f.Origin = &event.Origin{Wall: g.moment(), Time: g.boot()}
		if g.coin() {
			f.Origin.Process = g.process(0)
		}
	}
	return f
}

func (g generator) namespaces() event.Namespaces {
	n := func() uint32 { return uint32(g.IntN(3)) }
	return event.Namespaces{Mount: n(), PID: n(), Net: n(), User: n(), UTS: n(), IPC: n(), Cgroup: n()}
}

func (g generator) process(depth int) *event.Process {
	p := &event.Process{
		Key:  event.Key{TGID: uint32(g.IntN(5)), Start: g.boot()},
		Comm: g.text("bash"), Name: g.program(), StartWall: g.moment(), TTY: g.text("pts/0"), CWD: g.path(), Filename: g.path(),
	}
	if g.IntN(8) == 0 {
		p.Unknown = true
	} else {
		p.Exe, p.Namespaces, p.HostMount = g.file(), g.namespaces(), g.coin()
		p.Credentials = event.Credentials{UID: uint32(g.IntN(3)), EUID: uint32(g.IntN(3)), CapEffective: g.Uint64N(9)}
		p.ExecTime, p.NSPID, p.SessionLeader = g.moment(), uint32(g.IntN(9)), uint32(g.IntN(9))
		p.ArgsCut, p.ArgsBytes = g.coin(), uint32(g.IntN(9))
		for i := range p.Stdio {
			p.Stdio[i] = event.Stdio{Kind: event.StdioKind(g.IntN(6)), Inode: g.Uint64N(3), Device: uint32(g.IntN(2)), Local: g.address(), Remote: g.address()}
		}
		for range g.IntN(4) {
			p.Args = append(p.Args, g.text("-c", "-i", "bash", "sh", "-ash", "/bin/busybox", "ash", "/usr/bin/rotatelogs x"))
		}
	}
	if depth > 0 {
		p.Parent = g.process(depth - 1)
	}
	p.ID = event.ProcessID(testBoot, p.Key)
	return p
}

func (g generator) container() *event.Container {
	return &event.Container{
		ID: "c1", Runtime: g.text("containerd"), Name: g.text("web"), Image: g.text("docker.io/library/nginx:1"), Created: g.moment(),
		PodName: g.text("web-0"), PodNamespace: g.text("shop"), CgroupID: g.Uint64N(3),
		Labels: pick(g, nil, map[string]string{"app": "web"}, map[string]string{"app": "", "io.größe": "1"}),
	}
}

func (g generator) event() *event.Event {
	kind := pick(g, event.Kinds...)
	e := &event.Event{Payload: g.payload(kind)}
	e.Header = event.Header{
		Kind: kind, Flags: event.Flags(g.IntN(1 << 7)), Sequence: g.Uint64N(9), Time: g.boot(), Wall: g.moment(), CPU: uint32(g.IntN(2)),
		Actor: event.Key{TGID: 7, Start: 9}, TID: uint32(g.IntN(9)), Tree: event.Tree(g.IntN(1 << 6)), Comm: g.text("bash"),
		Result: pick(g, int64(0), -2, 3),
	}
	if g.IntN(10) > 0 {
		e.Process = g.process(pick(g, 0, 1, 3, 20))
	}
	if g.coin() {
		e.Container = g.container()
	}
	if g.coin() {
		e.Session = &event.Session{
			ID: "s1", RootID: "r1", Time: g.moment(), ContainerID: "c1", Args: []string{"bash"}, TTY: g.text("pts/0"), Init: g.coin(),
		}
	}
	return e
}

func (g generator) payload(kind event.Kind) event.Payload {
	switch kind {
	case event.KindProcessFork:
		fork := &event.Fork{Child: event.Key{TGID: 8, Start: g.boot()}, ChildNSPID: uint32(g.IntN(3)), ChildPIDNS: uint32(g.IntN(3))}
		if g.coin() {
			fork.ChildProcess = g.process(0)
		}
		return fork
	case event.KindProcessExec:
		exec := &event.Exec{Entered: g.coin(), Init: g.coin(), Secure: g.coin()}
		if g.coin() {
			exec.Before = g.process(0)
		}
		return exec
	case event.KindProcessExit:
		return &event.Exit{Code: uint32(g.IntN(3)), Signal: uint32(g.IntN(3))}
	case event.KindProcessNamespace:
		return &event.Namespace{Before: g.namespaces(), After: g.namespaces(), Host: g.namespaces()}
	case event.KindFileOpen:
		return &event.Open{
			File: g.file(), Flags: uint32(g.IntN(9)), Write: g.coin(), Read: g.coin(), Created: g.coin(), Truncate: g.coin(), Failed: g.coin(),
		}
	case event.KindFileRename:
		return &event.Rename{File: g.file(), NewPath: g.path()}
	case event.KindFileUnlink:
		return &event.Unlink{File: g.file()}
	case event.KindFileChmod:
		return &event.Chmod{File: g.file(), Mode: uint32(g.IntN(0o1000))}
	case event.KindNetworkConnect:
		if g.coin() {
			unix := event.Address{Family: event.FamilyUnix}
			return &event.Flow{Local: unix, Remote: unix, Type: 1, Path: pick(g, "", "@abstract", "/run/docker.sock", "containerd.sock")}
		}
		fallthrough
	case event.KindNetworkAccept:
		f := &event.Flow{Local: g.address(), Remote: g.address(), Type: pick(g, uint32(1), 2, 77), Protocol: uint32(g.IntN(9))}
		if f.Remote.Family == event.FamilyUnix {
			f.Remote = event.Address{}
		}
		return f
	case event.KindMemoryProtect, event.KindMemoryMap:
		m := &event.Memory{
			Address: g.Uint64N(3), Length: g.Uint64N(9000), Before: event.Protection(g.IntN(8)), After: event.ProtExec | event.Protection(g.IntN(8)),
			BeforeUnknown: g.coin(), Region: event.Region(g.IntN(7)), MapFlags: uint32(g.IntN(3)),
		}
		if g.coin() {
			m.File = g.file()
		}
		return m
	case event.KindCgroupCreate, event.KindCgroupRemove:
		return &event.Cgroup{ID: g.Uint64N(3), Path: g.path()}
	}
	panic(fmt.Sprintf("kind %s has no payload here", kind))
}
