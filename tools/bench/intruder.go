package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/seawall-security/seawall/tools/attack/tiny"
)

// intruder runs a program of a few bytes, from memory: each time another one, so that
// each is an alert of its own.
type intruder struct {
	program []byte
	file    string // the same program, on disk: running it alerts nobody
	acts    int
}

func newIntruder(dir string) (*intruder, error) {
	i := &intruder{file: filepath.Join(dir, "tiny")}
	var err error
	if i.program, err = tiny.Program(); err != nil {
		return nil, err
	}
	return i, os.WriteFile(i.file, i.program, 0o700)
}

// act runs the program from a new memfd and returns its name, and when it began.
func (i *intruder) act() (name string, began time.Time, err error) {
	i.acts++
	name = fmt.Sprintf("seawall-bench-%d-%06d", os.Getpid(), i.acts)
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	if err != nil {
		return "", began, fmt.Errorf("make memfd: %w", err)
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	if _, err := f.Write(i.program); err != nil {
		return "", began, fmt.Errorf("write program: %w", err)
	}
	began = time.Now()
	return name, began, run(fmt.Sprintf("/proc/self/fd/%d", fd))
}

// pass runs the program from its file.
func (i *intruder) pass() error { return run(i.file) }

// run runs a program to its end.
func run(path string) error {
	pid, err := syscall.ForkExec(path, []string{path}, &syscall.ProcAttr{Files: []uintptr{0, 1, 2}})
	if err != nil {
		return fmt.Errorf("execute %s: %w", path, err)
	}
	var status unix.WaitStatus
	for {
		_, err := unix.Wait4(pid, &status, 0, nil)
		if err == nil {
			break
		}
		if !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("wait for %d: %w", pid, err)
		}
	}
	if status != 0 {
		return fmt.Errorf("program ended with status %#x", uint32(status))
	}
	return nil
}
