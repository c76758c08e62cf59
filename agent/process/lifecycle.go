package process

import (
	"strings"
	"time"

	"github.com/seawall-security/seawall/internal/event"
)

// fork publishes the child: the program of its creator in a new process.
func (t *Table) fork(ev *event.Event, f *event.Fork) {
	e := t.actor(ev)
	t.follow(e, ev)
	creator := t.above(e)
	show(ev, e)
	if f.Child.TGID == 0 {
		return
	}
	child := t.find(f.Child, f.ChildParent)
	switch {
	case child == nil:
		child = t.insert(t.child(ev, f, creator), ev.Time)
	case child.now.Unknown:
		t.replace(child, t.child(ev, f, creator), ev.Time)
	default:
		t.adopt(child, creator)
	}
	f.ChildProcess = &child.now.Process
}

// child makes the snapshot of a process that has just been forked.
func (t *Table) child(ev *event.Event, f *event.Fork, creator *snapshot) *snapshot {
	s := &snapshot{Process: creator.Process, outer: creator.outer}
	p := &s.Process
	t.identify(p, f.Child)
	p.Coarse = false
	p.ParentKey = f.ChildParent
	p.ExecTime = time.Time{}
	p.NSPID = f.ChildNSPID
	p.CgroupID = f.ChildCgroupID
	p.Tree = f.ChildTree
	if p.Comm != ev.Comm {
		p.Comm = strings.Clone(ev.Comm)
	}
	if f.ChildPIDNS != 0 {
		p.Namespaces.PID = f.ChildPIDNS
	}
	// Namespaces belong to threads: the child has those of the thread that forked.
	if ev.MountNS != 0 {
		p.Namespaces.Mount = ev.MountNS
		p.HostMount = t.hostMount(p.Namespaces)
	}
	if p.Home == nil {
		p.Home = t.birthplace(p)
	}
	return t.publish(s, creator)
}

// adopt tells a process that was known before its fork was read (seeded while the
// event waited in the ring, or an exec that came first) who made it.
func (t *Table) adopt(child *entry, creator *snapshot) {
	known := child.now
	if known.parent != nil && known.parent.Key == creator.Key || known.Key == creator.Key {
		return
	}
	s := &snapshot{Process: known.Process, outer: child.now.outer, left: child.now.left}
	if s.Session == nil && s.CgroupID == creator.CgroupID {
		s.Session, s.outer = creator.Session, creator.outer
	}
	if s.Home == nil {
		s.Home = creator.Home
	}
	t.replace(child, t.publish(s, creator), child.born)
}

// exec publishes the new program. The key stays, also where a thread other than
// the leader called it: the kernel gives that thread the leader's identity.
func (t *Table) exec(ev *event.Event, x *event.Exec) {
	e := t.find(ev.Actor, ev.Parent)
	var parent *snapshot
	var session *event.Session
	var home event.Home
	if e != nil {
		t.touch(e)
		x.Before = &e.now.Process
		parent, session, home = e.now.parent, e.now.Session, e.now.Home
	} else {
		t.count.lostForks.Add(1)
		x.Before = nil
		parent = t.above(t.find(ev.Parent, event.Key{}))
		session = inherited(parent, ev.CgroupID)
	}

	s := &snapshot{Process: t.program(ev, &x.Image)}
	s.ExecTime = t.opt.Wall(ev.Time)
	s.Session, s.Home = session, home
	if e != nil {
		s.ID = e.now.ID
		s.outer, s.left = e.now.outer, e.now.left
	} else {
		s.Home = t.homeUnder(&s.Process, parent)
	}
	if x.Entered {
		came := t.enter(s, parent, t.find(ev.Parent, event.Key{}), x.Init, s.ExecTime)
		ev.Entry = came.began
		t.miss(came.missed, s.ExecTime)
	}
	t.publish(s, parent)
	t.entered(ev, t.visit(s, s.ExecTime))
	if e != nil {
		t.replace(e, s, ev.Time)
	} else {
		e = t.insert(s, ev.Time)
	}
	show(ev, e)
}

// program describes a process by what the kernel told of its image, without the
// fields that depend on its history. The image's text is lent: it is copied, in
// one piece.
func (t *Table) program(ev *event.Event, im *event.Image) event.Process {
	text := im.File.Path + im.CWD + im.Filename + im.Args
	take := func(n int) string {
		taken := text[:n]
		text = text[n:]
		return taken
	}
	p := event.Process{
		ParentKey:     ev.Parent,
		Comm:          strings.Clone(ev.Comm),
		Exe:           im.File,
		ArgsCut:       im.ArgsCut,
		ArgsBytes:     im.ArgsBytes,
		Credentials:   im.Credentials,
		Namespaces:    im.Namespaces,
		HostMount:     t.hostMount(im.Namespaces),
		NSPID:         im.NSPID,
		SessionLeader: im.SessionPID,
		TTY:           ttyName(im.TTY),
		Stdio:         im.Stdio,
		CgroupID:      ev.CgroupID,
		Tree:          ev.Tree,
	}
	t.identify(&p, ev.Actor)
	p.Exe.Path = take(len(im.File.Path))
	p.Name = p.Exe.Name()
	p.CWD = take(len(im.CWD))
	p.Filename = take(len(im.Filename))
	p.Args = event.Words(take(len(im.Args)))
	return p
}

// exit marks the process dead; it resolves for the grace.
func (t *Table) exit(ev *event.Event) {
	e := t.actor(ev)
	show(ev, e)
	t.bury(e)
}

// namespace publishes the process in its new namespaces.
func (t *Table) namespace(ev *event.Event, n *event.Namespace) {
	n.Host = t.opt.HostNamespaces
	e := t.actor(ev)
	if n.Before.Mount == 0 {
		// At a call's exit the kernel has forgotten them.
		n.Before = e.now.Namespaces
	}
	failed := ev.Flags.Has(event.HasResult) && ev.Result < 0
	// A snapshot speaks of the leader; another thread's move (as network plugins do
	// for a moment) is in the event only.
	if leader := ev.TID == ev.Actor.TGID; leader && !failed {
		after := n.After
		// The event counts the pid namespace of coming children; the process's own
		// never changes.
		after.PID = e.now.Namespaces.PID
		t.move(e, merge(e.now.Namespaces, after), ev)
	}
	show(ev, e)
}

// follow takes over the mount namespace an event's header shows where no
// namespace event told of it: children cloned into a new one, or a lost event.
func (t *Table) follow(e *entry, ev *event.Event) {
	if ev.MountNS == e.now.Namespaces.Mount || ev.MountNS == 0 || ev.TID != ev.Actor.TGID || ev.Time < e.born {
		return
	}
	moved := e.now.Namespaces
	moved.Mount = ev.MountNS
	t.move(e, moved, ev)
}

func (t *Table) move(e *entry, to event.Namespaces, ev *event.Event) {
	if to == e.now.Namespaces {
		return
	}
	s := &snapshot{Process: e.now.Process, outer: e.now.outer, left: e.now.left}
	s.Namespaces = to
	s.HostMount = t.hostMount(to)
	t.publish(s, e.now.parent)
	t.entered(ev, t.visit(s, t.opt.Wall(ev.Time)))
	t.replace(e, s, ev.Time)
}

// entered marks the event with which a visit began.
func (t *Table) entered(ev *event.Event, home event.Home) {
	if home != nil {
		ev.Entry, ev.EnteredHome = true, home
	}
}

// merge takes the namespaces of b, and those of a where b does not know.
func merge(a, b event.Namespaces) event.Namespaces {
	pick := func(old, new uint32) uint32 {
		if new == 0 {
			return old
		}
		return new
	}
	return event.Namespaces{
		Mount: pick(a.Mount, b.Mount), PID: pick(a.PID, b.PID), Net: pick(a.Net, b.Net), User: pick(a.User, b.User),
		UTS: pick(a.UTS, b.UTS), IPC: pick(a.IPC, b.IPC), Cgroup: pick(a.Cgroup, b.Cgroup),
	}
}
