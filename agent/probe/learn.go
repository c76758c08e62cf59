package probe

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/seawall-security/seawall/bpf"
	"github.com/seawall-security/seawall/internal/event"
)

// learn loads the iterator on its own, before the choices that depend on what it tells.
func (s *Sensor) learn() (err error) {
	process, err := loadObject(objects()[0], bpf.LayoutLoadConfig{}, s.maps, s.host)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, process.close()) }()
	iterated := iterate(process)
	s.host.TaskIterator = iterated == nil
	err = s.maps.update(func(c *bpf.LayoutRunControl) {
		// Without an iterator the agent has to be in the host's pid namespace, where its own
		// number is the kernel's.
		if c.AgentTgid == 0 {
			c.AgentTgid = uint32(os.Getpid())
		}
		s.witness.own = c.AgentTgid
		ns := c.Init
		s.host.Namespaces = namespaces(ns.Mount, ns.Pid, ns.Net, ns.User, ns.Uts, ns.Ipc, ns.Cgroup)
		if ns.Mount == 0 {
			s.host.Namespaces = procNamespaces(1)
		}
	})
	if err == nil && s.host.Namespaces.Mount == 0 {
		return errors.Join(iterated, errors.New("read the host's namespaces: neither the task iterator nor procfs tells them"))
	}
	return err
}

// iterate runs the iterator, which notes in the control block what the host is like.
func iterate(o *loadedObject) error {
	reader, err := openSeed(o)
	if err != nil {
		return err
	}
	_, err = reader.Read(make([]byte, seedBytes))
	if err := errors.Join(err, reader.Close()); err != nil {
		return fmt.Errorf("read task iterator: %w", err)
	}
	return nil
}
func namespaces(mount, pid, net, user, uts, ipc, cgroup uint32) event.Namespaces {
	return event.Namespaces{Mount: mount, PID: pid, Net: net, User: user, UTS: uts, IPC: ipc, Cgroup: cgroup}
}

func procNamespaces(pid int) event.Namespaces {
	inode := func(name string) uint32 {
		var stat unix.Stat_t
		if unix.Stat(fmt.Sprintf("/proc/%d/ns/%s", pid, name), &stat) != nil {
			return 0
		}
		return uint32(stat.Ino)
	}
	return namespaces(inode("mnt"), inode("pid"), inode("net"), inode("user"), inode("uts"), inode("ipc"), inode("cgroup"))
}
