package config

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/seawall-security/seawall/collector/enrol"
	"github.com/seawall-security/seawall/internal/settings"
	"github.com/seawall-security/seawall/internal/tlsconf"
)

// Verb is what the collector was called to do.
type Verb int

const (
	// Run is the collector itself.
	Run Verb = iota
	// CheckConfig says whether the configuration can be used, and ends.
	CheckConfig
	// Version says what the binary was built from, and ends.
	Version
	TokenCreate
	TokenList
	TokenRevoke
	AgentRevoke
	ClientCreate
	ClientRevoke
	LogAbandon
)

// Command is a verb and what belongs to it.
type Command struct {
	Verb Verb
	// Object is the id of a token or agent, or the name of a client.
	Object string
	// TTL and Uses are of a new token.
	TTL  time.Duration
	Uses int
	// Role and Out, the folder for its files, are of a new client.
	Role tlsconf.Access
	Out  string
}

const usage = `Usage:
  seawall-collector [flags]                        collect what agents send, and tell alerts
  seawall-collector token create [flags]           print a join token for new agents
  seawall-collector token list [flags]
  seawall-collector token revoke ID [flags]        agents that it let in stay
  seawall-collector agent revoke ID [flags]        its stream ends, its certificate is neither taken nor renewed any more
  seawall-collector client create NAME [flags]     write certificate, key and CA for a SIEM reader or operator
  seawall-collector client revoke NAME [flags]     certificates made for it so far are not taken any more
  seawall-collector log abandon [flags]            go on without what a lost or restored event log lacks
  seawall-collector version                        show the version

The commands work on the data folder, as the user who runs the collector and with its
--config or --data-dir and --cluster, whether it runs or not; log abandon only while it
does not.

Flags override the file given with --config:
`

// verbs are the commands of two words, and what has to follow them.
var verbs = map[string]struct {
	verb   Verb
	object string
}{
	"token create":  {TokenCreate, ""},
	"token list":    {TokenList, ""},
	"token revoke":  {TokenRevoke, "ID"},
	"agent revoke":  {AgentRevoke, "ID"},
	"client create": {ClientCreate, "NAME"},
	"client revoke": {ClientRevoke, "NAME"},
	"log abandon":   {LogAbandon, ""},
}

// Parse reads the command line (without the program's name) and the file it names, and
// returns checked settings. It writes help to out and then returns [flag.ErrHelp]; every
// other error says all that is wrong, for people.
func Parse(args []string, out io.Writer) (Config, Command, error) {
	command, args, err := splitCommand(args)
	if err != nil {
		return Config{}, Command{}, err
	}
	if command.Verb == Version {
		if len(args) > 0 {
			return Config{}, Command{}, fmt.Errorf("unexpected argument %q: version takes none", args[0])
		}
		return Default(), command, nil
	}

	// The first pass finds the file, the second one lets flags override it.
	first := newArguments(Default(), command)
	if err := first.flags.Read(args, out); err != nil {
		return Config{}, Command{}, err
	}
	c := Default()
	var at settings.Lines
	if first.file != "" {
		if at, err = settings.ReadFile(first.file, &c); err != nil {
			return Config{}, Command{}, err
		}
	}
	for i := range c.Sinks {
		if c.Sinks[i].Form == "" {
			c.Sinks[i].Form = OCSF
		}
	}
	second := newArguments(c, command)
	if err := second.flags.Read(args, out); err != nil {
		return Config{}, Command{}, err
	}
	c, command = second.config, second.command
	if second.check && command.Verb == Run {
		command.Verb = CheckConfig
	}
	if err := c.Validate(); err != nil {
		return Config{}, Command{}, settings.Attribute(err, first.file, at, second.flags.Given())
	}
	if command.Verb == ClientCreate && command.Role != tlsconf.Viewer && command.Role != tlsconf.Operator {
		return Config{}, Command{}, fmt.Errorf("--role %q is neither %s nor %s", command.Role, tlsconf.Viewer, tlsconf.Operator)
	}
	return c, command, nil
}

func splitCommand(args []string) (Command, []string, error) {
	if len(args) == 0 || strings.HasPrefix(args[0], "-") {
		return Command{Verb: Run}, args, nil
	}
	if args[0] == "version" {
		return Command{Verb: Version}, args[1:], nil
	}
	words := args[0]
	if len(args) > 1 {
		words += " " + args[1]
	}
	known, ok := verbs[words]
	if !ok {
		return Command{}, nil, fmt.Errorf("unknown command %q; try seawall-collector --help", words)
	}
	command, args := Command{Verb: known.verb}, args[2:]
	if known.object == "" {
		return command, args, nil
	}
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		command.Object, args = args[0], args[1:]
	} else if len(args) == 0 || args[0] != "-h" && args[0] != "-help" && args[0] != "--help" {
		return Command{}, nil, fmt.Errorf("%s needs %s before any flags", words, known.object)
	}
	return command, args, nil
}

// arguments is one pass over the flags; what they set lands in config and command.
type arguments struct {
	config  Config
	command Command
	file    string
	check   bool
	flags   *settings.Flags
}

// newArguments makes flags whose defaults are c's values.
func newArguments(c Config, command Command) *arguments {
	a := &arguments{config: c, command: command, flags: settings.NewFlags("seawall-collector", usage)}
	a.flags.StringVar(&a.file, "config", "", "read settings from this YAML `file`")
	switch command.Verb {
	case Run:
		a.flags.BoolVar(&a.check, "check-config", false, "check the settings and exit")
	case TokenCreate:
		a.flags.DurationVar(&a.command.TTL, "ttl", enrol.TokenLifetime, "how long the token lets agents in")
		a.flags.IntVar(&a.command.Uses, "uses", 1, "how many agents it lets in")
	case ClientCreate:
		a.flags.StringVar((*string)(&a.command.Role), "role", string(tlsconf.Viewer), "what the client may do: `viewer|operator`")
		a.flags.StringVar(&a.command.Out, "out", ".", "`folder` for client.crt, client.key and ca.crt")
	}

	s := &a.config
	a.flags.Text(&s.Cluster, "cluster", "cluster", "`name` in certificates; it cannot be changed later")
	a.flags.Text(&s.DataDir, "data-dir", "data_dir", "`folder` of the CA, the event log and the store")
	if command.Verb != Run {
		return a
	}
	a.flags.Text(&s.Listen, "listen", "listen", "`host:port` for agents and clients")
	a.flags.List(&s.Names, "name", "names", "`name` or address in the server's certificate; may be repeated")
	a.flags.Text(&s.Admin.Address, "admin-address", "admin.address", "`host:port` of /metrics, /healthz and /readyz; empty: none")
	a.flags.Bool(&s.Admin.Profiling, "admin-profiling", "admin.profiling", "add /debug/pprof there")
	a.flags.Text(&s.Log.Level, "log-level", "log.level", "log at this `level` and above: debug|info|warn|error")
	return a
}
