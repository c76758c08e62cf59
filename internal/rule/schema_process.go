package rule

import (
	"time"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/seawall-security/seawall/internal/event"
)

func processFields() map[protoreflect.Name]field {
	text := func(get func(p *event.Process) string) field {
		return textOf(func(_ *frame, p *event.Process) string { return get(p) })
	}
	return map[protoreflect.Name]field{
		"id":            unavailable("a process id is not known before it is computed; compare pid and start_time_ns"),
		"parent_id":     unavailable("a process id is not known before it is computed; use ancestors"),
		"pid":           uintOf(func(p *event.Process) uint32 { return p.Key.TGID }),
		"ns_pid":        uintOf(func(p *event.Process) uint32 { return p.NSPID }),
		"start_time_ns": uintOf(func(p *event.Process) event.Boot { return p.Key.Start }),
		"start_time":    timeOf(func(p *event.Process) time.Time { return p.StartWall }),
		"coarse":        boolOf(func(p *event.Process) bool { return p.Coarse }),
		"name":          text(func(p *event.Process) string { return p.Name }),
		"program":       text((*event.Process).Program),
		"exe": messageOf(func(p *event.Process) *event.File {
			if p.Unknown || p.Exe == (event.File{}) {
				return nil
			}
			return &p.Exe
		}),
		"args":           wordsOf(func(p *event.Process) []string { return p.Args }),
		"args_truncated": boolOf(func(p *event.Process) bool { return p.ArgsCut }),
		"args_bytes":     uintOf(func(p *event.Process) uint32 { return p.ArgsBytes }),
		"cwd":            text(func(p *event.Process) string { return p.CWD }),
		"filename":       text(func(p *event.Process) string { return p.Filename }),
		"credentials": messageOf(func(p *event.Process) *event.Credentials {
			if p.Unknown {
				return nil
			}
			return &p.Credentials
		}),
		"namespaces": messageOf(func(p *event.Process) *event.Namespaces {
			if p.Unknown && p.Namespaces == (event.Namespaces{}) {
				return nil
			}
			return &p.Namespaces
		}),
		"tty":                  text(func(p *event.Process) string { return p.TTY }),
		"session_leader":       uintOf(func(p *event.Process) uint32 { return p.SessionLeader }),
		"comm":                 text(func(p *event.Process) string { return p.Comm }),
		"exec_time":            timeOf(func(p *event.Process) time.Time { return p.ExecTime }),
		"stdio":                {lower: lowerStdio},
		"host_mount_namespace": boolOf(func(p *event.Process) bool { return p.HostMount }),
		"unknown":              boolOf(func(p *event.Process) bool { return p.Unknown }),
	}
}

func lowerStdio(base messageCode) any {
	return listCode{
		message: schemaPackage + "Stdio",
		most:    len(event.Process{}.Stdio),
		size: func(f *frame) int {
			if p := as[event.Process](f, base); p != nil && !p.Unknown {
				return len(p.Stdio)
			}
			return 0
		},
		each: func(f *frame, slot int, body boolCode, stop bool) bool {
			p := as[event.Process](f, base)
			if p == nil || p.Unknown {
				return false
			}
			for i := range p.Stdio {
				f.messages[slot] = &p.Stdio[i]
				if body(f) == stop {
					return true
				}
			}
			return false
		},
	}
}

func credentialFields() map[protoreflect.Name]field {
	number := func(get func(c *event.Credentials) uint32) field { return uintOf(get) }
	return map[protoreflect.Name]field{
		"uid":           number(func(c *event.Credentials) uint32 { return c.UID }),
		"gid":           number(func(c *event.Credentials) uint32 { return c.GID }),
		"euid":          number(func(c *event.Credentials) uint32 { return c.EUID }),
		"egid":          number(func(c *event.Credentials) uint32 { return c.EGID }),
		"suid":          number(func(c *event.Credentials) uint32 { return c.SUID }),
		"sgid":          number(func(c *event.Credentials) uint32 { return c.SGID }),
		"cap_effective": uintOf(func(c *event.Credentials) uint64 { return c.CapEffective }),
		"cap_permitted": uintOf(func(c *event.Credentials) uint64 { return c.CapPermitted }),
	}
}

// namespaceKind is one kind of namespace; all are listed in the order of the schema.
type namespaceKind struct {
	name string
	of   func(*event.Namespaces) uint32
}

func namespaceKinds() []namespaceKind {
	return []namespaceKind{
		{"mount", func(n *event.Namespaces) uint32 { return n.Mount }},
		{"pid", func(n *event.Namespaces) uint32 { return n.PID }},
		{"net", func(n *event.Namespaces) uint32 { return n.Net }},
		{"user", func(n *event.Namespaces) uint32 { return n.User }},
		{"uts", func(n *event.Namespaces) uint32 { return n.UTS }},
		{"ipc", func(n *event.Namespaces) uint32 { return n.IPC }},
		{"cgroup", func(n *event.Namespaces) uint32 { return n.Cgroup }},
	}
}

func namespaceFields() map[protoreflect.Name]field {
	fields := make(map[protoreflect.Name]field)
	for _, kind := range namespaceKinds() {
		fields[protoreflect.Name(kind.name)] = uintOf(kind.of)
	}
	return fields
}

// namespaceChangeFields are those of ProcessNamespace. Which kinds changed is
// answered kind by kind, where the event's own lists would have to be made.
func namespaceChangeFields() map[protoreflect.Name]field {
	kinds := namespaceKinds()
	all := make([]string, len(kinds))
	for i := range kinds {
		all[i] = kinds[i].name
	}
	changed := func(n *event.Namespace, i int) bool {
		before, after := kinds[i].of(&n.Before), kinds[i].of(&n.After)
		return before != 0 && after != 0 && before != after
	}
	return map[protoreflect.Name]field{
		"before":  messageOf(func(n *event.Namespace) *event.Namespaces { return &n.Before }),
		"after":   messageOf(func(n *event.Namespace) *event.Namespaces { return &n.After }),
		"changed": namesOf(all, changed),
		"joined_host": namesOf(all, func(n *event.Namespace, i int) bool {
			return changed(n, i) && kinds[i].of(&n.After) == kinds[i].of(&n.Host)
		}),
	}
}
