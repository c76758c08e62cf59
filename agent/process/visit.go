package process

import (
	"time"

	"github.com/seawall-security/seawall/internal/event"
)

// Who comes into a container past its runtime (nsenter, or setns by any program) keeps its
// cgroup and its home: it is the host's, or another container's. What makes it an entry is
// the mount namespace: with that of a container a process has its files and programs. Other
// namespaces alone are none; network plugins and proxies enter those all day.

// space is a container's mount namespace, known from the container's own first program and
// for as long as that lives: numbers of namespaces are used again at once.
type space struct {
	home event.Home
	net  uint32 // its network namespace; 0: the host's
	init event.Key
	// reached and second count connections from outside, see reach.
	reached int
	second  event.Boot
}

// inhabit notes where a container's first program lives. Below it another one may look
// like the first, of a cgroup that the container made for itself.
func (t *Table) inhabit(s *snapshot, home event.Home) {
	mount := s.Namespaces.Mount
	if s.HostMount || mount == 0 {
		return
	}
	if sp := t.spaces[mount]; sp != nil {
		if sp.home.ID() == home.ID() {
			return
		}
		delete(t.firsts, sp.init) // its end was lost
	}
	net := s.Namespaces.Net
	if net == t.opt.HostNamespaces.Net {
		net = 0
	}
	t.spaces[mount] = &space{home: home, net: net, init: s.Key}
	t.firsts[s.Key] = mount
}

// vacate forgets where a container's first program lived, if k was one.
func (t *Table) vacate(k event.Key) {
	if mount, ok := t.firsts[k]; ok {
		delete(t.firsts, k)
		delete(t.spaces, mount)
	}
}

// rename is for a first program whose key has become exact.
func (t *Table) rename(from, to event.Key) {
	if mount, ok := t.firsts[from]; ok {
		delete(t.firsts, from)
		t.firsts[to], t.spaces[mount].init = mount, to
	}
}

// visit begins a session at s, which is not published yet, if it has come into a
// container past its runtime, and ends one if it has gone back. It returns the container
// that was entered; nil: none was.
func (t *Table) visit(s *snapshot, at time.Time) event.Home {
	sp := t.spaces[s.Namespaces.Mount]
	switch {
	case s.HostMount:
		s.leave()
		return nil
	case sp == nil: // a container's own, or one that a visitor made from its
		return nil
	}
	container := sp.home.ID()
	switch {
	case s.Session != nil && s.Session.ContainerID == container:
		return nil
	case s.Home != nil && s.Home.ID() == container:
		s.leave()
		return nil
	case ofRuntime(s):
		return nil
	}
	s.leave()
	if s.left != nil && s.left.ContainerID == container {
		s.Session, s.outer, s.left = s.left, s.Session, nil // it, or who made it, was here before
		return nil
	}
	s.outer = s.Session
	s.Session = &event.Session{
		ID:          event.VisitID(t.opt.BootID, s.Key, container),
		Root:        s.Key,
		RootID:      s.ID,
		Time:        at,
		ContainerID: container,
		Args:        s.Args,
		ArgsCut:     s.ArgsCut,
		TTY:         s.TTY,
		ByNamespace: true,
	}
	t.count.visits.Add(1)
	return sp.home
}

// leave ends a visit: the session is again what it was before.
func (s *snapshot) leave() {
	if s.Session != nil && s.Session.ByNamespace {
		s.left = s.Session
		s.Session, s.outer = s.outer, nil
	}
}

// ofRuntime reports whether a process works for a container runtime: it or one near above
// is one, and none between has come out of a container's session. In a container, where
// anybody can name a program as they like, only a runtime that came with the image counts.
func ofRuntime(s *snapshot) bool {
	for level := 0; s != nil && level <= runtimeLevels; level++ {
		if isRuntime(s.called()) && (s.Home == nil || s.Exe.Shipped()) {
			return true
		}
		if s.Session != nil && s.Session.Root == s.Key && !s.Session.ByNamespace {
			return false
		}
		s = s.parent
	}
	return false
}

// maxReached bounds the connections from outside into one container's network that count
// as entries in a second: somebody forwards a port to look at something, or to load much.
const maxReached = 16

// reach marks a stream that a process of the host's side begins within a container's
// network namespace: so a runtime forwards a port.
func (t *Table) reach(ev *event.Event, f *event.Flow, e *entry) {
	net := f.Local.NetNamespace
	if net == 0 || net == t.opt.HostNamespaces.Net || f.Type != socketStream || !e.now.HostMount || e.now.Home != nil {
		return
	}
	var found *space // of the pod's containers the oldest
	for _, sp := range t.spaces {
		if sp.net == net && (found == nil || sp.init.Start < found.init.Start) {
			found = sp
		}
	}
	if found == nil {
		return
	}
	if second := ev.Time / event.Boot(time.Second); second != found.second {
		found.second, found.reached = second, 0
	}
	if found.reached++; found.reached > maxReached {
		t.count.reachesOver.Add(1)
		t.miss(MissedRate, t.opt.Wall(ev.Time))
		return
	}
	t.count.reaches.Add(1)
	ev.Entry, ev.EnteredHome = true, found.home
}

const socketStream = 1 // SOCK_STREAM
