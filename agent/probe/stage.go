package probe

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/seawall-security/seawall/internal/event"
)

// SelfTestArgument, as the only argument, makes the agent's binary exit at once: the
// program that the self-test executes. main must look for it first.
const SelfTestArgument = "self-test-exit"

// stage is where the self-test acts: a directory of its own, its own memory, loopback.
type stage struct {
	dir     string
	cgroups string // where the chosen cgroup hierarchy is mounted
}

// newStage takes the first place that can be written to: images without a shell often
// have no /tmp, and a root that is read-only.
func newStage(cgroups string) (*stage, error) {
	var errs []error
	for _, place := range []string{os.TempDir(), "/dev/shm", "/run"} {
		dir, err := os.MkdirTemp(place, "seawall-self-test-")
		if err == nil {
			return &stage{dir: dir, cgroups: cgroups}, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

func (s *stage) close() { _ = os.RemoveAll(s.dir) }

// act does what a hook of the kind has to see. Each act is harmless: it touches only the
// stage and the agent itself.
func (s *stage) act(kind event.Kind) error {
	switch kind {
	case event.KindProcessFork, event.KindProcessExec, event.KindProcessExit:
		return s.runChild()
	case event.KindProcessNamespace:
		return s.joinOwnNamespace()
	case event.KindFileOpen:
		return s.write("open")
	case event.KindFileRename:
		if err := s.write("old"); err != nil {
			return err
		}
		return os.Rename(s.path("old"), s.path("new"))
	case event.KindFileUnlink:
		if err := s.write("gone"); err != nil {
			return err
		}
		return os.Remove(s.path("gone"))
	case event.KindFileChmod:
		if err := s.write("mode"); err != nil {
			return err
		}
		return os.Chmod(s.path("mode"), 0o700)
	case event.KindNetworkConnect, event.KindNetworkAccept:
		return callOurselves()
	case event.KindMemoryProtect:
		return protectOwnProgram()
	case event.KindMemoryMap:
		return mapAndProtect(-1, unix.MAP_ANON, unix.PROT_READ|unix.PROT_EXEC, unix.PROT_READ)
	case event.KindCgroupCreate, event.KindCgroupRemove:
		return s.makeCgroup()
	}
	return fmt.Errorf("no act is known for %s", kind)
}

func (s *stage) path(name string) string { return filepath.Join(s.dir, name) }

func (s *stage) write(name string) error {
	return os.WriteFile(s.path(name), []byte("self-test\n"), 0o600)
}

// runChild runs this very binary, which exits at once.
func (s *stage) runChild() error {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer null.Close()
	p, err := os.StartProcess("/proc/self/exe", []string{"seawall-agent", SelfTestArgument},
		&os.ProcAttr{Files: []*os.File{null, null, null}, Env: []string{}})
	if err != nil {
		return fmt.Errorf("run own binary: %w", err)
	}
	state, err := p.Wait()
	if err != nil {
		return fmt.Errorf("wait for own binary: %w", err)
	}
	if !state.Success() {
		return fmt.Errorf("run own binary: %s", state)
	}
	return nil
}

// joinOwnNamespace enters the namespace it is in already, from a thread that ends with
// it: a thread that has been through setns is not given back to the scheduler.
func (s *stage) joinOwnNamespace() error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		fd, err := unix.Open("/proc/thread-self/ns/uts", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			done <- fmt.Errorf("open own namespace: %w", err)
			return
		}
		defer unix.Close(fd)
		if err := unix.Setns(fd, unix.CLONE_NEWUTS); err != nil {
			done <- fmt.Errorf("join own namespace: %w", err)
			return
		}
		done <- nil
	}()
	return <-done
}

// callOurselves connects to a listener of our own on loopback.
func callOurselves() error {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("listen on loopback: %w", err)
	}
	defer l.Close()
	accepted := make(chan error, 1)
	go func() {
		c, err := l.Accept()
		if err == nil {
			err = c.Close()
		}
		accepted <- err
	}()
	c, err := net.Dial("tcp4", l.Addr().String())
	if err != nil {
		return fmt.Errorf("connect to loopback: %w", err)
	}
	return errors.Join(c.Close(), <-accepted)
}

// protectOwnProgram makes a page of the agent's own file executable, as a loader does:
// memory of no file another agent on this host would take for a packed program.
func protectOwnProgram() error {
	program, err := os.Open("/proc/self/exe")
	if err != nil {
		return fmt.Errorf("open own program: %w", err)
	}
	defer program.Close()
	return mapAndProtect(int(program.Fd()), 0, unix.PROT_READ, unix.PROT_READ|unix.PROT_EXEC)
}

// mapAndProtect maps a page, changes its protection and unmaps it; nothing runs in it.
func mapAndProtect(fd, flags, first, then int) error {
	page, err := unix.Mmap(fd, 0, os.Getpagesize(), first, unix.MAP_PRIVATE|flags)
	if err != nil {
		return fmt.Errorf("map a page: %w", err)
	}
	err = unix.Mprotect(page, then)
	if err != nil {
		err = fmt.Errorf("protect a page: %w", err)
	}
	return errors.Join(err, unix.Munmap(page))
}

// makeCgroup makes and removes a cgroup.
func (s *stage) makeCgroup() error {
	if s.cgroups == "" {
		return errors.New("the cgroup hierarchy's place is not known")
	}
	dir := filepath.Join(s.cgroups, fmt.Sprintf("seawall-self-test-%d", os.Getpid()))
	if err := os.Mkdir(dir, 0o755); err != nil {
		return fmt.Errorf("make a cgroup: %w", err)
	}
	return os.Remove(dir)
}
