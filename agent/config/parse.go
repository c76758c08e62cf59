package config

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
)

// Command is what the agent was called to do.
type Command int

const (
	// Run is the agent itself.
	Run Command = iota
	// CheckConfig says whether the configuration can be used, and ends.
	CheckConfig
	// Probe says what this kernel offers, in Config.Output (text: a table), and ends.
	Probe
	// Version says what the binary was built from, and ends.
	Version
)

const usage = `Usage:
  seawall-agent [flags]          watch this node
  seawall-agent probe [flags]    show what this kernel offers and the rung of each hook (-o json: for programs)
  seawall-agent version          show the version

Flags override the file given with --config:
`

// Parse reads the command line (without the program's name) and the file it
// names, and returns checked settings. It writes help to out and then returns
// [flag.ErrHelp]; every other error says all that is wrong, for people.
func Parse(args []string, out io.Writer) (Config, Command, error) {
	command, args, err := splitCommand(args)
	if err != nil {
		return Config{}, Run, err
	}
	if command == Version {
		if len(args) > 0 {
			return Config{}, Run, fmt.Errorf("unexpected argument %q: version takes none", args[0])
		}
		return Default(), Version, nil
	}

	// The first pass finds the file, the second one lets flags override it.
	first := newArguments(Default())
	if err := first.parse(args, out); err != nil {
		return Config{}, Run, err
	}
	c := Default()
	var at lines
	if first.file != "" {
		if at, err = c.readFile(first.file); err != nil {
			return Config{}, Run, err
		}
	}
	switch {
	case command == Probe:
		// The file speaks of the agent's output; a table suits who types probe.
		c.Output, c.Standalone = Text, true
	case first.check:
		command = CheckConfig
	}
	second := newArguments(c)
	if err := second.parse(args, out); err != nil {
		return Config{}, Run, err
	}
	c = second.config
	c.Events = c.Events || c.NoFilter
	if c.Node == "" {
		if c.Node, err = os.Hostname(); err != nil {
			return Config{}, Run, fmt.Errorf("name this node: %w; set node", err)
		}
	}
	if err := c.Validate(); err != nil {
		return Config{}, Run, attribute(err, first.file, at, second.given())
	}
	return c, command, nil
}

func splitCommand(args []string) (Command, []string, error) {
	if len(args) == 0 || strings.HasPrefix(args[0], "-") {
		return Run, args, nil
	}
	switch args[0] {
	case "probe":
		return Probe, args[1:], nil
	case "version":
		return Version, args[1:], nil
	}
	return Run, nil, fmt.Errorf("unknown command %q; try seawall-agent --help", args[0])
}

// arguments is one pass over the flags; what they set lands in config.
type arguments struct {
	config Config
	file   string
	check  bool
	set    *flag.FlagSet
	fields map[string]string // flag -> setting, for flags that are settings
}

// newArguments makes flags whose defaults are c's values.
func newArguments(c Config) *arguments {
	a := &arguments{config: c, set: flag.NewFlagSet("seawall-agent", flag.ContinueOnError), fields: map[string]string{}}
	a.set.SetOutput(io.Discard) // errors are returned, not printed twice
	a.set.StringVar(&a.file, "config", "", "read settings from this YAML `file`")
	a.set.BoolVar(&a.check, "check-config", false, "check the settings and exit")

	s := &a.config
	a.bool(&s.Standalone, "standalone", "standalone", "print detections on standard output and report to no collector")
	a.bool(&s.Events, "events", "events", "print every event the kernel admits, beside detections")
	a.bool(&s.NoFilter, "no-filter", "no_filter", "admit everything in the kernel and print it; expensive")
	a.text((*string)(&s.Output), "output", "output", "print as `json|text`")
	a.text((*string)(&s.Output), "o", "output", "short for --output `json|text`")
	a.set.Var(&list{values: &s.Rules}, "rules", "load rules from this `path` beside the built-in ones; may be repeated")
	a.fields["rules"] = "rules"
	a.text(&s.Node, "node", "node", "`name` of this node in events (default: the host name)")
	a.text(&s.StateDir, "state-dir", "state_dir", "`folder` for what must survive a restart")
	a.text((*string)(&s.Containerd.Enabled), "containerd", "containerd.enabled", "take container names from containerd: `auto|on|off`")
	a.text(&s.Containerd.Socket, "containerd-socket", "containerd.socket", "containerd's `socket`")
	a.text(&s.Admin.Address, "admin-address", "admin.address", "`host:port` of /metrics, /healthz and /readyz; empty: none")
	a.bool(&s.Admin.Profiling, "admin-profiling", "admin.profiling", "add /debug/pprof there")
	a.text(&s.Log.Level, "log-level", "log.level", "log at this `level` and above: debug|info|warn|error")
	a.text((*string)(&s.Kernel.Rung), "rung", "kernel.rung", "highest rung of the attach ladder: `auto|lsm|fentry|syscall`")
	return a
}

func (a *arguments) bool(value *bool, name, field, help string) {
	a.set.BoolVar(value, name, *value, help)
	a.fields[name] = field
}

func (a *arguments) text(value *string, name, field, help string) {
	a.set.StringVar(value, name, *value, help)
	a.fields[name] = field
}

func (a *arguments) parse(args []string, out io.Writer) error {
	err := a.set.Parse(args)
	if errors.Is(err, flag.ErrHelp) {
		a.set.SetOutput(out)
		_, err := io.WriteString(out, usage)
		a.set.PrintDefaults()
		return errors.Join(flag.ErrHelp, err)
	}
	if err != nil {
		return fmt.Errorf("%w; try seawall-agent --help", err)
	}
	if a.set.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q; try seawall-agent --help", a.set.Arg(0))
	}
	return nil
}

// given lists the settings made by flags, with the flag's name.
func (a *arguments) given() map[string]string {
	given := map[string]string{}
	a.set.Visit(func(f *flag.Flag) {
		if field, ok := a.fields[f.Name]; ok {
			given[field] = f.Name
		}
	})
	return given
}

// list is a flag that may be repeated. What it is given replaces what was there
// before the command line.
type list struct {
	values *[]string
	fresh  bool
}

func (l *list) String() string {
	if l.values == nil {
		return ""
	}
	return strings.Join(*l.values, ",")
}

func (l *list) Set(value string) error {
	if !l.fresh {
		*l.values, l.fresh = nil, true
	}
	*l.values = append(*l.values, value)
	return nil
}
