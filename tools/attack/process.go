package main

import (
	"errors"
	"flag"
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/seawall-security/seawall/tools/attack/tiny"
)

func noop(a *actor, _ *report, args []string) error {
	flags := flag.NewFlagSet("noop", flag.ContinueOnError)
	say := flags.String("say", "", "")
	if err := parse(flags, args, 0, math.MaxInt); err != nil {
		return err
	}
	if *say != "" {
		_, err := fmt.Fprintln(a.out, *say)
		return err
	}
	return nil
}

func execChildren(a *actor, r *report, args []string) error {
	flags := flag.NewFlagSet("exec", flag.ContinueOnError)
	n := flags.Int("n", 1, "")
	kind := flags.String("child", "self", "")
	if err := parse(flags, args, 0, 0); err != nil {
		return err
	}
	return a.children(r, *kind, *n)
}

// children runs n short children of one kind.
func (a *actor) children(r *report, kind string, n int) (err error) {
	program, argv := a.self, []string{a.self, "noop"}
	switch kind {
	case "self":
	case "tiny":
		content, err := tiny.Program()
		if err != nil {
			return err
		}
		if program, err = a.make(r, "", content, 0o700); err != nil {
			return err
		}
		argv = []string{program}
	default:
		return fmt.Errorf("%w: no kind of child %q", errUsage, kind)
	}
	for range n {
		if err := spawn(r, program, argv, os.Environ()); err != nil {
			return errors.Join(err, a.removeMade(r, program))
		}
	}
	return a.removeMade(r, program)
}

// removeMade removes a program unless it is ourselves.
func (a *actor) removeMade(r *report, program string) error {
	if program == a.self {
		return nil
	}
	return a.remove(r, program)
}

// spawn runs a child to its end. It forks by itself: os.StartProcess makes one
// more process, once, to see what the kernel can do.
func spawn(r *report, program string, argv, env []string) error {
	pid, err := syscall.ForkExec(program, argv, &syscall.ProcAttr{Env: env, Files: []uintptr{0, 1, 2}})
	if err != nil {
		return fmt.Errorf("execute %s: %w", program, err)
	}
	r.count("forks")
	r.count("execs")
	r.child(pid)
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
	if status.Signaled() {
		return fmt.Errorf("child %d: killed by %v", pid, status.Signal())
	}
	if status.ExitStatus() != 0 {
		return fmt.Errorf("child %d: status %d", pid, status.ExitStatus())
	}
	return nil
}

// wordBytes is the longest word burst-args makes, its NUL counted. The kernel
// takes words up to 32 pages.
const wordBytes = 64 << 10

func burstArgs(a *actor, r *report, args []string) error {
	flags := flag.NewFlagSet("burst-args", flag.ContinueOnError)
	if err := parse(flags, args, 0, 1); err != nil {
		return err
	}
	total := 1 << 20
	if flags.NArg() == 1 {
		n, err := strconv.Atoi(flags.Arg(0))
		if err != nil {
			return fmt.Errorf("%w: bytes: %w", errUsage, err)
		}
		total = n
	}
	argv := []string{a.self, "noop", "--"}
	left := total
	for _, word := range argv {
		left -= len(word) + 1
	}
	if left < 0 {
		return fmt.Errorf("%w: the command itself has %d bytes", errUsage, total-left)
	}
	for left > 0 {
		n := min(left, wordBytes)
		argv = append(argv, strings.Repeat("a", n-1))
		left -= n
	}
	if err := spawn(r, a.self, argv, nil); err != nil {
		return err
	}
	r.Counts["args_bytes"] = total
	return nil
}

func storm(a *actor, r *report, args []string) error {
	flags := flag.NewFlagSet("storm", flag.ContinueOnError)
	opens := flags.Int("opens", 200_000, "")
	execs := flags.Int("execs", 5_000, "")
	kind := flags.String("child", "self", "")
	if err := parse(flags, args, 0, 0); err != nil {
		return err
	}
	name, err := a.make(r, "", nil, 0o600)
	if err != nil {
		return err
	}
	r.path(name)
	if err := openMany(r, name, *opens); err != nil {
		return errors.Join(err, a.remove(r, name))
	}
	return errors.Join(a.children(r, *kind, *execs), a.remove(r, name))
}

func openMany(r *report, name string, n int) error {
	for i := range n {
		how, what := unix.O_RDONLY, "opens_read"
		if i%2 == 1 {
			how, what = unix.O_WRONLY, "opens_write"
		}
		if err := openClose(r, name, how, what); err != nil {
			return err
		}
	}
	return nil
}
