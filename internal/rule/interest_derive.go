package rule

import (
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	"github.com/seawall-security/seawall/internal/event"
)

// operation is a kind of event as the kernel's filters divide it.
type operation struct {
	op Op
	// all is what has to be admitted where the condition bounds nothing.
	all   Op
	known map[string]ref.Val
	roles map[string]role
	// namesOnly says that the kernel looks at no suffix and no prefix.
	namesOnly bool
	ports     string
	ops       map[string]Op
	region    string
	regions   map[string]Op
}

// operations divide a kind; kinds that are always admitted have none.
func operations(kind event.Kind) []operation {
	no := types.False
	switch kind {
	case event.KindFileOpen:
		roles := map[string]role{"open.file.path": rolePath, "open.file.name": roleName}
		return []operation{
			{op: OpOpenWrite, all: OpOpenWrite, roles: roles},
			{op: OpOpenRead, all: OpOpenRead, roles: roles, known: map[string]ref.Val{
				"open.write": no, "open.created": no,
			}},
		}
	case event.KindFileRename:
		return []operation{{op: OpRename, all: OpRename, roles: map[string]role{
			"rename.file.path": rolePath, "rename.file.name": roleName, "rename.new_path": rolePath, "rename.new_name": roleName,
		}}}
	case event.KindFileUnlink:
		return []operation{{op: OpUnlink, all: OpUnlink, roles: map[string]role{
			"unlink.file.path": rolePath, "unlink.file.name": roleName,
		}}}
	case event.KindFileChmod:
		return []operation{{
			op: OpChmod, all: OpChmod,
			roles: map[string]role{"chmod.file.path": rolePath, "chmod.file.name": roleName},
			ops:   map[string]Op{"chmod.executable": OpChmodExecutable},
		}}
	case event.KindNetworkConnect:
		return []operation{
			{
				op: OpConnectUnix, all: OpConnectUnix, namesOnly: true, roles: map[string]role{"connect.path": rolePath},
				known: map[string]ref.Val{"connect.remote.port": types.Uint(0), "connect.remote.ip": types.String("")},
			},
			{
				op: OpConnectInet, all: OpConnectInet, ports: "connect.remote.port",
				known: map[string]ref.Val{"connect.path": types.String("")},
			},
		}
	case event.KindNetworkAccept:
		return []operation{{op: OpAccept, all: OpAccept, ports: "accept.local.port"}}
	case event.KindMemoryProtect:
		return []operation{memoryOperation("protect")}
	case event.KindMemoryMap:
		return []operation{memoryOperation("map")}
	case event.KindProcessNamespace:
		return []operation{{op: OpNamespace, all: OpNamespace}}
	}
	return nil
}

func memoryOperation(payload string) operation {
	return operation{
		all: opsMemory,
		ops: map[string]Op{
			payload + ".write_to_execute": OpMemoryWriteToExecute, payload + ".write_and_execute": OpMemoryWriteAndExecute,
		},
		region: payload + ".region",
		regions: map[string]Op{
			"anonymous": OpMemoryAnonymous, "stack": OpMemoryAnonymous, "heap": OpMemoryAnonymous,
			"memfd": OpMemoryMemfd, "file": OpMemoryFile,
		},
	}
}

// derive finds the interest of a condition for events of the kinds.
func (c *compiler) derive(checked *ast.AST, kinds []event.Kind) Interest {
	c.ast, c.scope = checked, nil
	var interest Interest
	for _, kind := range kinds {
		for _, operation := range operations(kind) {
			a := analysis{
				compiler: c, kind: kind, known: operation.known, roles: operation.roles, namesOnly: operation.namesOnly, ports: operation.ports,
				ops: operation.ops, region: operation.region, regions: operation.regions,
				elements: make(map[string]ref.Val), payloads: payloadKinds(), steps: maxSteps,
			}
			interest.add(a.bound(checked.Expr(), true), operation.op, operation.all)
		}
	}
	return interest
}

// guard finds what an event of the kind must have for the condition to be true,
// as far as an index can look it up.
func (c *compiler) guard(checked *ast.AST, kind event.Kind) bound {
	c.ast, c.scope = checked, nil
	roles := map[string]role{"process.name": roleProcess, "process.program": roleProcess}
	for _, operation := range operations(kind) {
		for path, role := range operation.roles {
			roles[path] = role
		}
	}
	a := analysis{
		compiler: c, kind: kind, roles: roles, guard: true, elements: make(map[string]ref.Val), payloads: payloadKinds(), steps: maxSteps,
	}
	return a.bound(checked.Expr(), true)
}

// Admits reports whether the kernel, asked for this interest, sends the event:
// the reference of what the filters in bpf/filter.h do for a process outside
// the tree of interest.
//
// An open is for write if it may write or made the file, and for read if it may
// read or neither. A rename is admitted by its old or its
// new name.
func (i *Interest) Admits(e *event.Event) bool {
	switch p := e.Payload.(type) {
	case *event.Open:
		return i.admitsPath(openOps(p), p.File.Path)
	case *event.Rename:
		return i.admitsPath(OpRename, p.File.Path) || i.admitsPath(OpRename, p.NewPath)
	case *event.Unlink:
		return i.admitsPath(OpUnlink, p.File.Path)
	case *event.Chmod:
		return p.Executable() && i.Any&OpChmodExecutable != 0 || i.admitsPath(OpChmod, p.File.Path)
	case *event.Flow:
		switch {
		case e.Kind == event.KindNetworkAccept:
			return i.Any&OpAccept != 0 || i.Ports[p.Local.Port]&OpAccept != 0
		case p.Remote.Family == event.FamilyUnix:
			return (i.Any|i.Names[event.BaseName(p.Path)])&OpConnectUnix != 0
		}
		return i.Any&OpConnectInet != 0 || i.Ports[p.Remote.Port]&OpConnectInet != 0
	case *event.Memory:
		return i.Any&memoryOps(p) != 0
	}
	return true
}

func (i *Interest) admitsPath(ops Op, path string) bool {
	name := event.BaseName(path)
	if (i.Any|i.Names[name]|i.Suffixes[extension(name)])&ops != 0 {
		return true
	}
	for prefix, has := range i.Prefixes {
		if has&ops != 0 && len(path) >= len(prefix) && path[:len(prefix)] == prefix {
			return true
		}
	}
	return false
}

func openOps(p *event.Open) (ops Op) {
	if p.Write || p.Created {
		ops |= OpOpenWrite
	}
	if p.Read || ops == 0 {
		ops |= OpOpenRead
	}
	return ops
}

// memoryOps are the operations a change of memory is. Memory of an unknown kind
// could be anonymous.
func memoryOps(p *event.Memory) (ops Op) {
	if p.WriteToExecute() {
		ops |= OpMemoryWriteToExecute
	}
	if p.WriteAndExecute() {
		ops |= OpMemoryWriteAndExecute
	}
	if p.After&event.ProtExec == 0 {
		return ops
	}
	switch p.Region {
	case event.RegionFile:
		return ops | OpMemoryFile
	case event.RegionMemfd:
		return ops | OpMemoryMemfd
	}
	return ops | OpMemoryAnonymous
}
