package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/seawall-security/seawall/tools/local"
)

// show runs everything, and has in the order of their start what is to be ended.
type show struct {
	options
	collector  local.Collector
	address    string // of the collector
	began      time.Time
	collecting *local.Process
	agent      *local.Process
	watch      *local.Process
}

// run runs until ctx ends or a part dies. It ends in order: the agent, which sends what it
// has; the watch, once that is shown; the collector.
func run(ctx context.Context, o options) (err error) {
	if err := free(ctx, o); err != nil {
		return err
	}
	root, err := asRoot(ctx)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(o.state, 0o700); err != nil {
		return fmt.Errorf("make the state folder: %w", err)
	}
	s := &show{options: o, began: time.Now()}
	defer func() { err = errors.Join(err, s.end(context.WithoutCancel(ctx))) }()
	if err := s.begin(ctx, root); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	s.tell()
	select {
	case <-ctx.Done():
		fmt.Println("\nEnding: what the agent still has comes first.")
		return nil
	case <-s.collecting.Ended():
		return errors.Join(errors.New("the collector ended"), s.collecting.LastLines())
	case <-s.watch.Ended():
		select { // as a rule because of the collector, whose end may be seen later
		case <-s.collecting.Ended():
			return errors.Join(errors.New("the collector ended"), s.collecting.LastLines())
		case <-time.After(time.Second):
		}
		return errors.Join(errors.New("the watch of alerts ended"), s.watch.LastLines())
	case <-s.agent.Ended():
		return errors.Join(errors.New("the agent ended"), s.agent.LastLines())
	}
}

// begin starts the collector, the watch and the agent, and waits until the agent reports.
func (s *show) begin(ctx context.Context, root []string) error {
	log, err := s.log("collector")
	if err != nil {
		return err
	}
	s.collector = local.Collector{Path: s.program("seawall-collector"), Flags: []string{"--data-dir", filepath.Join(s.state, "collector")}}
	s.collecting, s.address, err = s.collector.Start(ctx, log, "--listen", s.listen, "--admin-address", s.collectorAdmin)
	if err != nil {
		return err
	}
	if err := s.collector.Client(ctx, "make-run", "viewer", s.credentials()); err != nil {
		return err
	}
	s.watch, err = local.Start(ctx, local.Program{
		Name: "watch of alerts", Command: exec.Command(s.program("seawallctl"), "alerts", "watch", "-collector", s.address, "-credentials", s.credentials()),
		Out: func(line []byte) error { _, err := fmt.Printf("%s\n", line); return err },
	})
	if err != nil {
		return err
	}
	if err := s.beginAgent(ctx, root); err != nil {
		return err
	}
	return s.reports(ctx)
}

// beginAgent starts the root half and gives it a token if it asks for one.
func (s *show) beginAgent(ctx context.Context, root []string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	words := append(root, self, keepAgent, "-state", filepath.Join(s.state, "agent"), "-collector", s.address,
		s.program("seawall-agent"), "--admin-address", s.agentAdmin)
	command := exec.Command(words[0], append(words[1:], s.agentFlags...)...)
	// In our group: sudo may have to ask for a password.
	command.SysProcAttr = &syscall.SysProcAttr{}
	stdin, err := command.StdinPipe()
	if err != nil {
		return err
	}
	log, err := s.log("agent")
	if err != nil {
		return err
	}
	end := sync.OnceValue(stdin.Close)
	s.agent, err = local.Start(ctx, local.Program{
		Name: "agent", Command: command, Ready: "ready", End: end,
		Out: func(line []byte) error { _, err := fmt.Printf("%s\n", line); return err }, // with --standalone
		Err: func(line []byte) error {
			if string(line) != wantsToken {
				return log(line)
			}
			token, err := s.collector.Ask(ctx, "token create", "--ttl", "10m")
			if err == nil {
				_, err = io.WriteString(stdin, token+"\n")
			}
			if err != nil { // nobody waits for a token that does not come
				return errors.Join(err, end())
			}
			return nil
		},
	})
	return err
}

// end ends what was started, in order, and returns what went wrong with it.
func (s *show) end(ctx context.Context) (err error) {
	if s.agent != nil {
		err = s.agent.Stop()
	}
	if s.watch != nil {
		if err == nil && s.agent != nil {
			s.settle(ctx)
		}
		err = errors.Join(err, s.watch.Stop())
	}
	if s.collecting != nil {
		err = errors.Join(err, s.collecting.Stop())
		fmt.Printf("Kept in %s: the CA, alerts and the agent's identity. The next make run goes on with them;\nto look at alerts meanwhile, run %s\n",
			s.state, strings.Join(append([]string{s.collector.Path}, s.collector.Flags...), " "))
	}
	return err
}

// log returns what takes lines into a file of this run's.
func (s *show) log(name string) (func([]byte) error, error) {
	file, err := os.OpenFile(s.logFile(name), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("keep the %s's log: %w", name, err)
	}
	return func(line []byte) error {
		_, err := fmt.Fprintf(file, "%s\n", line)
		return err
	}, nil
}

func (s *show) logFile(name string) string { return filepath.Join(s.state, name+".log") }
func (s *show) credentials() string        { return filepath.Join(s.state, "client") }
func (s *show) program(name string) string { return filepath.Join(s.programs, name) }

// free refuses addresses that somebody else has, before anything is started.
func free(ctx context.Context, o options) error {
	var problems []error
	for _, one := range []struct{ address, what, flag string }{
		{o.listen, "the collector", "-listen"}, {o.collectorAdmin, "the collector's /metrics", "-collector-admin"}, {o.agentAdmin, "the agent's /metrics", "-agent-admin"},
	} {
		listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", one.address)
		if err == nil {
			err = listener.Close()
		}
		if errors.Is(err, syscall.EADDRINUSE) {
			err = fmt.Errorf("%s is in use, and %s is to listen there: end who does (another make run?) or choose another by RUN='%s HOST:PORT'", one.address, one.what, one.flag)
		}
		problems = append(problems, err)
	}
	return errors.Join(problems...)
}

// asRoot is what to put before a command that needs root. It asks for the password now,
// while nothing else is on the terminal.
func asRoot(ctx context.Context) ([]string, error) {
	if os.Geteuid() == 0 {
		return nil, nil
	}
	sudo, err := exec.LookPath("sudo")
	if err != nil {
		return nil, errors.New("the agent needs root, and there is no sudo: install it, or do this as root")
	}
	check := exec.CommandContext(ctx, sudo, "-v")
	check.Stdin, check.Stdout, check.Stderr = os.Stdin, os.Stderr, os.Stderr
	if err := check.Run(); err != nil {
		return nil, fmt.Errorf("the agent needs root: sudo: %w", err)
	}
	return []string{sudo, "--"}, nil
}
