package probe

import (
	"fmt"

	"github.com/cilium/ebpf"

	"github.com/seawall-security/seawall/bpf"
	"github.com/seawall-security/seawall/internal/event"
)

// Rung is a way to attach a hook, named as users see it.
type Rung string

// The rungs, best first. Tracepoint is the only one of hooks that are the same on
// every kernel; Syscall is the lowest of all others.
const (
	RungLSM        Rung = "lsm"
	RungFentry     Rung = "fentry"
	RungTracepoint Rung = "tracepoint"
	RungSyscall    Rung = "syscall"
	RungNone       Rung = "none"
)

// height orders the ladder for a ceiling; tracepoints have no other rung.
func (r Rung) height() int {
	switch r {
	case RungLSM:
		return 2
	case RungFentry:
		return 1
	case RungSyscall, RungTracepoint, RungNone:
		return 0
	}
	return 0
}

// hook is one thing to be seen and the ways to see it, best first.
type hook struct {
	name     string
	kind     event.Kind
	required bool // without it the agent would be blind: stop
	attempts []attempt
}

// attempt is one rung of a hook. Upper rungs name a program; the syscall rung names
// the programs to put under numbers of calls.
type attempt struct {
	rung    Rung
	program string
	enter   []call // programs at the entry of calls
	exit    []call
	// instead replaces a program when the kernel has a feature.
	instead map[string]string
}

// call puts a program under the numbers of system calls.
type call struct {
	program string
	calls   []string
}

// object is one compiled concern.
type object struct {
	name  string
	load  func() (*ebpf.CollectionSpec, error)
	hooks []hook
}

func upper(name string) []attempt {
	return []attempt{{rung: RungLSM, program: "lsm_" + name}, {rung: RungFentry, program: "fentry_" + name}}
}

func tracepoint(program string) []attempt {
	return []attempt{{rung: RungTracepoint, program: program}}
}

func atExit(calls ...call) attempt { return attempt{rung: RungSyscall, exit: calls} }

func on(program string, calls ...string) call { return call{program: program, calls: calls} }

// objects lists every hook. Order is the order of attaching: processes first, so that
// no later event comes from a process that could not be known.
func objects() []object {
	return []object{
		{"process", bpf.LoadProcess, []hook{
			{"process_exec", event.KindProcessExec, true, tracepoint("process_exec")},
			{"process_fork", event.KindProcessFork, true, tracepoint("process_fork")},
			{"process_exit", event.KindProcessExit, true, tracepoint("process_exit")},
			{"process_namespace", event.KindProcessNamespace, false, []attempt{
				{rung: RungFentry, program: "fentry_namespace"},
				atExit(on("exit_namespace", "setns", "unshare")),
			}},
		}},
		{"cgroup", bpf.LoadCgroup, []hook{
			{"cgroup_create", event.KindCgroupCreate, false, tracepoint("cgroup_create")},
			{"cgroup_remove", event.KindCgroupRemove, false, tracepoint("cgroup_remove")},
		}},
		{"file", bpf.LoadFile, []hook{
			{"file_open", event.KindFileOpen, false, append(upper("open"), atExit(
				on("exit_open", "open"), on("exit_creat", "creat"),
				on("exit_openat", "openat"), on("exit_openat2", "openat2")))},
			{"file_rename", event.KindFileRename, false, append(upper("rename"), atExit(
				on("exit_rename", "rename"), on("exit_renameat", "renameat", "renameat2")))},
			{"file_unlink", event.KindFileUnlink, false, append(upper("unlink"), atExit(
				on("exit_unlink", "unlink"), on("exit_unlinkat", "unlinkat")))},
			{"file_chmod", event.KindFileChmod, false, append(upper("chmod"), atExit(
				on("exit_chmod", "chmod"), on("exit_fchmod", "fchmod"), on("exit_fchmodat", "fchmodat", "fchmodat2")))},
		}},
		{"network", bpf.LoadNetwork, []hook{
			{"network_connect", event.KindNetworkConnect, false, append(upper("connect"), atExit(
				on("exit_connect", "connect"), on("exit_socketcall", "socketcall")))},
			{"network_accept", event.KindNetworkAccept, false, append(upper("accept"), atExit(
				on("exit_accept", "accept", "accept4"), on("exit_socketcall", "socketcall")))},
		}},
		{"memory", bpf.LoadMemory, []hook{
			{"memory_protect", event.KindMemoryProtect, false, append(upper("protect"), attempt{
				rung:    RungSyscall,
				enter:   []call{on("enter_protect", "mprotect", "pkey_mprotect")},
				instead: map[string]string{"enter_protect": "enter_protect_vma"},
			})},
			{"memory_map", event.KindMemoryMap, false, append(upper("map"), atExit(
				on("exit_map", "mmap", "mmap2")))},
		}},
	}
}

// HookStatus tells how one hook ended up.
type HookStatus struct {
	Hook string     `json:"hook"`
	Kind event.Kind `json:"-"`
	Rung Rung       `json:"rung"`
	// Confirmed: its event was provoked and came.
	Confirmed bool `json:"confirmed"`
	// Refused says for every better rung why it was not taken, and for the taken one why
	// it could not be confirmed.
	Refused []Refusal `json:"refused,omitempty"`
}

// Refusal is why a rung was not taken.
type Refusal struct {
	Rung   Rung   `json:"rung"`
	Reason string `json:"reason"`
}

// String is the reason of one line: "lsm: ...; fentry: ...".
func (s HookStatus) String() string {
	text := fmt.Sprintf("%s at %s", s.Hook, s.Rung)
	for _, r := range s.Refused {
		text += fmt.Sprintf("; %s: %s", r.Rung, r.Reason)
	}
	return text
}
