package event

// Kind is the kind of an event; the numbers are those of enum event_kind in
// bpf/event.h and of Kind in the protobuf schema.
type Kind uint16

const (
	KindNone             Kind = 0
	KindProcessFork      Kind = 1
	KindProcessExec      Kind = 2
	KindProcessExit      Kind = 3
	KindProcessNamespace Kind = 4
	// KindProcessSeed is a process that ran before the agent; it never leaves the agent.
	KindProcessSeed Kind = 5

	KindFileOpen       Kind = 16
	KindFileRename     Kind = 17
	KindFileUnlink     Kind = 18
	KindFileChmod      Kind = 19
	KindNetworkConnect Kind = 32
	KindNetworkAccept  Kind = 33
	KindMemoryProtect  Kind = 48
	KindMemoryMap      Kind = 49
	KindCgroupCreate   Kind = 64
	KindCgroupRemove   Kind = 65

	// KindMax is above every kind: the size of tables indexed by kind.
	KindMax Kind = 72
)

// Kinds lists every kind that an agent reports, in the order of their numbers.
var Kinds = []Kind{
	KindProcessFork, KindProcessExec, KindProcessExit, KindProcessNamespace,
	KindFileOpen, KindFileRename, KindFileUnlink, KindFileChmod,
	KindNetworkConnect, KindNetworkAccept, KindMemoryProtect, KindMemoryMap,
	KindCgroupCreate, KindCgroupRemove,
}

var kindNames = [KindMax]string{
	KindProcessFork:      "process_fork",
	KindProcessExec:      "process_exec",
	KindProcessExit:      "process_exit",
	KindProcessNamespace: "process_namespace",
	KindProcessSeed:      "process_seed",
	KindFileOpen:         "file_open",
	KindFileRename:       "file_rename",
	KindFileUnlink:       "file_unlink",
	KindFileChmod:        "file_chmod",
	KindNetworkConnect:   "network_connect",
	KindNetworkAccept:    "network_accept",
	KindMemoryProtect:    "memory_protect",
	KindMemoryMap:        "memory_map",
	KindCgroupCreate:     "cgroup_create",
	KindCgroupRemove:     "cgroup_remove",
}

// String is the kind's name: process_exec. Unknown kinds are "unknown".
func (k Kind) String() string {
	if k < KindMax && kindNames[k] != "" {
		return kindNames[k]
	}
	return "unknown"
}

// ParseKind finds a kind by its name.
func ParseKind(name string) (Kind, bool) {
	for _, k := range Kinds {
		if kindNames[k] == name {
			return k, true
		}
	}
	return KindNone, false
}
