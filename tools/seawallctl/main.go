// Command seawallctl is Seawall's command line for operators and rule authors.
//
//	seawallctl agents list            list agents, and how they are
//	seawallctl alerts list            list alerts, newest first
//	seawallctl alerts show ID         show one alert whole
//	seawallctl alerts watch           show alerts as they come
//	seawallctl audit policy           print the audit policy for the cluster's API servers
//	seawallctl audit replay FILE...   run the audit rules over recorded audit events
//	seawallctl audit status           show how audit sources are, and what is missing
//	seawallctl audit verify           check what the API server records and the collector gets
//	seawallctl bundle key NAME        make a key to sign bundles of rules with
//	seawallctl bundle sign PATH...    sign rule files
//	seawallctl bundle verify FILE     check a signed bundle and show what it holds
//	seawallctl bundle push FILE       send a signed rule bundle to all agents
//	seawallctl bundle show            show the bundle that agents are sent
//	seawallctl rules lint [PATH...]   check rule files and show what each rule costs
//	seawallctl rules list [PATH...]   list rules
//	seawallctl rules test [PATH...]   play the recordings of rules
//	seawallctl version                show the version
//
// A PATH is a rule file or a folder of them (*.yaml). Exit status: 0; 1: what was
// looked at is not in order; 2: wrong usage; of audit verify 3: a part of what rules look
// at does not arrive; 4: nothing does.
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

	"github.com/seawall-security/seawall/internal/obs"
)

// Exit statuses.
const (
	statusOK = iota
	statusFailed
	statusUsage
	statusPartial
	statusSilent
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	status := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(status)
}

// command is one of seawallctl's commands.
type command struct {
	words   string // as typed: "rules lint"
	args    string
	summary string
	// flags says that it has some, and takes them itself.
	flags bool
	run   func(ctx context.Context, args []string, out io.Writer) error
}

// commands are seawallctl's; errs is where one says what does not end it.
func commands(errs io.Writer) []command {
	return []command{
		{"agents list", "", "list agents: what they run on, what waits in them, what they were sent", true, listAgents},
		{"alerts list", "", "list alerts, newest first", true, listAlerts},
		{"alerts show", "ID", "show one alert: its processes as a tree, and what happened", true, showAlert},
		{"alerts watch", "", "show alerts as they come, until Ctrl-C", true, watchAlerts},
		{"audit policy", "", "print the audit policy for the cluster's API servers", false, offline(printPolicy)},
		{"audit replay", "FILE...", "run the audit rules over recorded audit events (JSON lines or lists, also gzip; - is stdin)", true, replayAudit(errs)},
		{"audit status", "", "show how the cluster's audit sources are, what is missing, and which rules are blind", true, auditStatus},
		{"audit verify", "", "send harmless requests and see which the collector gets, at which level: what is missing, and how to mend it", true, verifyAudit},
		{"bundle key", "NAME", "make a key to sign bundles of rules with: NAME.key, and NAME.pub for agents", false, offline(makeBundleKey)},
		{"bundle sign", "PATH...", "sign rule files for agents: --key F --serial N --version V --out F", true, offline(signBundle)},
		{"bundle verify", "FILE", "check a signed bundle as an agent does that has this --key F, and show what it holds", true, offline(verifyBundle)},
		{"bundle push", "FILE", "have the collector send a signed rule bundle to all agents", true, pushBundle},
		{"bundle show", "", "show the bundle that agents are sent, and who pushed it", true, showBundle},
		{"rules lint", "[PATH...]", "check rule files and show what each rule costs; without PATH the built-in ones", false, offline(lintRules)},
		{"rules list", "[PATH...]", "list the built-in rules and those of PATH", false, offline(listRules)},
		{"rules test", "[PATH...]", "play the recordings of the rules of PATH; without PATH those of the built-in ones", false, offline(testRules)},
		{"version", "", "show the version", false, offline(showVersion)},
	}
}

// offline is a command that works with files alone and is quickly done.
func offline(do func(args []string, out io.Writer, now time.Time) error) func(context.Context, []string, io.Writer) error {
	return func(_ context.Context, args []string, out io.Writer) error { return do(args, out, time.Now()) }
}

func run(ctx context.Context, args []string, out, errs io.Writer) int {
	for _, c := range commands(errs) {
		words := strings.Fields(c.words)
		if len(args) < len(words) || strings.Join(args[:len(words)], " ") != c.words {
			continue
		}
		rest := args[len(words):]
		if !c.flags && len(rest) > 0 && (c.args == "" || strings.HasPrefix(rest[0], "-")) {
			fmt.Fprintf(errs, "seawallctl %s: unexpected argument %q\n", c.words, rest[0])
			return usage(errs, statusUsage)
		}
		err := c.run(ctx, rest, out)
		if errors.Is(err, flag.ErrHelp) {
			return statusOK
		}
		if err != nil {
			fmt.Fprintf(errs, "seawallctl %s: %v\n", c.words, err)
			if end := (*ending)(nil); errors.As(err, &end) {
				return end.status
			}
			return statusFailed
		}
		return statusOK
	}
	if len(args) == 1 && (args[0] == "help" || args[0] == "-h" || args[0] == "--help") {
		return usage(out, statusOK)
	}
	return usage(errs, statusUsage)
}

func usage(to io.Writer, status int) int {
	fmt.Fprintln(to, "Usage:")
	for _, c := range commands(to) {
		fmt.Fprintf(to, "  seawallctl %-22s %s\n", strings.TrimSpace(c.words+" "+c.args), c.summary)
	}
	return status
}

func showVersion(_ []string, out io.Writer, _ time.Time) error {
	_, err := fmt.Fprintln(out, "seawallctl", obs.Version())
	return err
}
