package rule

import (
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/seawall-security/seawall/internal/event"
)

func payloadFields() schema {
	return schema{
		schemaPackage + "ProcessFork": {"child": {lower: lowerChild}},
		schemaPackage + "ProcessExec": {
			"entered": boolOf(func(e *event.Exec) bool { return e.Entered }),
			"init":    boolOf(func(e *event.Exec) bool { return e.Init }),
			"secure":  boolOf(func(e *event.Exec) bool { return e.Secure }),
			"before":  messageOf(func(e *event.Exec) *event.Process { return e.Before }),
		},
		schemaPackage + "ProcessExit": {
			"code":   uintOf(func(e *event.Exit) uint32 { return e.Code }),
			"signal": uintOf(func(e *event.Exit) uint32 { return e.Signal }),
		},
		schemaPackage + "ProcessNamespace": namespaceChangeFields(),
		schemaPackage + "FileOpen": {
			"file":     messageOf(func(o *event.Open) *event.File { return &o.File }),
			"flags":    uintOf(func(o *event.Open) uint32 { return o.Flags }),
			"write":    boolOf(func(o *event.Open) bool { return o.Write }),
			"read":     boolOf(func(o *event.Open) bool { return o.Read }),
			"created":  boolOf(func(o *event.Open) bool { return o.Created }),
			"truncate": boolOf(func(o *event.Open) bool { return o.Truncate }),
			"failed":   boolOf(func(o *event.Open) bool { return o.Failed }),
		},
		schemaPackage + "FileRename": {
			"file":     messageOf(func(r *event.Rename) *event.File { return &r.File }),
			"new_path": textOf(func(_ *frame, r *event.Rename) string { return r.NewPath }),
			"new_name": textOf(func(_ *frame, r *event.Rename) string { return event.BaseName(r.NewPath) }),
		},
		schemaPackage + "FileUnlink": {
			"file": messageOf(func(u *event.Unlink) *event.File { return &u.File }),
		},
		schemaPackage + "FileChmod": {
			"file":       messageOf(func(c *event.Chmod) *event.File { return &c.File }),
			"mode":       uintOf(func(c *event.Chmod) uint32 { return c.Mode }),
			"executable": boolOf(func(c *event.Chmod) bool { return c.Executable() }),
		},
		schemaPackage + "NetworkFlow": {
			"local":    messageOf(func(f *event.Flow) *event.Address { return present(&f.Local) }),
			"remote":   messageOf(func(f *event.Flow) *event.Address { return present(&f.Remote) }),
			"type":     textOf(func(frame *frame, f *event.Flow) string { return frame.names.socket(f.Type) }),
			"protocol": uintOf(func(f *event.Flow) uint32 { return f.Protocol }),
			"path":     textOf(func(_ *frame, f *event.Flow) string { return f.Path }),
		},
		schemaPackage + "MemoryChange": memoryFields(),
		schemaPackage + "Protection": {
			"read":    boolOf(func(p *event.Protection) bool { return *p&event.ProtRead != 0 }),
			"write":   boolOf(func(p *event.Protection) bool { return *p&event.ProtWrite != 0 }),
			"execute": boolOf(func(p *event.Protection) bool { return *p&event.ProtExec != 0 }),
		},
		schemaPackage + "CgroupChange": {
			"id":   uintOf(func(c *event.Cgroup) uint64 { return c.ID }),
			"path": textOf(func(_ *frame, c *event.Cgroup) string { return c.Path }),
		},
	}
}

// lowerChild selects the process that a fork made, which may not be published yet.
func lowerChild(base messageCode) any {
	return messageCode(func(f *frame) any {
		fork := as[event.Fork](f, base)
		if fork == nil {
			return nil
		}
		if fork.ChildProcess != nil {
			return fork.ChildProcess
		}
		f.child.Key, f.child.NSPID, f.child.Namespaces.PID, f.child.Unknown = fork.Child, fork.ChildNSPID, fork.ChildPIDNS, true
		return &f.child
	})
}

func memoryFields() map[protoreflect.Name]field {
	return map[protoreflect.Name]field{
		"address":      uintOf(func(m *event.Memory) uint64 { return m.Address }),
		"length_bytes": uintOf(func(m *event.Memory) uint64 { return m.Length }),
		"before": messageOf(func(m *event.Memory) *event.Protection {
			if m.BeforeUnknown {
				return nil
			}
			return &m.Before
		}),
		"after":          messageOf(func(m *event.Memory) *event.Protection { return &m.After }),
		"before_unknown": boolOf(func(m *event.Memory) bool { return m.BeforeUnknown }),
		"region":         textOf(func(_ *frame, m *event.Memory) string { return m.Region.String() }),
		"map_flags":      uintOf(func(m *event.Memory) uint32 { return m.MapFlags }),
		"file": messageOf(func(m *event.Memory) *event.File {
			if m.File == (event.File{}) {
				return nil
			}
			return &m.File
		}),
		"write_to_execute":  boolOf(func(m *event.Memory) bool { return m.WriteToExecute() }),
		"write_and_execute": boolOf(func(m *event.Memory) bool { return m.WriteAndExecute() }),
	}
}
