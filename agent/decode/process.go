package decode

import "github.com/seawall-security/seawall/internal/event"

func (d *Decoder) decodeExec(record []byte) (event.Payload, *Error) {
	w := &d.wire.exec
	t, err := fixedPart(w, record, d.event.Kind)
	if err != nil {
		return nil, err
	}
	d.exec = event.Exec{
		Image: event.Image{
			File:      file(&w.File, t.text("path", w.Path)),
			CWD:       t.text("cwd", w.CWD),
			Args:      t.text("args", w.Args),
			Filename:  t.text("filename", w.Filename),
			ArgsBytes: w.ArgsBytes,
			ArgsCut:   w.Flags&(wireExecArgsTruncated|wireExecArgsUnreadable) != 0,
			Credentials: event.Credentials{
				UID: w.UID, GID: w.GID, EUID: w.EUID, EGID: w.EGID, SUID: w.SUID, SGID: w.SGID,
				CapEffective: w.CapEffective, CapPermitted: w.CapPermitted,
			},
			Namespaces: namespaces(&w.Namespaces),
			NSPID:      w.NSTGID,
			SessionPID: w.SessionID,
			TTY:        w.TTY,
		},
		Entered: w.Flags&wireExecEntered != 0,
		Init:    w.Flags&wireExecInit != 0,
		Secure:  w.Flags&wireExecSecure != 0,
	}
	for i := range w.Stdio {
		s := &w.Stdio[i]
		d.exec.Stdio[i] = event.Stdio{
			Kind:   stdioKind(s.Kind),
			Inode:  s.Inode,
			Device: s.Device,
			Local:  address(&s.Local),
			Remote: address(&s.Remote),
		}
	}
	return &d.exec, t.err
}

func (d *Decoder) decodeFork(record []byte) (event.Payload, *Error) {
	w := &d.wire.fork
	if _, err := fixedPart(w, record, d.event.Kind); err != nil {
		return nil, err
	}
	d.fork = event.Fork{
		Child:         event.Key{TGID: w.ChildTGID, Start: event.Boot(w.ChildStartNS)},
		ChildParent:   event.Key{TGID: w.ChildParentTGID, Start: event.Boot(w.ChildParentStartNS)},
		ChildNSPID:    w.ChildNSTGID,
		ChildPIDNS:    w.ChildPIDNS,
		ChildCgroupID: w.ChildCgroupID,
		ChildTree:     event.Tree(w.ChildTree),
	}
	return &d.fork, nil
}

func (d *Decoder) decodeExit(record []byte) (event.Payload, *Error) {
	w := &d.wire.exit
	if _, err := fixedPart(w, record, d.event.Kind); err != nil {
		return nil, err
	}
	// Bit 7 says that a core was dumped.
	d.exit = event.Exit{Code: w.ExitCode >> 8 & 0xff, Signal: w.ExitCode & 0x7f}
	return &d.exit, nil
}

func (d *Decoder) decodeNamespace(record []byte) (event.Payload, *Error) {
	w := &d.wire.namespace
	if _, err := fixedPart(w, record, d.event.Kind); err != nil {
		return nil, err
	}
	d.result(w.Result)
	d.namespace = event.Namespace{Before: namespaces(&w.Before), After: namespaces(&w.After)}
	return &d.namespace, nil
}

func namespaces(w *wireNamespaces) event.Namespaces {
	return event.Namespaces{
		Mount: w.Mount, PID: w.PID, Net: w.Net, User: w.User, UTS: w.UTS, IPC: w.IPC, Cgroup: w.Cgroup,
	}
}

// stdioKind keeps a number outside the enum as the one behind its last, whose name is "unknown".
func stdioKind(n uint32) event.StdioKind {
	return event.StdioKind(min(n, uint32(event.StdioDevice)+1))
}

func (d *Decoder) decodeCgroup(record []byte) (event.Payload, *Error) {
	w := &d.wire.cgroup
	t, err := fixedPart(w, record, d.event.Kind)
	if err != nil {
		return nil, err
	}
	d.cgroup = event.Cgroup{ID: w.ID, Path: t.text("path", w.Path)}
	return &d.cgroup, t.err
}
