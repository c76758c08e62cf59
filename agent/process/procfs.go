package process

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/seawall-security/seawall/internal/event"
)

const (
	// argsBytes is how much of argv is kept, as of the kernel's (ARGS_BYTES).
	argsBytes = 8192
	// statBytes and statusBytes bound what is read of these files. status holds the
	// list of groups, which can be long.
	statBytes   = 4096
	statusBytes = 64 << 10
	// argsDeadline is how long a read of argv may take.
	argsDeadline = 20 * time.Millisecond
	// argsStuck is how many reads of argv may hang before none is tried any more.
	argsStuck = 4
)

var (
	errArgsHang = errors.New("argv did not come in time")
	errGone     = errors.New("process has ended")
)

// procReader reads processes from a mounted procfs.
//
// argv lies in the memory of the process, and a process can make the kernel wait
// there for as long as it likes, for example by mapping a file of its own file
// system over it. So argv is read by a goroutine of its own, which ends when the
// kernel lets the read go, at the latest with the process: it cannot be ended
// otherwise. No more than argsStuck of them hang at a time. Nothing else that is
// read here touches the process's memory, and no link is followed.
type procReader struct {
	root    string
	reading atomic.Int32
}

func (r *procReader) path(tgid uint32, name string) string {
	return filepath.Join(r.root, number(tgid), name)
}

// read returns at most limit bytes of a file.
func (r *procReader) read(tgid uint32, name string, limit int64) ([]byte, error) {
	f, err := os.Open(r.path(tgid, name))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, limit))
}

func (r *procReader) stat(tgid uint32) (stat, error) {
	text, err := r.read(tgid, "stat", statBytes)
	if err != nil {
		return stat{}, err
	}
	return parseStat(text)
}

// arguments are argv as procfs gives it.
type arguments struct {
	text string
	cut  bool
}

func (r *procReader) args(tgid uint32) (arguments, error) {
	if r.reading.Load() >= argsStuck {
		return arguments{}, errArgsHang
	}
	type result struct {
		text []byte
		err  error
	}
	done := make(chan result, 1)
	r.reading.Add(1)
	go func() {
		defer r.reading.Add(-1)
		text, err := r.read(tgid, "cmdline", argsBytes+1)
		done <- result{text, err}
	}()
	deadline := time.NewTimer(argsDeadline)
	defer deadline.Stop()
	select {
	case got := <-done:
		if got.err != nil {
			return arguments{}, got.err
		}
		return newArguments(got.text), nil
	case <-deadline.C:
		return arguments{}, errArgsHang
	}
}

// newArguments drops the NULs behind the last word: programs that write over
// their argv leave many of them.
func newArguments(text []byte) arguments {
	cut := len(text) > argsBytes
	if cut {
		text = text[:argsBytes]
	}
	return arguments{strings.TrimRight(string(text), "\x00"), cut}
}

func (a arguments) set(p *event.Process, s stat) {
	p.Args = event.Words(a.text)
	p.ArgsCut = a.cut
	p.ArgsBytes = uint32(len(a.text))
	if a.cut {
		p.ArgsBytes = max(s.args, argsBytes)
	}
}

// describe reads what procfs knows of a process. argv that is not wanted or
// cannot be read is marked as cut. The stat returned is the last thing read: if its start time is
// that of a process known to have run before, all the rest is that process's too.
func (r *procReader) describe(tgid uint32, withArgs bool) (event.Process, stat, error) {
	var p event.Process
	status, err := r.read(tgid, "status", statusBytes)
	if err != nil {
		return p, stat{}, fmt.Errorf("read status: %w", err)
	}
	p.Credentials, p.NSPID = parseStatus(status)
	if link, err := os.Readlink(r.path(tgid, "exe")); err == nil { // kernel threads have none
		p.Exe = exeFile(link)
		p.Name = p.Exe.Name()
	}
	p.CWD, _ = os.Readlink(r.path(tgid, "cwd"))
	p.Namespaces = r.namespaces(tgid)
	for fd := range p.Stdio {
		link, err := os.Readlink(r.path(tgid, "fd/"+number(uint32(fd))))
		if err == nil {
			p.Stdio[fd] = parseStdio(link)
		}
	}
	args, argsErr := arguments{}, errArgsHang
	if withArgs {
		args, argsErr = r.args(tgid)
	}
	now, err := r.stat(tgid)
	if err != nil {
		return p, stat{}, fmt.Errorf("read stat: %w", err)
	}
	if now.ended {
		return p, stat{}, errGone
	}
	if argsErr == nil {
		args.set(&p, now)
	} else {
		p.ArgsCut = true
	}
	p.Comm = now.comm
	p.SessionLeader = now.session
	p.TTY = ttyName(kernelDevice(now.tty))
	return p, now, nil
}

// ReadNamespaces reads the namespaces of a process below a mounted procfs: of
// number 1 of the host's, the host's own.
func ReadNamespaces(proc string, tgid uint32) (event.Namespaces, error) {
	r := procReader{root: proc}
	if _, err := os.Readlink(r.path(tgid, "ns/mnt")); err != nil {
		return event.Namespaces{}, fmt.Errorf("read namespaces: %w", err)
	}
	return r.namespaces(tgid), nil
}

func (r *procReader) namespaces(tgid uint32) event.Namespaces {
	read := func(name string) uint32 {
		link, err := os.Readlink(r.path(tgid, "ns/"+name))
		if err != nil {
			return 0
		}
		inode, _ := parseInode(link, name)
		return uint32(inode)
	}
	return event.Namespaces{
		Mount: read("mnt"), PID: read("pid"), Net: read("net"), User: read("user"),
		UTS: read("uts"), IPC: read("ipc"), Cgroup: read("cgroup"),
	}
}
