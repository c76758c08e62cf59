// Command attack holds the safe actors of the integration tests: each action
// does one thing that an intruder also does, without what makes it an attack,
// and prints what it did as one JSON line.
//
//	attack [-dir DIR] ACTION [FLAGS] [ARGS]
//	attack help
//
// Files of its own are made in DIR (default /tmp) under names that did not exist
// before, and are removed at the end unless -keep is given. It needs nothing
// else: no shell, no library, no network. Exit status: 0 the action did what it
// is for; 1 it could not (the line says why); 2 wrong usage, nothing was done.
//
// Counts in a line are exact for what the action itself did. Go's runtime opens
// a few files for reading at every start of the program (the size of huge pages,
// the processor limit of the cgroup): these are never counted.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
)

// The main thread has to be kept before main starts, or actions may run on
// another one: joining namespaces and credentials are per thread, and the
// kernel reports the thread.
func init() { runtime.LockOSThread() }

func main() { os.Exit(attack(os.Args[1:], os.Stdout, os.Stderr)) }

// Exit statuses.
const (
	statusOK = iota
	statusFailed
	statusUsage
)

// errUsage marks arguments that make no sense.
var errUsage = errors.New("wrong usage")

// actor is what actions have in common.
type actor struct {
	dir  string
	self string // path of this program
	out  io.Writer
}

func attack(args []string, out, complaints io.Writer) int {
	a := &actor{out: out}
	flags := flag.NewFlagSet("attack", flag.ContinueOnError)
	flags.SetOutput(complaints)
	flags.StringVar(&a.dir, "dir", "/tmp", "`folder` for the files the actions make")
	flags.Usage = func() { help(complaints) }
	if err := flags.Parse(args); err != nil {
		return statusUsage
	}
	if flags.NArg() == 0 || flags.Arg(0) == "help" {
		help(complaints)
		return statusUsage
	}
	chosen, found := findAction(flags.Arg(0))
	if !found {
		fmt.Fprintf(complaints, "attack: no action %q; see attack help\n", flags.Arg(0))
		return statusUsage
	}
	self, err := os.Executable()
	if err != nil { // no procfs
		self, err = exec.LookPath(os.Args[0])
	}
	if err != nil {
		fmt.Fprintln(complaints, "attack: find own program:", err)
		return statusFailed
	}
	a.self = self
	r := newReport(chosen.name)
	err = chosen.run(a, r, flags.Args()[1:])
	if errors.Is(err, errUsage) {
		fmt.Fprintf(complaints, "attack: %v\nusage: attack [-dir DIR] %s\n", err, chosen.usage)
		return statusUsage
	}
	if chosen.silent && err == nil {
		return statusOK
	}
	if err := printLine(out, r.finish(err)); err != nil {
		fmt.Fprintln(complaints, "attack: print report:", err)
		return statusFailed
	}
	if err != nil {
		return statusFailed
	}
	return statusOK
}

func printLine(out io.Writer, r *report) error { return json.NewEncoder(out).Encode(r) }

// parse reads the flags of an action and checks the number of arguments behind them.
func parse(flags *flag.FlagSet, args []string, least, most int) error {
	flags.SetOutput(io.Discard)
	if err := flags.Parse(args); err != nil {
		return fmt.Errorf("%w: %s: %w", errUsage, flags.Name(), err)
	}
	if n := flags.NArg(); n < least || n > most {
		return fmt.Errorf("%w: %s: %d arguments", errUsage, flags.Name(), n)
	}
	return nil
}
