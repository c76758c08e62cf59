package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Defaults of a Machine: what the agent and a container runtime fit in, and room
// for a host that is busy with other things.
const (
	DefaultMemory  = 1024 // MiB
	DefaultTimeout = 5 * time.Minute
)

// Machine describes a virtual machine. The zero value of every field but Kernel
// will do.
type Machine struct {
	Kernel  Kernel
	Files   []File
	Root    string        // folder that becomes the root file system, ext4 on a disk; empty: initramfs
	Disks   []string      // sockets of NBD servers: disks with a write cache, in order, behind Root's
	Out     string        // folder that receives what the command left in the guest's /out
	Memory  int           // MiB
	CPUs    int           // processors
	Timeout time.Duration // of the machine's life; downloads do not count
	Append  string        // more kernel command line
	Modules []string      // more kernel modules
	// Deterministic makes one instruction take one nanosecond of guest time, skips
	// idle time and fixes seeds and addresses, on one processor: the same work takes
	// the same guest time, within 0.01 %, however busy the host is. Caches, branch
	// misses and memory latency do not exist in it: it counts instructions.
	Deterministic bool
	Stdout        io.Writer // of the command
	Stderr        io.Writer
	Console       io.Writer // of the kernel and of the guest's scripts
}

// Result tells of a command that ran to its end.
type Result struct {
	Status int // exit status; 128+n: killed by signal n
	// Boot is from the start of QEMU to the start of the command, Took from there
	// to QEMU's end.
	Boot, Took time.Duration
}

// TimeoutError says that the machine lived longer than it should.
type TimeoutError struct {
	Limit   time.Duration
	Started bool   // the command was running
	Console string // last words
}

func (e *TimeoutError) Error() string {
	if !e.Started {
		return fmt.Sprintf("guest did not start the command within %v", e.Limit)
	}
	return fmt.Sprintf("command did not end within %v", e.Limit)
}

// DiedError says that the guest went away without the command's status: an oops,
// a panic, or QEMU itself.
type DiedError struct {
	Started bool
	Console string // last words of the kernel
	QEMU    string // what QEMU said
	Cause   error  // how QEMU ended; nil: as if all were well
}

func (e *DiedError) Error() string {
	text := "guest died"
	if e.Cause != nil {
		text += ": qemu: " + e.Cause.Error()
	}
	if e.QEMU != "" {
		text += ": " + e.QEMU
	}
	return text
}

func (e *DiedError) Unwrap() error { return e.Cause }

// Run boots the machine, runs a command in it and takes the machine down. The
// error is a [*TimeoutError], a [*DiedError], ctx's own, or says what could not
// be set up; a command that fails is no error.
func (m *Machine) Run(ctx context.Context, argv ...string) (Result, error) {
	if len(argv) == 0 {
		return Result{}, errors.New("run machine: no command")
	}
	qemu, err := exec.LookPath("qemu-system-x86_64")
	if err != nil {
		return Result{}, errors.New("find qemu-system-x86_64: install the package qemu-system-x86")
	}
	initrd, err := temporary()
	if err != nil {
		return Result{}, err
	}
	defer initrd.Close()
	if err := m.writeInitrd(ctx, initrd, argv); err != nil {
		return Result{}, fmt.Errorf("make initramfs: %w", err)
	}
	c := exec.Command(qemu)
	c.Args = append(c.Args, m.arguments(inherit(c, initrd))...)
	if m.Root != "" {
		disk, err := temporary()
		if err != nil {
			return Result{}, err
		}
		defer disk.Close()
		if err := fillDisk(ctx, m.Root, disk); err != nil {
			return Result{}, fmt.Errorf("make root disk: %w", err)
		}
		c.Args = append(c.Args, "-drive", "format=raw,if=virtio,file="+inherit(c, disk))
	}
	for n, socket := range m.Disks {
		c.Args = append(c.Args,
			"-blockdev", fmt.Sprintf("driver=nbd,node-name=disk%d,server.type=unix,server.path=%s", n, strings.ReplaceAll(socket, ",", ",,")),
			"-device", fmt.Sprintf("virtio-blk-pci,drive=disk%d,write-cache=on", n))
	}
	limit := m.Timeout
	if limit <= 0 {
		limit = DefaultTimeout
	}
	expired := &TimeoutError{Limit: limit}
	ctx, cancel := context.WithTimeoutCause(ctx, limit, expired)
	defer cancel()
	return m.boot(ctx, c)
}

// temporary opens a file without a name: whatever kills us leaves nothing behind.
func temporary() (*os.File, error) {
	f, err := os.CreateTemp("", "seawall-vm-")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// inherit gives a file to the program and returns the path it will find it under.
func inherit(c *exec.Cmd, f *os.File) string {
	c.ExtraFiles = append(c.ExtraFiles, f)
	return fmt.Sprintf("/dev/fd/%d", 2+len(c.ExtraFiles))
}

func (m *Machine) arguments(initrd string) []string {
	memory, cpus := m.Memory, m.CPUs
	if memory <= 0 {
		memory = DefaultMemory
	}
	if cpus <= 0 || m.Deterministic {
		cpus = 1
	}
	// An oops ends the guest, and so does a panic: at once, without a reboot.
	cmdline := "console=ttyS0 quiet panic=-1 oops=panic rdinit=/init random.trust_cpu=on"
	args := []string{
		"-nodefaults", "-no-user-config", "-no-reboot", "-display", "none",
		"-accel", "tcg", "-cpu", "max,la57=off", // five-level page tables cost time and are of no use here
		"-m", strconv.Itoa(memory), "-smp", strconv.Itoa(cpus),
		"-kernel", m.Kernel.Image(), "-initrd", initrd,
		"-device", "virtio-serial-pci",
	}
	if m.Deterministic {
		args = append(args, "-icount", "shift=0,sleep=off", "-rtc", "base=2026-01-01,clock=vm", "-seed", "1")
		cmdline += " nokaslr clocksource=tsc tsc=reliable"
	}
	return append(args, "-append", cmdline+" "+m.Append)
}

// boot runs QEMU to its end. Each of its outputs is a pipe that a goroutine
// reads until QEMU, the only writer left, is gone.
func (m *Machine) boot(ctx context.Context, qemu *exec.Cmd) (Result, error) {
	console, complaints := &tail{}, &tail{}
	state := &progress{begun: time.Now()}
	outputs := []struct {
		name string
		to   func(io.Reader) error
	}{
		{"console", copyTo(console, m.Console)},
		{"stdout", copyTo(m.Stdout)},
		{"stderr", copyTo(m.Stderr)},
		{"status", state.read},
		{"out", func(r io.Reader) error { return extract(m.Out, r) }},
	}
	var readers sync.WaitGroup
	failures := make([]error, len(outputs))
	var ends []io.Closer
	for n, o := range outputs {
		r, w, err := os.Pipe()
		if err != nil {
			return Result{}, errors.Join(err, closeAll(ends))
		}
		ends = append(ends, w)
		qemu.Args = append(qemu.Args, "-chardev", fmt.Sprintf("file,id=%s,path=%s", o.name, inherit(qemu, w)))
		if n == 0 {
			qemu.Args = append(qemu.Args, "-serial", "chardev:"+o.name)
		} else {
			qemu.Args = append(qemu.Args, "-device", fmt.Sprintf("virtserialport,nr=%d,chardev=%s", n, o.name))
		}
		readers.Go(func() {
			if err := o.to(r); err != nil {
				failures[n] = fmt.Errorf("read %s of the guest: %w", o.name, err)
				_, _ = io.Copy(io.Discard, r) // a pipe nobody reads would stop the guest
			}
			_ = r.Close()
		})
	}
	qemu.Stdout, qemu.Stderr = complaints, complaints
	ended := runChild(ctx, qemu, ends)
	readers.Wait()

	result := Result{Status: state.status, Boot: state.boot, Took: state.took}
	var expired *TimeoutError
	switch {
	case state.done:
		return result, errors.Join(failures...)
	case errors.As(context.Cause(ctx), &expired):
		return result, &TimeoutError{expired.Limit, state.started, console.String()}
	case ctx.Err() != nil:
		return result, context.Cause(ctx)
	}
	return result, &DiedError{state.started, console.String(), complaints.String(), ended}
}

// runChild starts a program, closes our copies of its ends of the pipes, and
// waits for its end, which ctx brings about. The program dies with us whatever
// kills us: the kernel's promise for that hangs on the thread that forked, so
// that thread stays here until the end. Its own process group keeps the
// terminal's Ctrl-C for us.
func runChild(ctx context.Context, c *exec.Cmd, ends []io.Closer) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	err := c.Start()
	closed := closeAll(ends)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = c.Process.Kill() })
	defer stop()
	return errors.Join(c.Wait(), closed)
}

func closeAll(all []io.Closer) error {
	var errs []error
	for _, c := range all {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}

// fillDisk makes the file an ext4 image of a folder, with room to write in.
func fillDisk(ctx context.Context, root string, disk *os.File) error {
	if _, err := exec.LookPath("mke2fs"); err != nil {
		return errors.New("find mke2fs: install the package e2fsprogs")
	}
	used, err := treeSize(root)
	if err != nil {
		return err
	}
	c := exec.CommandContext(ctx, "mke2fs", "-q", "-F", "-t", "ext4", "-O", "^has_journal", "-d", root)
	mib := used>>20 + used>>22 + 256
	c.Args = append(c.Args, inherit(c, disk), fmt.Sprintf("%dM", mib))
	_, err = output(c)
	return err
}
