package rule

import (
	"net/netip"
	"time"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/seawall-security/seawall/internal/event"
)

// schema maps each message of seawall.sensor.v1 and its fields to the hot
// structs. A test insists that it is complete.
type schema map[protoreflect.FullName]map[protoreflect.Name]field

const schemaPackage = "seawall.sensor.v1."

func newSchema() schema {
	s := schema{
		schemaPackage + "Event":       eventFields(),
		schemaPackage + "Process":     processFields(),
		schemaPackage + "Credentials": credentialFields(),
		schemaPackage + "Namespaces":  namespaceFields(),
		schemaPackage + "File":        fileFields(),
		schemaPackage + "FileOrigin":  originFields(),
		schemaPackage + "Stdio": {
			"kind":   textOf(func(_ *frame, s *event.Stdio) string { return s.Kind.String() }),
			"inode":  uintOf(func(s *event.Stdio) uint64 { return s.Inode }),
			"device": uintOf(func(s *event.Stdio) uint32 { return s.Device }),
			"local":  messageOf(func(s *event.Stdio) *event.Address { return present(&s.Local) }),
			"remote": messageOf(func(s *event.Stdio) *event.Address { return present(&s.Remote) }),
		},
		schemaPackage + "Address": {
			"family":        textOf(func(_ *frame, a *event.Address) string { return a.Family.String() }),
			"ip":            {lower: lowerIP},
			"port":          uintOf(func(a *event.Address) uint16 { return a.Port }),
			"loopback":      boolOf(func(a *event.Address) bool { return a.Loopback() }),
			"net_namespace": uintOf(func(a *event.Address) uint32 { return a.NetNamespace }),
		},
		schemaPackage + "Session": {
			"id":             textOf(func(_ *frame, s *event.Session) string { return s.ID }),
			"root_id":        textOf(func(_ *frame, s *event.Session) string { return s.RootID }),
			"time":           timeOf(func(s *event.Session) time.Time { return s.Time }),
			"container_id":   textOf(func(_ *frame, s *event.Session) string { return s.ContainerID }),
			"args":           wordsOf(func(s *event.Session) []string { return s.Args }),
			"tty":            textOf(func(_ *frame, s *event.Session) string { return s.TTY }),
			"args_truncated": boolOf(func(s *event.Session) bool { return s.ArgsCut }),
			"init":           boolOf(func(s *event.Session) bool { return s.Init }),
			"entered_by":     textOf(func(_ *frame, s *event.Session) string { return s.EnteredBy() }),
			"exec_id":        textOf(func(_ *frame, s *event.Session) string { return s.ExecID }),
		},
		schemaPackage + "Container": containerFields(),
		// A pod has no struct of its own: it is the part of its container that names it.
		schemaPackage + "Pod": {
			"name":      textOf(func(_ *frame, c *pod) string { return c.PodName }),
			"namespace": textOf(func(_ *frame, c *pod) string { return c.PodNamespace }),
			"uid":       textOf(func(_ *frame, c *pod) string { return c.PodUID }),
		},
	}
	for name, fields := range payloadFields() {
		s[name] = fields
	}
	return s
}

type pod event.Container

// present is nil for an address that is none, as the message is absent then.
func present(a *event.Address) *event.Address {
	if *a == (event.Address{}) {
		return nil
	}
	return a
}

func lowerIP(base messageCode) any {
	return ipCode(func(f *frame) (ip netip.Addr) {
		if a := as[event.Address](f, base); a != nil {
			return a.IP.Unmap()
		}
		return ip
	})
}

func eventFields() map[protoreflect.Name]field {
	flag := func(bit event.Flags) field { return boolOf(func(e *event.Event) bool { return e.Flags.Has(bit) }) }
	reasons := event.Tree(^uint32(0)).Names()
	fields := map[protoreflect.Name]field{
		"sequence":     uintOf(func(e *event.Event) uint64 { return e.Sequence }),
		"kind":         intOf(func(e *event.Event) int64 { return int64(e.Kind) }),
		"time":         timeOf(func(e *event.Event) time.Time { return e.Wall }),
		"boot_time_ns": uintOf(func(e *event.Event) event.Boot { return e.Time }),
		"cpu":          uintOf(func(e *event.Event) uint32 { return e.CPU }),
		"cpu_sequence": uintOf(func(e *event.Event) uint64 { return e.CPUSequence }),
		"tid":          uintOf(func(e *event.Event) uint32 { return e.TID }),
		"uid":          uintOf(func(e *event.Event) uint32 { return e.UID }),
		"euid":         uintOf(func(e *event.Event) uint32 { return e.EUID }),
		"gid":          uintOf(func(e *event.Event) uint32 { return e.GID }),
		"user_memory":  flag(event.UserMemory),
		"compat":       flag(event.Compat),
		"result_known": flag(event.HasResult),
		"result": intOf(func(e *event.Event) int64 {
			if e.Flags.Has(event.HasResult) {
				return e.Result
			}
			return 0
		}),
		"escaped":           unavailable("text is escaped only when an event is written out; conditions see it raw"),
		"path_truncated":    flag(event.PathTruncated),
		"self_test":         flag(event.SelfTest),
		"tree":              namesOf(reasons, func(e *event.Event, i int) bool { return e.Tree&(1<<i) != 0 }),
		"tree_root_id":      unavailable("it is made when an event is written out; use ancestors"),
		"process":           {lower: lowerProcess},
		"ancestors":         {lower: lowerAncestors},
		"container":         messageOf(func(e *event.Event) *event.Container { return e.Container }),
		"session":           messageOf(func(e *event.Event) *event.Session { return e.Session }),
		"entry":             boolOf(func(e *event.Event) bool { return e.Entry }),
		"entered_container": messageOf(func(e *event.Event) *event.Container { return e.EnteredContainer }),
	}
	for name, kind := range payloadKinds() {
		fields[name] = payload(kind)
	}
	return fields
}

// payloadKinds says which event kind each payload belongs to.
func payloadKinds() map[protoreflect.Name]event.Kind {
	return map[protoreflect.Name]event.Kind{
		"fork": event.KindProcessFork, "exec": event.KindProcessExec, "exit": event.KindProcessExit,
		"namespace": event.KindProcessNamespace,
		"open":      event.KindFileOpen, "rename": event.KindFileRename, "unlink": event.KindFileUnlink, "chmod": event.KindFileChmod,
		"connect": event.KindNetworkConnect, "accept": event.KindNetworkAccept,
		"protect": event.KindMemoryProtect, "map": event.KindMemoryMap,
		"cgroup_create": event.KindCgroupCreate, "cgroup_remove": event.KindCgroupRemove,
	}
}

// payload selects the payload of one kind; it is absent from all others.
func payload(kind event.Kind) field {
	return field{lower: func(base messageCode) any {
		return messageCode(func(f *frame) any {
			if e := as[event.Event](f, base); e != nil && e.Kind == kind {
				return e.Payload
			}
			return nil
		})
	}}
}

// lowerProcess selects the actor. Of one that is not known the event's header
// has the key and the name.
func lowerProcess(base messageCode) any {
	return messageCode(func(f *frame) any {
		e := as[event.Event](f, base)
		if e == nil {
			return nil
		}
		if e.Process != nil {
			return e.Process
		}
		f.stranger.Key, f.stranger.Comm, f.stranger.Unknown = e.Actor, e.Comm, true
		return &f.stranger
	})
}

func lowerAncestors(base messageCode) any {
	return listCode{
		message: schemaPackage + "Process",
		most:    event.MaxAncestors,
		size: func(f *frame) int {
			n := 0
			for a := nearest(f, base); a != nil && n < event.MaxAncestors; a = a.Parent {
				n++
			}
			return n
		},
		each: func(f *frame, slot int, body boolCode, stop bool) bool {
			n := 0
			for a := nearest(f, base); a != nil && n < event.MaxAncestors; a = a.Parent {
				f.messages[slot] = a
				if body(f) == stop {
					return true
				}
				n++
			}
			return false
		},
	}
}

func nearest(f *frame, base messageCode) *event.Process {
	if e := as[event.Event](f, base); e != nil && e.Process != nil {
		return e.Process.Parent
	}
	return nil
}

func containerFields() map[protoreflect.Name]field {
	return map[protoreflect.Name]field{
		"id":                textOf(func(_ *frame, c *event.Container) string { return c.ID }),
		"runtime":           textOf(func(_ *frame, c *event.Container) string { return c.Runtime }),
		"runtime_namespace": textOf(func(_ *frame, c *event.Container) string { return c.RuntimeNamespace }),
		"name":              textOf(func(_ *frame, c *event.Container) string { return c.Name }),
		"image":             textOf(func(_ *frame, c *event.Container) string { return c.Image }),
		"image_digest":      textOf(func(_ *frame, c *event.Container) string { return c.ImageDigest }),
		"created":           timeOf(func(c *event.Container) time.Time { return c.Created }),
		"cgroup_id":         uintOf(func(c *event.Container) uint64 { return c.CgroupID }),
		"cgroup_path":       textOf(func(_ *frame, c *event.Container) string { return c.CgroupPath }),
		"pod": messageOf(func(c *event.Container) *pod {
			if c.PodName == "" && c.PodNamespace == "" && c.PodUID == "" {
				return nil
			}
			return (*pod)(c)
		}),
		"labels": {lower: func(base messageCode) any {
			return labelsCode(func(f *frame) map[string]string {
				if c := as[event.Container](f, base); c != nil {
					return c.Labels
				}
				return nil
			})
		}},
	}
}
