package alert

import (
	"cmp"
	"slices"

	"google.golang.org/protobuf/proto"

	alertv1 "github.com/seawall-security/seawall/proto/alert/v1"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

// Bounds of the process tree of one alert.
const (
	MaxProcesses    = 128
	MaxProcessBytes = 64 << 10
	// maxArgsBytes bounds the arguments of one process, maxProcessBytes all that is told of
	// it: where it is more, maxPath each of its texts, and maxArgs their number.
	maxArgsBytes    = 1 << 10
	maxProcessBytes = 8 << 10
	maxPath         = 512
	maxArgs         = 512
)

// AddProcesses merges processes into the alert's tree and drops those that no evidence
// has anything to do with. What was known of a process gives way to what is newer: it may
// have begun another program. Processes beyond the bounds are left out, those least close
// to the evidence first; evidence names its process anyway.
func AddProcesses(a *alertv1.Alert, more ...*sensorv1.Process) {
	known := make(map[string]*sensorv1.Process, len(a.Processes)+len(more))
	for _, p := range a.Processes {
		known[p.Id] = p
	}
	for _, p := range more {
		if p.GetId() != "" && newer(p, known[p.Id]) {
			known[p.Id] = Shorten(p)
		}
	}
	// By turns: the evidence's own processes, then their parents, and so on.
	var kept []*sensorv1.Process
	var turn []string
	for _, e := range a.Evidence {
		turn = append(turn, e.ProcessId)
	}
	for bytes := 0; len(turn) > 0; {
		var parents []string
		for _, id := range turn {
			p := known[id]
			if p == nil {
				continue
			}
			delete(known, id)
			if bytes += proto.Size(p); len(kept) == MaxProcesses || bytes > MaxProcessBytes {
				a.Processes = parentsFirst(kept)
				return
			}
			kept = append(kept, p)
			parents = append(parents, p.ParentId)
		}
		turn = parents
	}
	a.Processes = parentsFirst(kept)
}

// newer reports whether p says more than what is known, or later.
func newer(p, known *sensorv1.Process) bool {
	switch {
	case known == nil:
		return true
	case p.Unknown != known.Unknown:
		return known.Unknown
	}
	return p.GetExecTime().AsTime().After(known.GetExecTime().AsTime())
}

// Shorten is the process with no more arguments than an alert carries, and with no more
// than maxProcessBytes in all; the message it was given stays as it is.
func Shorten(p *sensorv1.Process) *sensorv1.Process {
	if p = shortenArgs(p); proto.Size(p) <= maxProcessBytes {
		return p
	}
	short := &sensorv1.Process{
		Id: Cut(p.Id, maxPath), ParentId: Cut(p.ParentId, maxPath), Pid: p.Pid, NsPid: p.NsPid, StartTimeNs: p.StartTimeNs, StartTime: p.StartTime, Coarse: p.Coarse,
		Name: Cut(p.Name, maxPath), Cwd: Cut(p.Cwd, maxPath), Filename: Cut(p.Filename, maxPath), Comm: Cut(p.Comm, maxPath), Program: Cut(p.Program, maxPath),
		ArgsBytes: p.ArgsBytes, SessionLeader: p.SessionLeader, ExecTime: p.ExecTime,
		HostMountNamespace: p.HostMountNamespace, Unknown: p.Unknown,
	}
	if e := p.Exe; e != nil {
		short.Exe = &sensorv1.File{Path: Cut(e.Path, maxPath), Name: Cut(e.Name, maxPath), Inode: e.Inode, Device: e.Device, Mode: e.Mode, Uid: e.Uid, SizeBytes: e.SizeBytes}
	}
	short.Args = p.Args[:min(len(p.Args), maxArgs)]
	short.ArgsTruncated = p.ArgsTruncated || len(short.Args) < len(p.Args)
	if c := p.Credentials; c != nil {
		short.Credentials = &sensorv1.Credentials{Uid: c.Uid, Gid: c.Gid, Euid: c.Euid, Egid: c.Egid, Suid: c.Suid, Sgid: c.Sgid,
			CapEffective: c.CapEffective, CapPermitted: c.CapPermitted}
	}
	return short
}

func shortenArgs(p *sensorv1.Process) *sensorv1.Process {
	total := 0
	for i, arg := range p.GetArgs() {
		if total += len(arg); total > maxArgsBytes {
			p = proto.CloneOf(p)
			p.Args[i] = Cut(arg, max(len("…"), len(arg)-(total-maxArgsBytes)))
			p.Args, p.ArgsTruncated = p.Args[:i+1], true
			return p
		}
	}
	return p
}

// parentsFirst orders by birth, and parents before their children where births cannot
// be told apart or come from clocks of different ticks.
func parentsFirst(processes []*sensorv1.Process) []*sensorv1.Process {
	slices.SortFunc(processes, func(x, y *sensorv1.Process) int {
		return cmp.Or(cmp.Compare(x.StartTimeNs, y.StartTimeNs), cmp.Compare(x.Pid, y.Pid), cmp.Compare(x.Id, y.Id))
	})
	byID := make(map[string]*sensorv1.Process, len(processes))
	for _, p := range processes {
		byID[p.Id] = p
	}
	ordered := make([]*sensorv1.Process, 0, len(processes))
	var place func(p *sensorv1.Process)
	place = func(p *sensorv1.Process) {
		if byID[p.GetId()] == nil {
			return // placed, or not here
		}
		delete(byID, p.Id) // before its parents: what was sent may go in circles
		if parent := byID[p.ParentId]; parent != nil {
			place(parent)
		}
		ordered = append(ordered, p)
	}
	for _, p := range processes {
		place(p)
	}
	return ordered
}
