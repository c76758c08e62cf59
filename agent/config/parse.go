package config

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/seawall-security/seawall/internal/settings"
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
	if err := first.flags.Read(args, out); err != nil {
		return Config{}, Run, err
	}
	c := Default()
	var at settings.Lines
	if first.file != "" {
		if at, err = settings.ReadFile(first.file, &c); err != nil {
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
	if err := second.flags.Read(args, out); err != nil {
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
		return Config{}, Run, settings.Attribute(err, first.file, at, second.flags.Given())
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
	flags  *settings.Flags
}

// newArguments makes flags whose defaults are c's values.
func newArguments(c Config) *arguments {
	a := &arguments{config: c, flags: settings.NewFlags("seawall-agent", usage)}
	a.flags.StringVar(&a.file, "config", "", "read settings from this YAML `file`")
	a.flags.BoolVar(&a.check, "check-config", false, "check the settings and exit")

	s := &a.config
	a.flags.Bool(&s.Standalone, "standalone", "standalone", "print detections on standard output; without --collector, report to nobody")
	a.flags.Bool(&s.Events, "events", "events", "print every event the kernel admits, beside detections")
	a.flags.Bool(&s.NoFilter, "no-filter", "no_filter", "admit everything in the kernel and print it; expensive")
	a.flags.Text((*string)(&s.Output), "output", "output", "print as `json|text`")
	a.flags.Text((*string)(&s.Output), "o", "output", "short for --output `json|text`")
	a.flags.List(&s.Rules, "rules", "rules", "load rules from this `path` beside the built-in ones; may be repeated")
	a.flags.List(&s.BundleKeys, "bundle-keys", "bundle_keys", "take bundles of rules signed with a key in this `file`; may be repeated")
	a.flags.Text(&s.Node, "node", "node", "`name` of this node in events (default: the host name)")
	a.flags.Text(&s.StateDir, "state-dir", "state_dir", "`folder` for what must survive a restart")
	a.flags.Text(&s.Collector.Address, "collector", "collector.address", "report to the collector at this `host:port`")
	a.flags.Text(&s.Collector.JoinTokenFile, "join-token-file", "collector.join_token_file", "enrol with the join token in this `file`")
	a.flags.Text((*string)(&s.Telemetry), "telemetry", "telemetry", "events to report beside detections: `none|trees|all`")
	a.flags.Text((*string)(&s.Containerd.Enabled), "containerd", "containerd.enabled", "take container names from containerd: `auto|on|off`")
	a.flags.Text(&s.Containerd.Socket, "containerd-socket", "containerd.socket", "containerd's `socket`")
	a.flags.Text(&s.Admin.Address, "admin-address", "admin.address", "`host:port` of /metrics, /healthz and /readyz; empty: none")
	a.flags.Bool(&s.Admin.Profiling, "admin-profiling", "admin.profiling", "add /debug/pprof there")
	a.flags.Text(&s.Log.Level, "log-level", "log.level", "log at this `level` and above: debug|info|warn|error")
	a.flags.Text((*string)(&s.Kernel.Rung), "rung", "kernel.rung", "highest rung of the attach ladder: `auto|lsm|fentry|syscall`")
	return a
}
