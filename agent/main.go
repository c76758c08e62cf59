// Command agent is seawall-agent: it watches one node from inside its kernel.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/seawall-security/seawall/agent/config"
	"github.com/seawall-security/seawall/agent/probe"
	"github.com/seawall-security/seawall/internal/obs"
)

// Exit codes.
const (
	exitFailed = 1
	exitUsage  = 2
)

func main() {
	if len(os.Args) == 2 && os.Args[1] == probe.SelfTestArgument {
		return // the program that the self-test executes
	}
	os.Exit(start())
}

func start() int {
	c, command, err := config.Parse(os.Args[1:], os.Stdout)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		fmt.Fprintln(os.Stderr, "seawall-agent:", err)
		return exitUsage
	}
	// A reader of our output that goes is an error like others: the signal would end the
	// agent in the middle of its self-test, without a word.
	signal.Ignore(syscall.SIGPIPE)
	// The first signal ends the agent in order, the second one at once.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)

	switch command {
	case config.Version:
		fmt.Fprintln(os.Stdout, "seawall-agent", obs.Version())
		return 0
	case config.CheckConfig:
		err = checkConfig(c, os.Stdout)
	case config.Probe:
		err = showProbe(ctx, c, os.Stdout)
	case config.Run:
		err = run(ctx, c)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "seawall-agent:", err)
		return exitFailed
	}
	return 0
}
