package process

import (
	"strings"
	"time"

	"github.com/seawall-security/seawall/internal/event"
)

// Repairs read procfs on the reader goroutine. They may take one part in
// repairShare of event time, saved up to repairBurst; one that is running is let
// finish, which argsDeadline bounds. Each counts as repairFloor at least, so that a
// burst is at most 400 of them.
const (
	repairShare = 20
	repairBurst = 100 * time.Millisecond
	repairFloor = 250 * time.Microsecond
)

// allowance is the time that repairs may still take.
type allowance struct {
	left time.Duration
	at   event.Boot
}

func (a *allowance) take(now event.Boot) bool {
	if now > a.at {
		a.left = min(repairBurst, a.left+time.Duration(min((now-a.at)/repairShare, event.Boot(repairBurst))))
		a.at = now
	}
	return a.left > 0
}

func (a *allowance) spend(d time.Duration) { a.left -= max(d, repairFloor) }

// unknown publishes a process whose fork and exec were not seen: with what the
// event's header says of it, and with what procfs still knows if it can be read
// now. It is tried once.
func (t *Table) unknown(ev *event.Event) *entry {
	t.count.unknown.Add(1)
	parent := t.above(t.find(ev.Parent, event.Key{}))
	s := &snapshot{Process: event.Process{
		ParentKey:   ev.Parent,
		Comm:        strings.Clone(ev.Comm),
		Credentials: event.Credentials{UID: ev.UID, EUID: ev.EUID, GID: ev.GID},
		Namespaces:  event.Namespaces{Mount: ev.MountNS, PID: ev.PIDNS},
		CgroupID:    ev.CgroupID,
		Tree:        ev.Tree,
		Session:     inherited(parent, ev.CgroupID),
		Unknown:     true,
	}}
	p := &s.Process
	t.identify(p, ev.Actor)
	if ev.Kind != event.KindProcessExit { // what ends has nothing left to read
		t.tryRepair(p)
	}
	p.HostMount = t.hostMount(p.Namespaces)
	p.Home = t.homeUnder(p, parent)
	if p.Session != nil {
		s.outer = parent.outer
	}
	t.publish(s, parent)
	t.entered(ev, t.visit(s, t.opt.Wall(ev.Time)))
	return t.insert(s, ev.Time)
}

// tryRepair completes p from procfs if its key is still that of the process there.
func (t *Table) tryRepair(p *event.Process) {
	if !t.repair.take(t.now) {
		t.count.repairsRefused.Add(1)
		return
	}
	begin := time.Now()
	d, now, err := t.proc.describe(p.Key.TGID, true)
	t.repair.spend(time.Since(begin))
	if err != nil || !fits(now.start(), p.Key.Start) {
		return
	}
	if d.ArgsCut {
		t.count.argsUnreadable.Add(1)
	}
	p.Name, p.Exe, p.CWD, p.TTY, p.Stdio = d.Name, d.Exe, d.CWD, d.TTY, d.Stdio
	p.Args, p.ArgsBytes, p.ArgsCut = d.Args, d.ArgsBytes, d.ArgsCut
	p.Credentials, p.NSPID, p.SessionLeader = d.Credentials, d.NSPID, d.SessionLeader
	p.Namespaces = merge(d.Namespaces, p.Namespaces)
	p.Unknown = false
	t.count.repaired.Add(1)
}
