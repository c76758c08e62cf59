package probe

import (
	"errors"
	"fmt"
	"io"
	"os"
	"unsafe"

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
	if err := s.learnNamespaces(process); err != nil {
		return err
	}
	return s.learnOwnNumber()
}

// learnOwnNumber takes what the iterator noted. Without one the agent has to be in the
// host's pid namespace, where its own number is the kernel's.
func (s *Sensor) learnOwnNumber() error {
	return s.maps.update(func(c *bpf.LayoutRunControl) {
		if c.AgentTgid == 0 {
			c.AgentTgid = uint32(os.Getpid())
		}
		s.witness.own = c.AgentTgid
	})
}

// learnNamespaces finds the host's namespaces. The task iterator tells those of process 1
// whatever pid namespace the agent is in; it also notes the agent's own number in the
// control block. Where process 1 is hidden procfs may tell, else kthreadd, which stays in
// the namespaces the kernel began with.
func (s *Sensor) learnNamespaces(o *loadedObject) error {
	var init, kthreadd event.Namespaces
	reader, err := openSeed(o)
	if err == nil {
		err = readInitial(reader, &init, &kthreadd)
		s.host.TaskIterator = err == nil
	}
	for _, found := range []event.Namespaces{init, procNamespaces(1), kthreadd} {
		if found.Mount != 0 {
			s.host.Namespaces = found
			return nil
		}
	}
	return errors.Join(err, errors.New("read the host's namespaces: neither the task iterator nor procfs tells them"))
}

// readInitial reads the iterator for processes 1 and 2, which it yields early.
func readInitial(reader io.ReadCloser, init, kthreadd *event.Namespaces) (err error) {
	defer func() { err = errors.Join(err, reader.Close()) }()
	buffer := make([]byte, seedBytes)
	for {
		n, err := reader.Read(buffer)
		for batch := buffer[:n]; len(batch) > 0; {
			h := headOf(batch)
			if h == nil || int(h.Size) > len(batch) || uintptr(h.Size) < unsafe.Sizeof(bpf.LayoutProcessExec{}) {
				return fmt.Errorf("read task iterator: bad record of %d bytes", len(batch))
			}
			ns := (*bpf.LayoutProcessExec)(unsafe.Pointer(&batch[0])).Namespaces
			switch h.TGID {
			case 1:
				*init = namespaces(ns.Mount, ns.Pid, ns.Net, ns.User, ns.Uts, ns.Ipc, ns.Cgroup)
			case 2:
				*kthreadd = namespaces(ns.Mount, ns.Pid, ns.Net, ns.User, ns.Uts, ns.Ipc, ns.Cgroup)
			}
			batch = batch[h.Size:]
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read task iterator: %w", err)
		}
	}
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
