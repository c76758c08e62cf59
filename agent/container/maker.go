package container

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/seawall-security/seawall/internal/event"
)

// maker is who made a cgroup, as far as it matters.
type maker uint8

const (
	makerUnseen  maker = iota // the cgroup was there before, or nobody saw it made
	makerOther                // somebody who is no runtime, or who cannot be told
	makerRuntime              // a runtime's own process on the host
)

// makerDepth bounds how far above the maker a runtime's process may stand: runc
// below its shim, or a wrapper between them.
const makerDepth = 3

// judge tells whether a process is a runtime's own. Names alone prove nothing,
// so only root's processes in the host's mount namespace count; that their
// cgroup is no container's is for the table to see. A runtime that lives in a
// mount namespace of its own is therefore believed through its socket only.
func judge(by *event.Process, hint Hint, path string) maker {
	if by == nil {
		return makerUnseen
	}
	if by.Unknown || !by.HostMount || by.Credentials.EUID != 0 {
		return makerOther
	}
	// systemd makes the scopes that runtimes ask it for; asking takes root.
	if by.Key.TGID == 1 && hint != HintPlain && strings.HasSuffix(path, ".scope") {
		return makerRuntime
	}
	if isRuntime(by.Name) {
		return makerRuntime
	}
	depth := 0
	for a := range by.Ancestors {
		if depth++; depth > makerDepth {
			break
		}
		if a.HostMount && isMonitor(a.Name) {
			return makerRuntime
		}
	}
	return makerOther
}

func isRuntime(name string) bool {
	switch name {
	case "runc", "crun", "youki", "runsc", "kata-runtime", "docker-runc", "nvidia-container-runtime":
		return true
	}
	return isMonitor(name)
}

// isMonitor names the processes that stay as the parent of a container's first one.
func isMonitor(name string) bool {
	return strings.HasPrefix(name, "containerd-shim") || name == "conmon" || name == "conmonrs"
}

// Bounds of what heldByMonitor looks at: a container has its first process in
// its own cgroup or close below.
const (
	heldCgroups   = 16
	heldProcesses = 16
)

// heldByMonitor tells whether a cgroup that nobody saw made holds a process
// whose parent is a runtime's monitor outside of any candidate cgroup. It reads
// procfs and the cgroup tree.
func (h *Hierarchy) heldByMonitor(path string) bool {
	cgroups, found := 0, false
	_ = h.walk(path, func(_ uint64, below string) bool { // a cgroup that cannot be read proves nothing
		cgroups++
		found = found || h.monitorAbove(below)
		return !found && cgroups < heldCgroups
	})
	return found
}

func (h *Hierarchy) monitorAbove(path string) bool {
	data, err := os.ReadFile(filepath.Join(h.Mount, path, "cgroup.procs"))
	if err != nil {
		return false
	}
	seen := 0
	for pid := range strings.FieldsSeq(string(data)) {
		if seen++; seen > heldProcesses {
			break
		}
		parent, err := h.parentOf(pid)
		if err != nil || parent == 0 {
			continue
		}
		exe, err := os.Readlink(filepath.Join(h.proc, strconv.FormatUint(uint64(parent), 10), "exe"))
		if err != nil || !isMonitor(event.BaseName(strings.TrimSuffix(exe, " (deleted)"))) {
			continue
		}
		above, err := h.CgroupOf(parent)
		if err != nil {
			continue
		}
		if c, ok := Parse(above); !ok || c.Hint == HintPlain {
			return true
		}
	}
	return false
}

var errNoParent = errors.New("no parent in stat")

// parentOf reads the fourth field of stat; the second, in parentheses, may hold anything.
func (h *Hierarchy) parentOf(pid string) (uint32, error) {
	data, err := os.ReadFile(filepath.Join(h.proc, pid, "stat"))
	if err != nil {
		return 0, err
	}
	text := string(data)
	fields := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
	if len(fields) < 2 {
		return 0, errNoParent
	}
	parent, err := strconv.ParseUint(fields[1], 10, 32)
	return uint32(parent), err
}
