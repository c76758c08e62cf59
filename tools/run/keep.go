package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/seawall-security/seawall/agent/enrol"
	"github.com/seawall-security/seawall/internal/tlsconf"
	"github.com/seawall-security/seawall/tools/local"
)

const (
	// keepAgent is the word that makes this program the root half.
	keepAgent = "keep-agent"
	// wantsToken is the line on standard error that asks for a join token on standard input.
	wantsToken = "wants a join token"
	// An identity that ends so soon is as good as none.
	leastLife = 10 * time.Minute
)

// keep runs the agent until it ends, ctx does, or standard input. It returns the status to
// exit with.
func keep(ctx context.Context, args []string) int {
	flags := flag.NewFlagSet(keepAgent, flag.ContinueOnError)
	state := flags.String("state", "", "the agent's `folder`")
	collector := flags.String("collector", "", "`host:port`")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	if err := keepRunning(ctx, *state, *collector, flags.Args()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func keepRunning(ctx context.Context, state, collector string, agent []string) (err error) {
	if os.Geteuid() != 0 {
		return errors.New("the agent needs root")
	}
	lines := bufio.NewReader(os.Stdin)
	agent = append(agent, "--state-dir", state, "--collector", collector)
	if !enrolled(state, collector) {
		fmt.Fprintln(os.Stderr, wantsToken)
		token, err := lines.ReadString('\n')
		if err != nil {
			return nil // nobody is there any more
		}
		file := filepath.Join(state, "join-token")
		if err := os.MkdirAll(state, 0o700); err != nil {
			return err
		}
		if err := tlsconf.WriteSecret(file, []byte(strings.TrimSpace(token))); err != nil {
			return fmt.Errorf("hand over the join token: %w", err)
		}
		defer func() { err = errors.Join(err, os.Remove(file)) }()
		agent = append(agent, "--join-token-file", file)
	}
	gone := make(chan struct{})
	go func() { // ends with us
		defer close(gone)
		for _, err := lines.ReadString('\n'); err == nil; {
			_, err = lines.ReadString('\n')
		}
	}()
	command := exec.Command(agent[0], agent[1:]...)
	command.Stdout = os.Stdout
	tell := func(line []byte) error { _, err := os.Stderr.Write(append(line, '\n')); return err }
	p, err := local.Start(ctx, local.Program{Name: "agent", Command: command, Err: tell})
	if err != nil {
		return err
	}
	select {
	case <-p.Ended():
	case <-gone:
	case <-ctx.Done():
	}
	return p.Stop()
}

// enrolled reports whether the agent can report without a token.
func enrolled(state, collector string) bool {
	a, err := enrol.Open(enrol.Options{StateDir: state, Collector: collector, Now: time.Now, Random: rand.Float64, Log: zap.NewNop()})
	if err != nil {
		return false // it enrols anew
	}
	certificate := a.Certificate()
	return certificate != nil && time.Until(certificate.NotAfter) > leastLife
}
