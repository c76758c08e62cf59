// Command collector is seawall-collector: it takes what the agents of a cluster see, keeps
// it, makes alerts of it and hands them on.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/seawall-security/seawall/collector/config"
	"github.com/seawall-security/seawall/internal/obs"
)

// Exit codes.
const (
	exitFailed = 1
	exitUsage  = 2
)

func main() { os.Exit(start()) }

func start() int {
	c, command, err := config.Parse(os.Args[1:], os.Stdout)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		fmt.Fprintln(os.Stderr, "seawall-collector:", err)
		return exitUsage
	}
	// The first signal ends the collector in order, the second one at once.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)

	switch command.Verb {
	case config.Run:
		err = run(ctx, c)
	case config.CheckConfig:
		err = checkConfig(c, os.Stdout)
	case config.Version:
		fmt.Fprintln(os.Stdout, "seawall-collector", obs.Version())
	case config.TokenCreate, config.TokenList, config.TokenRevoke, config.AgentRevoke, config.ClientRevoke:
		err = admit(ctx, c, command, os.Stdout)
	case config.LogAbandon:
		err = abandonLog(ctx, c, time.Now, os.Stdout)
	case config.ClientCreate:
		err = createClient(ctx, c, command, os.Stdout)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "seawall-collector:", err)
		return exitFailed
	}
	return 0
}
