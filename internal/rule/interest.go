package rule

import (
	"fmt"
	"maps"
	"strings"

	"github.com/seawall-security/seawall/internal/event"
)

// Op is a set of operations a kernel hook can be asked to admit. The bits are
// those of enum interest_op in bpf/filter.h.
type Op uint64

const (
	OpOpenRead Op = 1 << iota
	OpOpenWrite
	OpRename
	OpUnlink
	OpChmod
	OpConnectUnix
	OpConnectInet
	OpAccept
	OpMemoryWriteToExecute  // write goes, execute comes
	OpMemoryWriteAndExecute // both at once
	OpMemoryAnonymous       // execute on anonymous memory, stack or heap
	OpMemoryMemfd           // execute on a memfd
	OpMemoryFile            // execute on an ordinary file: every library
	OpNamespace
	// OpChmodExecutable is chmod that sets an execute bit.
	OpChmodExecutable
)

// opNames are in the order of the bits.
var opNames = [...]string{
	"open for read", "open for write", "rename", "unlink", "chmod", "connect to unix sockets", "connect", "accept",
	"memory from writable to executable", "memory writable and executable", "executable anonymous memory",
	"executable memfd", "executable file mapping", "namespace", "chmod to executable",
}

// String lists the operations.
func (o Op) String() string {
	var names []string
	for i, name := range opNames {
		if o&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, ", ")
}

// opsMemory are the operations of protect and map events.
const opsMemory = OpMemoryWriteToExecute | OpMemoryWriteAndExecute | OpMemoryAnonymous | OpMemoryMemfd | OpMemoryFile

// Bounds of what the rules together may ask the kernel for: the sizes of the maps in
// bpf/maps.h.
const (
	MaxNames    = 4096
	MaxSuffixes = 256
	MaxPrefixes = 1024
	MaxPorts    = 1024
	MaxMarks    = 1024
)

// Interest is what a set of rules needs the kernel to admit. It is
// conservative: an event that a rule could match is always within it.
type Interest struct {
	// Any are operations that have to be admitted whatever their object is.
	Any Op
	// Names are last names of paths (files, unix sockets).
	Names map[string]Op
	// Suffixes are ends of last names from their last dot: ".php".
	Suffixes map[string]Op
	// Prefixes are beginnings of absolute paths.
	Prefixes map[string]Op
	// Ports are remote ports of connect and local ports of accept.
	Ports map[uint16]Op
	// Marks are names of executables whose exec marks the process's tree.
	Marks map[string]event.Tree
}

// add makes i cover what b bounds for op; all is what op is without a bound.
func (i *Interest) add(b bound, op, all Op) {
	if b.any {
		i.Any |= all
		return
	}
	i.Any |= b.ops
	i.Names = withOp(i.Names, b.names, op)
	i.Suffixes = withOp(i.Suffixes, b.suffixes, op)
	i.Prefixes = withOp(i.Prefixes, b.prefixes, op)
	i.Ports = withOp(i.Ports, b.ports, op)
}

func withOp[K comparable](ops map[K]Op, keys map[K]struct{}, op Op) map[K]Op {
	if ops == nil && len(keys) > 0 {
		ops = make(map[K]Op, len(keys))
	}
	for key := range keys {
		ops[key] |= op
	}
	return ops
}

// Union is what is needed for both.
func (i Interest) Union(other Interest) Interest {
	var u Interest
	u.merge(i)
	u.merge(other)
	return u
}

// excess says of what the kernel is asked for more than it can hold; empty: of nothing.
func (i Interest) excess() string {
	for _, part := range []struct {
		what     string
		has, max int
	}{
		{"names", len(i.Names), MaxNames}, {"suffixes", len(i.Suffixes), MaxSuffixes},
		{"prefixes", len(i.Prefixes), MaxPrefixes}, {"ports", len(i.Ports), MaxPorts},
	} {
		if part.has > part.max {
			return fmt.Sprintf("%d %s, more than %d", part.has, part.what, part.max)
		}
	}
	return ""
}

// merge makes i cover other too.
func (i *Interest) merge(other Interest) {
	i.Any |= other.Any
	i.Names = mergeOps(i.Names, other.Names)
	i.Suffixes = mergeOps(i.Suffixes, other.Suffixes)
	i.Prefixes = mergeOps(i.Prefixes, other.Prefixes)
	i.Ports = mergeOps(i.Ports, other.Ports)
	i.Marks = mergeOps(i.Marks, other.Marks)
}

func mergeOps[K comparable, V ~uint32 | ~uint64](into, from map[K]V) map[K]V {
	if into == nil {
		return maps.Clone(from)
	}
	for key, ops := range from {
		into[key] |= ops
	}
	return into
}

// Lines says in words what the interest admits, one line for each operation
// that has a bound, and for each that has none.
func (i Interest) Lines() []string {
	var lines []string
	for bit, name := range opNames {
		op := Op(1) << bit
		if i.Any&op != 0 {
			lines = append(lines, name+": "+anyCost(op))
			continue
		}
		var parts []string
		for _, part := range []struct {
			what string
			keys []string
		}{
			{"names", keysWith(i.Names, op)}, {"suffixes", keysWith(i.Suffixes, op)},
			{"prefixes", keysWith(i.Prefixes, op)}, {"ports", keysWith(i.Ports, op)},
		} {
			if len(part.keys) > 0 {
				parts = append(parts, fmt.Sprintf("%s %s", part.what, strings.Join(part.keys, " ")))
			}
		}
		if len(parts) > 0 {
			lines = append(lines, name+": "+strings.Join(parts, "; "))
		}
	}
	return lines
}

func keysWith[K comparable](ops map[K]Op, op Op) []string {
	found := make(map[string]struct{})
	for key, has := range ops {
		if has&op != 0 {
			found[fmt.Sprint(key)] = struct{}{}
		}
	}
	return sorted(found)
}

// anyCost says what an operation without a bound costs.
func anyCost(op Op) string {
	if op&opsCheap != 0 {
		return "every one"
	}
	return "EVERY ONE on the node is sent to the agent"
}

// opsCheap are rare enough to be admitted whatever their object is.
const opsCheap = OpMemoryWriteToExecute | OpMemoryWriteAndExecute | OpMemoryAnonymous | OpMemoryMemfd | OpNamespace | OpChmodExecutable
