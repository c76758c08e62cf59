package event

import (
	"time"

	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

func (c *converter) process(p *Process) *sensorv1.Process {
	m := &sensorv1.Process{
		Id:                 p.ID,
		ParentId:           c.parentID(p),
		Pid:                p.Key.TGID,
		NsPid:              p.NSPID,
		StartTimeNs:        uint64(p.Key.Start),
		StartTime:          timestamp(p.StartWall),
		Coarse:             p.Coarse,
		Name:               c.text(p.Name),
		Program:            c.text(p.Program()),
		Args:               c.words(p.Args),
		ArgsTruncated:      p.ArgsCut,
		ArgsBytes:          p.ArgsBytes,
		Cwd:                c.text(p.CWD),
		Filename:           c.text(p.Filename),
		Tty:                c.text(p.TTY),
		SessionLeader:      p.SessionLeader,
		Comm:               c.text(p.Comm),
		ExecTime:           timestamp(p.ExecTime),
		HostMountNamespace: p.HostMount,
		Unknown:            p.Unknown,
	}
	if !p.Unknown || p.Namespaces != (Namespaces{}) {
		m.Namespaces = namespaces(p.Namespaces)
	}
	if p.Unknown { // the rest would be zeroes that read like facts: uid 0, no stdio
		return m
	}
	if p.Exe != (File{}) {
		m.Exe = c.file(&p.Exe)
	}
	m.Credentials = &sensorv1.Credentials{
		Uid:          p.Credentials.UID,
		Gid:          p.Credentials.GID,
		Euid:         p.Credentials.EUID,
		Egid:         p.Credentials.EGID,
		Suid:         p.Credentials.SUID,
		Sgid:         p.Credentials.SGID,
		CapEffective: p.Credentials.CapEffective,
		CapPermitted: p.Credentials.CapPermitted,
	}
	m.Stdio = make([]*sensorv1.Stdio, len(p.Stdio))
	for i, s := range p.Stdio {
		m.Stdio[i] = &sensorv1.Stdio{
			Kind: s.Kind.String(), Inode: s.Inode, Device: s.Device, Local: address(s.Local), Remote: address(s.Remote),
		}
	}
	return m
}

// stranger is a process of which only the key is known.
func (c *converter) stranger(key, parent Key) *sensorv1.Process {
	m := &sensorv1.Process{Pid: key.TGID, StartTimeNs: uint64(key.Start), Unknown: true}
	if !key.IsZero() {
		m.Id = ProcessID(c.bootID, key)
	}
	if !parent.IsZero() {
		m.ParentId = ProcessID(c.bootID, parent)
	}
	return m
}

func (c *converter) parentID(p *Process) string {
	switch {
	case p.Parent != nil:
		return p.Parent.ID
	case !p.ParentKey.IsZero():
		return ProcessID(c.bootID, p.ParentKey)
	}
	return ""
}

func (c *converter) session(s *Session) *sensorv1.Session {
	return &sensorv1.Session{
		Id:            s.ID,
		RootId:        s.RootID,
		Time:          timestamp(s.Time),
		ContainerId:   c.text(s.ContainerID),
		Args:          c.words(s.Args),
		Tty:           c.text(s.TTY),
		ArgsTruncated: s.ArgsCut,
		Init:          s.Init,
		EnteredBy:     s.EnteredBy(),
		ExecId:        c.text(s.ExecID),
	}
}

func (c *converter) container(k *Container) *sensorv1.Container {
	m := &sensorv1.Container{
		Id:               c.text(k.ID),
		Runtime:          c.text(k.Runtime),
		RuntimeNamespace: c.text(k.RuntimeNamespace),
		Name:             c.text(k.Name),
		Image:            c.text(k.Image),
		ImageDigest:      c.text(k.ImageDigest),
		Created:          timestamp(k.Created),
		CgroupId:         k.CgroupID,
		CgroupPath:       c.text(k.CgroupPath),
	}
	if k.PodName != "" || k.PodNamespace != "" || k.PodUID != "" {
		m.Pod = &sensorv1.Pod{
			Name: c.text(k.PodName), Namespace: c.text(k.PodNamespace), Uid: c.text(k.PodUID),
		}
	}
	if len(k.Labels) > 0 {
		m.Labels = make(map[string]string, len(k.Labels))
		for name, value := range k.Labels {
			m.Labels[c.text(name)] = c.text(value)
		}
	}
	return m
}

func (c *converter) file(f *File) *sensorv1.File {
	path := c.lent(f.Path)
	m := &sensorv1.File{
		Path:         path,
		Name:         BaseName(path),
		Inode:        f.Inode,
		Device:       f.Device,
		Filesystem:   FilesystemName(f.Magic),
		Mode:         f.Mode,
		Uid:          f.UID,
		SizeBytes:    f.Size,
		OverlayUpper: f.OverlayUpper,
		Memfd:        f.Memfd,
		Deleted:      f.Deleted,
		Overlay:      f.Overlay,
		Shipped:      f.Shipped(),
	}
	if f.ChangeTime != 0 {
		m.ChangeTime = timestamp(time.Unix(0, f.ChangeTime))
	}
	if o := f.Origin; o != nil {
		m.Origin = &sensorv1.FileOrigin{Time: timestamp(o.Wall), Age: c.age(o.Time)}
		if p := o.Process; p != nil {
			m.Origin.ProcessId = p.ID
			m.Origin.ProcessName = c.text(p.Name)
			m.Origin.ProcessPath = c.text(p.Exe.Path)
			m.Origin.ProcessProgram = c.text(p.Program())
			m.Origin.ProcessShipped = p.Exe.Shipped()
		}
	}
	return m
}

func namespaces(n Namespaces) *sensorv1.Namespaces {
	return &sensorv1.Namespaces{
		Mount: n.Mount, Pid: n.PID, Net: n.Net, User: n.User, Uts: n.UTS, Ipc: n.IPC, Cgroup: n.Cgroup,
	}
}

// address is nil for no address. IPv4 inside IPv6 is written as IPv4; the family
// stays the socket's.
func address(a Address) *sensorv1.Address {
	if a == (Address{}) {
		return nil
	}
	m := &sensorv1.Address{Family: a.Family.String(), Port: uint32(a.Port), Loopback: a.Loopback(), NetNamespace: a.NetNamespace}
	if a.IP.IsValid() {
		m.Ip = a.IP.Unmap().String()
	}
	return m
}
