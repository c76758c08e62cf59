package smoke

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

// describe writes an event as one line that is the same on every kernel and rung: the
// facts that all of them promise, without numbers of processes and inodes.
func describe(e *sensorv1.Event) string {
	line := nameOf(e.GetKind()) + " " + payload(e)
	if e.GetCompat() {
		line += "; compat"
	}
	// A rule's mark comes when the agent gets to it, before or after the process's next act.
	if tree := slices.DeleteFunc(slices.Clone(e.GetTree()), func(s string) bool { return s == "rule" }); len(tree) > 0 {
		line += "; tree " + strings.Join(tree, " ")
	}
	if e.GetEscaped() {
		line = unescape(line)
	}
	return line
}

// nameOf is how hooks and rules call a kind.
func nameOf(k sensorv1.Kind) string {
	return strings.ToLower(strings.TrimPrefix(k.String(), "KIND_"))
}

func payload(e *sensorv1.Event) string {
	switch p := e.GetPayload().(type) {
	case *sensorv1.Event_Fork:
		return p.Fork.GetChild().GetName()
	case *sensorv1.Event_Exec:
		return program(e.GetProcess())
	case *sensorv1.Event_Exit:
		if s := p.Exit.GetSignal(); s != 0 {
			return fmt.Sprintf("signal %d", s)
		}
		return fmt.Sprintf("code %d", p.Exit.GetCode())
	case *sensorv1.Event_Namespace:
		return words("changed", p.Namespace.GetChanged()) + words(" joined_host", p.Namespace.GetJoinedHost())
	case *sensorv1.Event_Open:
		return open(p.Open)
	case *sensorv1.Event_Rename:
		return p.Rename.GetFile().GetPath() + " to " + p.Rename.GetNewPath()
	case *sensorv1.Event_Unlink:
		return p.Unlink.GetFile().GetPath()
	case *sensorv1.Event_Chmod:
		return fmt.Sprintf("%s %#o", p.Chmod.GetFile().GetPath(), p.Chmod.GetMode()) + set(p.Chmod.GetExecutable(), " executable")
	case *sensorv1.Event_Connect:
		// The local end is known on the lowest rung only, where the call is over.
		return flowOf(p.Connect) + " to " + addressOf(p.Connect.GetRemote(), p.Connect.GetPath())
	case *sensorv1.Event_Accept:
		return flowOf(p.Accept) + " at " + addressOf(p.Accept.GetLocal(), "") + " from " + addressOf(p.Accept.GetRemote(), "")
	case *sensorv1.Event_Protect:
		return memory(p.Protect)
	case *sensorv1.Event_Map:
		how := set(p.Map.GetMapFlags()&unix.MAP_PRIVATE != 0, " private") + set(p.Map.GetMapFlags()&unix.MAP_ANONYMOUS != 0, " anonymous")
		return memory(p.Map) + ";" + how
	case *sensorv1.Event_CgroupCreate:
		return p.CgroupCreate.GetPath()
	case *sensorv1.Event_CgroupRemove:
		return p.CgroupRemove.GetPath()
	}
	return "without payload"
}

func set(is bool, text string) string {
	if is {
		return text
	}
	return ""
}

func words(title string, list []string) string {
	return set(len(list) > 0, title+" "+strings.Join(list, " "))
}

func program(p *sensorv1.Process) string {
	line := p.GetExe().GetPath() + set(p.GetExe().GetMemfd(), " memfd") + set(p.GetExe().GetDeleted(), " deleted") +
		" [" + strings.Join(p.GetArgs(), " ") + "]"
	if p.GetArgsTruncated() {
		line += fmt.Sprintf(" of %d bytes", p.GetArgsBytes())
	}
	var stdio []string
	for _, s := range p.GetStdio() {
		end := s.GetKind()
		if s.GetRemote().GetPort() != 0 {
			end += " to " + addressOf(s.GetRemote(), "")
		}
		stdio = append(stdio, end)
	}
	return line + " stdio " + strings.Join(stdio, ",")
}

func open(o *sensorv1.FileOpen) string {
	line := o.GetFile().GetPath()
	if o.GetFailed() {
		line += " failed"
	} else {
		line += fmt.Sprintf(" %s %#o, %d bytes", o.GetFile().GetFilesystem(), o.GetFile().GetMode()&0o7777, o.GetFile().GetSizeBytes())
	}
	flags := []string{[]string{"rdonly", "wronly", "rdwr", "3"}[o.GetFlags()&unix.O_ACCMODE]}
	for _, f := range []struct {
		flag uint32
		name string
	}{{unix.O_CREAT, "creat"}, {unix.O_EXCL, "excl"}, {unix.O_TRUNC, "trunc"}, {unix.O_APPEND, "append"}} {
		if o.GetFlags()&f.flag != 0 {
			flags = append(flags, f.name)
		}
	}
	return line + "; flags " + strings.Join(flags, " ") + ";" +
		set(o.GetRead(), " read") + set(o.GetWrite(), " write") + set(o.GetCreated(), " created") + set(o.GetTruncate(), " truncate")
}

func flowOf(f *sensorv1.NetworkFlow) string {
	return fmt.Sprintf("%s %d", f.GetType(), f.GetProtocol())
}

func addressOf(a *sensorv1.Address, path string) string {
	ip, err := netip.ParseAddr(a.GetIp())
	if err != nil {
		return a.GetFamily() + " " + path + a.GetIp()
	}
	return netip.AddrPortFrom(ip, uint16(a.GetPort())).String() + set(a.GetLoopback(), " loopback")
}

func memory(m *sensorv1.MemoryChange) string {
	before := protection(m.GetBefore())
	if m.GetBeforeUnknown() {
		before = "unknown"
	}
	line := m.GetRegion() + " " + before + " to " + protection(m.GetAfter())
	if f := m.GetFile(); f != nil {
		line += " of " + f.GetPath() + set(f.GetMemfd(), " memfd") + set(f.GetDeleted(), " deleted")
	}
	return line + set(m.GetWriteToExecute(), " write_to_execute") + set(m.GetWriteAndExecute(), " write_and_execute")
}

func protection(p *sensorv1.Protection) string {
	flags := []byte("---")
	for i, is := range []bool{p.GetRead(), p.GetWrite(), p.GetExecute()} {
		if is {
			flags[i] = "rwx"[i]
		}
	}
	return string(flags)
}

var escaped = regexp.MustCompile(`\\(\\|x[0-9a-f]{2})`)

// unescape gives text the bytes back that were not UTF-8.
func unescape(text string) string {
	return escaped.ReplaceAllStringFunc(text, func(s string) string {
		if s == `\\` {
			return `\`
		}
		b, err := strconv.ParseUint(s[2:], 16, 8)
		if err != nil {
			panic(err) // the expression lets hex digits only through
		}
		return string([]byte{byte(b)})
	})
}

// flagExec is in the flags of the open by which the kernel takes up a program (FMODE_EXEC).
const flagExec = 0x20

// runtimeFiles are what Go's runtime opens at the start of every program.
var runtimeFiles = regexp.MustCompile(`^(/sys/kernel/mm/transparent_hugepage/hpage_pmd_size|/proc/[0-9]+/(cgroup|mountinfo)|/sys/fs/cgroup/.*cpu\.max)$`)

// incidental reports whether an event belongs to every start of a program and to no act:
// what the kernel opens and maps of it, which the upper rungs see, and what Go's runtime
// opens.
func incidental(e *sensorv1.Event) bool {
	switch p := e.GetPayload().(type) {
	case *sensorv1.Event_Open:
		return p.Open.GetFlags()&flagExec != 0 || runtimeFiles.MatchString(p.Open.GetFile().GetPath())
	case *sensorv1.Event_Map:
		return p.Map.GetMapFlags()&(unix.MAP_FIXED|unix.MAP_FIXED_NOREPLACE) != 0
	}
	return false
}
