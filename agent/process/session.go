package process

import (
	"slices"
	"strings"
	"time"

	"github.com/seawall-security/seawall/internal/event"
)

// runtimeLevels is how far above its entry a runtime is looked for: with runc the
// entering process was made by runc's second stage, that by its first, that by
// runc, and runc by the shim.
const runtimeLevels = 4

// Missed is why what may have been an entry into a container is not told as one.
type Missed uint8

const (
	// NotMissed is none.
	NotMissed Missed = iota
	// MissedContainer: nobody can tell the cgroup that the process came into.
	MissedContainer
	// MissedRuntime: a process came into a container, and nothing near above it is known to
	// be a runtime. Its ancestors' events may be lost.
	MissedRuntime
	// MissedRate: a connection from outside is one more than are told in a second.
	MissedRate
)

// entering is what came of a process that the kernel saw come into a cgroup.
type entering struct {
	began  bool
	missed Missed
}

// miss says that an entry may have been missed.
func (t *Table) miss(why Missed, at time.Time) {
	if why != NotMissed && t.opt.Missed != nil {
		t.opt.Missed(why, at)
	}
}

// enter begins a session at s if the process came into a container through its
// runtime. The kernel saw it come from another cgroup; that alone is no entry: a
// service manager inside a container moves its services too, and so does a host
// process that joins a container by hand. An entry also needs a cgroup that claims
// to be a container, other than the one the process's session is in already, and a
// runtime near above: by creation (parent) or by the kernel's word. It reports whether a
// session has begun, or why one that may have cannot be told.
func (t *Table) enter(s, parent *snapshot, kernelParent *entry, init bool, at time.Time) entering {
	home := t.candidate(s.CgroupID)
	if home == nil {
		t.count.entriesWithoutContainer.Add(1)
		if t.opt.Unseen != nil && t.opt.Unseen(s.CgroupID) {
			return entering{missed: MissedContainer}
		}
		return entering{}
	}
	container := home.ID()
	switch {
	case s.Session != nil && s.Session.ContainerID == container && !s.Session.ByNamespace:
		return entering{}
	case !runtimeNear(parent) && (kernelParent == nil || !runtimeNear(kernelParent.now)):
		t.count.entriesWithoutRuntime.Add(1)
		return entering{missed: MissedRuntime}
	}
	s.Home = home
	s.Session = &event.Session{
		ID:          event.SessionID(t.opt.BootID, s.Key),
		Root:        s.Key,
		RootID:      s.ID,
		Time:        at,
		ContainerID: container,
		Args:        s.Args,
		ArgsCut:     s.ArgsCut,
		TTY:         s.TTY,
		Init:        init,
	}
	if !init {
		s.Session.ExecID = execID(parent)
	}
	s.outer, s.left = nil, nil
	if init {
		t.inhabit(s, home)
	}
	t.count.sessions.Add(1)
	return entering{began: true}
}

// maxExecID bounds an id; containerd's own bound is 76.
const maxExecID = 128

// execID is the id of the exec that a runtime near above was called for. containerd has
// it write the new process's number to <exec id>.pid.
func execID(s *snapshot) string {
	for level := 0; s != nil && level < runtimeLevels; level++ {
		if isRuntime(s.Name) && slices.Contains(s.Args, "exec") {
			at := slices.Index(s.Args, "--pid-file")
			if at < 0 || at+1 == len(s.Args) {
				return ""
			}
			id, ok := strings.CutSuffix(event.BaseName(s.Args[at+1]), ".pid")
			if !ok || len(id) > maxExecID {
				return ""
			}
			return strings.Clone(id)
		}
		s = s.parent
	}
	return ""
}

// inherited is the session of a process that was not seen starting: its parent's,
// if it is in the same cgroup. A parent that is the first of its pid namespace may
// merely have adopted it, from any session: then none is claimed.
func inherited(parent *snapshot, cgroupID uint64) *event.Session {
	if parent == nil || parent.CgroupID != cgroupID || parent.NSPID == 1 {
		return nil
	}
	return parent.Session
}

func runtimeNear(s *snapshot) bool {
	for level := 0; s != nil && level < runtimeLevels; level++ {
		if isRuntime(s.called()) {
			return true
		}
		s = s.parent
	}
	return false
}

// called is the program's name as far as it is known.
func (s *snapshot) called() string {
	if !s.Unknown {
		return s.Name
	}
	name, _, _ := strings.Cut(s.Comm, ":") // runc:[1:CHILD]
	return name
}

func isRuntime(name string) bool {
	switch name {
	case "runc", "crun", "conmon":
		return true
	}
	return strings.HasPrefix(name, "containerd-shim") || strings.HasPrefix(name, "docker-containerd-shim")
}
