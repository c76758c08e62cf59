// Command run is `make run`: a collector and an agent of this machine, wired to each
// other, and their alerts on the terminal until Ctrl-C.
//
//	seawall-run [flags] [-- flags of the agent]
//
// It expects seawall-agent, seawall-collector and seawallctl beside itself. What must last
// (the CA, alerts, the agent's identity and spool) is in a folder that the next run goes on
// with. The collector runs as the caller; the agent as root, by sudo where the caller is
// not root.
//
// The root half is this program once more (keep-agent, keep.go): it starts the agent, and
// ends it when its standard input ends, which it does however we do. Nobody has to signal
// a process of root's, and no agent is left behind.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/seawall-security/seawall/collector/config"
)

func main() {
	// A terminal that goes is an end like others.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	if len(os.Args) > 1 && os.Args[1] == keepAgent {
		signal.Ignore(syscall.SIGPIPE) // who reads us may be gone: the agent ends in order all the same
		os.Exit(keep(ctx, os.Args[2:]))
	}
	// The first signal ends everything in order, the second one us at once: the rest follows.
	context.AfterFunc(ctx, stop)
	o, err := parse(os.Args[1:])
	if err == nil {
		err = run(ctx, o)
	}
	switch {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		fmt.Fprintln(os.Stderr, "seawall-run:", err)
		os.Exit(1)
	}
}

// options are what to run.
type options struct {
	programs string // the folder of the binaries
	state    string
	// listen, collectorAdmin and agentAdmin are host:port.
	listen, collectorAdmin, agentAdmin string
	agentFlags                         []string
}

// The agent's, as its package main's configuration is not ours to import.
const defaultAgentAdmin = "127.0.0.1:9464"

func parse(args []string) (options, error) {
	var o options
	flags := flag.NewFlagSet("seawall-run", flag.ContinueOnError)
	flags.StringVar(&o.state, "state", "", "`folder` for what the next run goes on with (default: seawall in the user's state folder)")
	flags.StringVar(&o.listen, "listen", config.DefaultListen, "`host:port` of the collector")
	flags.StringVar(&o.collectorAdmin, "collector-admin", config.DefaultAdminAddress, "`host:port` of the collector's /metrics")
	flags.StringVar(&o.agentAdmin, "agent-admin", defaultAgentAdmin, "`host:port` of the agent's /metrics")
	if err := flags.Parse(args); err != nil {
		return options{}, err
	}
	o.agentFlags = flags.Args()
	for _, flag := range o.agentFlags {
		name, _, _ := strings.Cut(strings.TrimLeft(flag, "-"), "=")
		switch instead := map[string]string{"admin-address": "-agent-admin", "state-dir": "-state", "collector": "-listen", "join-token-file": "none"}[name]; {
		case !strings.HasPrefix(flag, "-") || instead == "":
		case instead == "none":
			return options{}, fmt.Errorf("%s is set by make run itself", flag)
		default:
			return options{}, fmt.Errorf("%s is set by make run itself: say %s of seawall-run instead", flag, instead)
		}
	}
	var err error
	if o.state == "" {
		if o.state, err = defaultState(); err != nil {
			return options{}, err
		}
	}
	if o.state, err = filepath.Abs(o.state); err != nil {
		return options{}, err
	}
	self, err := os.Executable()
	if err != nil {
		return options{}, err
	}
	o.programs = filepath.Dir(self)
	return o, nil
}

// defaultState is where programs keep what is theirs and should last, by the XDG's rules.
func defaultState() (string, error) {
	base := os.Getenv("XDG_STATE_HOME")
	if !filepath.IsAbs(base) {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", fmt.Errorf("find a folder for state: %w; say one with -state", err)
		}
		base = filepath.Join(home, ".local", "state")
	}
	return filepath.Join(base, "seawall"), nil
}
