package rule

import "github.com/seawall-security/seawall/internal/event"

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
