// Command vm runs a command inside a throw-away virtual machine on a kernel of
// the test matrix; see package lab for what the guest is like.
//
//	vm run -kernel 6.1 -- uname -r
//	vm run -kernel 5.10 -append "lsm=lockdown,capability,yama,apparmor,bpf" -file ./agent:/bin/agent -- agent probe
//	vm run -kernel 6.12 -root ./rootfs -out ./result -- sh -c 'dmesg >/out/dmesg'
//	vm fetch -kernel new
//
// The command's output and exit status are vm's own. Status 124: it timed out;
// 125: the guest died, or could not be made. `go run` turns every status into 1:
// build vm first where the status matters.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/seawall-security/seawall/tools/vm/lab"
)

// Exit statuses beside the command's own.
const (
	statusUsage   = 2
	statusTimeout = 124
	statusDied    = 125
)

const usage = `usage:
  vm run   -kernel LINE [flags] -- CMD...   run a command in a guest
  vm fetch -kernel LINE...                  download kernels into the cache
kernel lines: `

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	status := command(ctx, os.Args[1:])
	stop()
	os.Exit(status)
}

func command(ctx context.Context, args []string) int {
	if len(args) > 0 {
		switch args[0] {
		case "run":
			return run(ctx, args[1:])
		case "fetch":
			return fetch(ctx, args[1:])
		}
	}
	fmt.Fprintln(os.Stderr, usage+strings.Join(lab.Lines(), " "))
	return statusUsage
}

func run(ctx context.Context, args []string) int {
	m := lab.Machine{Stdout: os.Stdout, Stderr: os.Stderr}
	flags := flag.NewFlagSet("vm run", flag.ContinueOnError)
	line := flags.String("kernel", "6.1", "kernel `line`: "+strings.Join(lab.Lines(), ", "))
	console := flags.Bool("console", false, "show the kernel's console on stderr")
	times := flags.Bool("times", false, "tell on stderr how long boot and command took")
	flags.Func("file", "file or folder for the guest, `SRC[:DST]`; may be repeated", func(s string) error {
		f, err := lab.ParseFile(s)
		m.Files = append(m.Files, f)
		return err
	})
	flags.Func("module", "one more kernel module by `name`; may be repeated", func(s string) error {
		m.Modules = append(m.Modules, s)
		return nil
	})
	flags.StringVar(&m.Root, "root", "", "`folder` that becomes the guest's root file system (ext4; changes are lost)")
	flags.StringVar(&m.Out, "out", "", "`folder` that receives the guest's /out")
	flags.IntVar(&m.Memory, "mem", lab.DefaultMemory, "memory in `MiB`")
	flags.IntVar(&m.CPUs, "cpus", 1, "processors")
	flags.DurationVar(&m.Timeout, "timeout", lab.DefaultTimeout, "longest life of the guest")
	flags.StringVar(&m.Append, "append", "", "more kernel command `line`")
	flags.BoolVar(&m.Deterministic, "icount", false, "deterministic guest time: one instruction is one nanosecond")
	if err := flags.Parse(args); err != nil {
		return statusUsage
	}
	if flags.NArg() == 0 {
		fmt.Fprintln(os.Stderr, "vm run: no command behind --")
		return statusUsage
	}
	if *console {
		m.Console = os.Stderr
	}
	kernel, err := lab.Fetch(ctx, *line, os.Stderr)
	if err != nil {
		fmt.Fprintln(os.Stderr, "vm:", err)
		return statusDied
	}
	m.Kernel = kernel
	result, err := m.Run(ctx, flags.Args()...)
	if *times {
		fmt.Fprintf(os.Stderr, "vm: %s: boot %v, command %v\n", kernel.Release,
			result.Boot.Round(time.Millisecond), result.Took.Round(time.Millisecond))
	}
	if err != nil {
		return explain(os.Stderr, err, !*console)
	}
	return result.Status
}

// explain tells why there is no status of the command, with the console's last
// words if they were not shown yet.
func explain(out io.Writer, err error, words bool) int {
	var expired *lab.TimeoutError
	var died *lab.DiedError
	console, status := "", statusDied
	switch {
	case errors.As(err, &expired):
		console, status = expired.Console, statusTimeout
	case errors.As(err, &died):
		console = died.Console
	}
	if words && console != "" {
		fmt.Fprintln(out, console)
	}
	fmt.Fprintln(out, "vm:", err)
	return status
}

func fetch(ctx context.Context, args []string) int {
	var wanted []string
	flags := flag.NewFlagSet("vm fetch", flag.ContinueOnError)
	flags.Func("kernel", "kernel `line` to download, or all; may be repeated", func(s string) error {
		if s == "all" {
			wanted = append(wanted, lab.Lines()...)
			return nil
		}
		wanted = append(wanted, s)
		return nil
	})
	if err := flags.Parse(args); err != nil {
		return statusUsage
	}
	if len(wanted) == 0 || flags.NArg() != 0 {
		fmt.Fprintln(os.Stderr, "vm fetch: want -kernel LINE")
		return statusUsage
	}
	status := 0
	for _, line := range wanted {
		k, err := lab.Fetch(ctx, line, os.Stderr)
		if err != nil {
			fmt.Fprintln(os.Stderr, "vm:", err)
			status = 1
			continue
		}
		fmt.Println(k.Line, k.Release, k.Dir)
	}
	return status
}
