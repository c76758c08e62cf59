// Command record makes recordings of real kernel events (agent/recording).
//
//	record -o FILE [FLAGS] -- COMMAND [ARGS...]   what a command and its children do
//	record -o FILE [FLAGS] -container ID          what happens in a container until Ctrl-C
//	record scenes [-source DIR] [-only REGEXP]    renew the recordings of the built-in rules
//
// It attaches the agent's own sensor, with the built-in rules' interest in the
// kernel unless -unfiltered is given, and needs root. A recording holds the
// records of the chosen processes and how they and their ancestors came to be.
// Text that names this machine is masked; start commands from a neutral folder.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/seawall-security/seawall/agent/probe"
	"github.com/seawall-security/seawall/internal/obs"
	"github.com/seawall-security/seawall/internal/rule"
	"github.com/seawall-security/seawall/internal/rule/builtin"
	"github.com/seawall-security/seawall/tools/record/capture"
	"github.com/seawall-security/seawall/tools/record/scenes"
)

func main() {
	if len(os.Args) == 2 && os.Args[1] == probe.SelfTestArgument {
		return // the program that the sensor's test of itself executes
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	run := recordOne
	args := os.Args[1:]
	if len(args) > 0 && args[0] == "scenes" {
		run, args = recordScenes, args[1:]
	}
	if err := run(ctx, args); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "record:", err)
		os.Exit(1)
	}
}

// newContainers, given for a container, stands for those that are made meanwhile.
const newContainers = "new"

// request is what the command line asks for.
type request struct {
	out        string
	note       string
	containers words
	options    capture.Options
	command    []string
}

func recordOne(ctx context.Context, args []string) error {
	var r request
	flags := flag.NewFlagSet("record", flag.ContinueOnError)
	flags.StringVar(&r.out, "o", "", "`file` to write")
	flags.StringVar(&r.note, "note", "", "`text` that says what can be seen")
	flags.Var(&r.containers, "container", "record the container of this `id` (new: those that are made meanwhile); may be repeated")
	flags.BoolVar(&r.options.Unfiltered, "unfiltered", false, "record everything, not only what the rules ask the kernel for")
	flags.StringVar(&r.options.Containerd, "containerd", "", "`socket` of the containerd that names containers")
	if err := flags.Parse(args); err != nil {
		return err
	}
	r.command = flags.Args()
	if r.out == "" || len(r.command) == 0 && len(r.containers) == 0 {
		return errors.New("-o and a command or -container are needed; see -help")
	}
	if len(r.containers) > 0 && r.options.Containerd == "" {
		return errors.New("-container needs -containerd")
	}
	var err error
	if r.options.Rules, err = loadRules(); err != nil {
		return err
	}
	if r.options.Log, err = obs.NewLogger(os.Stderr, "warn"); err != nil {
		return err
	}
	return r.record(ctx)
}

func (r *request) record(ctx context.Context) error {
	started := time.Now()
	running, err := capture.Start(ctx, r.options)
	if err != nil {
		return err
	}
	root, acted := r.act(ctx)
	log, err := running.Stop()
	if err = errors.Join(acted, err); err != nil {
		return err
	}
	chosen := slices.DeleteFunc(slices.Clone(r.containers), func(id string) bool { return id == newContainers })
	if slices.Contains(r.containers, newContainers) {
		chosen = append(chosen, log.Made(started)...)
	}
	records, err := log.WriteFile(r.out,
		capture.Origin{Made: "record -- " + strings.Join(r.command, " "), Note: r.note},
		capture.Selection{Root: root, Containers: chosen, Outside: uint32(os.Getpid())})
	if err != nil {
		return err
	}
	fmt.Printf("%s: %d records\n", r.out, records)
	return nil
}

// act runs the command to its end, or waits for Ctrl-C. How the command ended does
// not matter.
func (r *request) act(ctx context.Context) (root uint32, err error) {
	if len(r.command) == 0 {
		fmt.Fprintln(os.Stderr, "recording until Ctrl-C")
		<-ctx.Done()
		return 0, nil
	}
	command := exec.CommandContext(ctx, r.command[0], r.command[1:]...)
	command.Stdin, command.Stdout, command.Stderr = os.Stdin, os.Stdout, os.Stderr
	if err := command.Start(); err != nil {
		return 0, fmt.Errorf("start %s: %w", r.command[0], err)
	}
	if err := command.Wait(); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", r.command[0], err)
	}
	return uint32(command.Process.Pid), nil
}

func recordScenes(ctx context.Context, args []string) error {
	options := scenes.Options{Out: os.Stdout}
	flags := flag.NewFlagSet("record scenes", flag.ContinueOnError)
	flags.StringVar(&options.Source, "source", ".", "`folder` of the source tree: recordings are renewed there")
	flags.StringVar(&options.Only, "only", "", "scenes whose name matches this `regexp`")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	var err error
	if options.Rules, err = loadRules(); err != nil {
		return err
	}
	if options.Log, err = obs.NewLogger(os.Stderr, "warn"); err != nil {
		return err
	}
	return scenes.Record(ctx, options)
}

func loadRules() (*rule.Set, error) {
	sources, err := rule.ReadFS(builtin.FS)
	if err != nil {
		return nil, err
	}
	set, err := rule.Load(sources, time.Now())
	if err != nil {
		return nil, fmt.Errorf("load rules:\n%w", err)
	}
	return set, nil
}

// words is a flag that may be repeated.
type words []string

func (w *words) String() string         { return strings.Join(*w, " ") }
func (w *words) Set(value string) error { *w = append(*w, value); return nil }
