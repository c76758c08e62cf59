package powercut

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/seawall-security/seawall/internal/tlsconf"
)

// TestMain is where the guest's part begins.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == "guest" {
		if err := perform(context.Background()); err != nil {
			fmt.Fprintln(os.Stderr, "guest:", err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// guest is the machine from inside.
type guest struct {
	plan
	out       *printer
	collector *child
	failed    chan error // why the boot has to end
}

// perform carries out the plan, until the power goes.
func perform(ctx context.Context) error {
	text, err := os.ReadFile(guestPlan)
	if err != nil {
		return err
	}
	g := &guest{failed: make(chan error, 4)}
	g.out = newPrinter(os.Stdout, g.fail)
	if err := json.Unmarshal(text, &g.plan); err != nil {
		return fmt.Errorf("parse plan: %w", err)
	}
	if err := os.MkdirAll(guestState, 0o755); err != nil {
		return err
	}
	if err := unix.Mount(guestDisk, guestState, "ext4", 0, ""); err != nil {
		return fmt.Errorf("mount disk: %w", err)
	}
	if g.Probe != "" {
		return g.probe()
	}
	return g.watch(ctx)
}

// watch runs collector, agent, readers and load.
func (g *guest) watch(ctx context.Context) error {
	var err error
	data := []string{"--data-dir", filepath.Join(guestState, "collector")}
	if g.collector, err = g.start(guestCollector, append(data, "--admin-address", "")...); err != nil {
		return err
	}
	if err := g.collector.ready(); err != nil {
		return err
	}
	g.say(report{Stage: collectorRuns})
	if err := admit(data); err != nil {
		return err
	}
	read, err := g.subscribe(ctx)
	if err != nil {
		return err
	}
	agent, err := g.start(guestAgent, "--collector", "127.0.0.1:9443", "--join-token-file", tokenFile,
		"--state-dir", filepath.Join(guestState, "agent"), "--rules", guestRules, "--containerd", "off", "--telemetry", "all")
	if err != nil {
		return err
	}
	if err := agent.ready(); err != nil {
		return err
	}
	g.say(report{Stage: agentRuns})
	marks, err := newMarks(g)
	if err != nil {
		return err
	}
	for i, told := range []chan struct{}{read.first, read.second} {
		if err := marks.run(g.warm()[i]); err != nil {
			return err
		}
		if err := g.await(told); err != nil {
			return err
		}
	}
	if g.Final {
		if err := g.await(read.caughtUp); err != nil {
			return err
		}
		g.out.tell(report{Stage: ended})
		return nil
	}
	return g.load(ctx, marks)
}

func (g *guest) say(r report) { g.out.say(r) }

// await waits for a signal, or for what makes it never come.
func (g *guest) await(signal <-chan struct{}) error {
	select {
	case <-signal:
		return nil
	case err := <-g.failed:
		return err
	}
}

// load executes marks and says what the agent makes of them, until the power goes.
func (g *guest) load(ctx context.Context, marks *marks) error {
	base, err := settled(ctx)
	if err != nil {
		return err
	}
	g.say(report{Stage: loaded})
	for n := 1; ; n++ {
		mark := fmt.Sprintf("%s-%d", g.Name, n)
		if n%8 == 0 {
			mark = recurring
		}
		if err := marks.run(mark); err != nil {
			return err
		}
		if n == g.StopAfter {
			if err := g.collector.Process.Signal(syscall.SIGSTOP); err != nil {
				return err
			}
		}
		if n%3 == 0 {
			now, err := scrape(ctx)
			if err != nil {
				return err
			}
			g.say(report{Spool: &promise{Durable: now.durable - base.durable, Acked: now.acked - base.acked, Lost: now.lost - base.lost}})
		}
		select {
		case err := <-g.failed:
			return err
		default:
		}
	}
}

// marks executes programs that the rule detects.
type marks struct {
	g     *guest
	model string
}

func newMarks(g *guest) (*marks, error) {
	m := &marks{g: g, model: filepath.Join(guestMarks, "model")}
	program, err := os.ReadFile(guestBusybox)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(guestMarks, 0o755); err != nil {
		return nil, err
	}
	return m, os.WriteFile(m.model, program, 0o755)
}

// run executes a program that has the mark's name.
func (m *marks) run(mark string) error {
	program := filepath.Join(guestMarks, mark)
	if err := os.Link(m.model, program); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	c := exec.Cmd{Path: program, Args: []string{"true"}}
	if err := c.Run(); err != nil {
		return fmt.Errorf("execute mark: %w", err)
	}
	m.g.say(report{Ran: &execution{Mark: mark, At: time.Now()}})
	return nil
}

// Files of the guest's own on the disk: the token of one use that lets the agent in, and
// who the SIEM is. They are made once.
var (
	tokenFile    = filepath.Join(guestState, "token")
	clientFolder = filepath.Join(guestState, "siem")
)

// admit makes what agent and SIEM need, where it is not there yet.
func admit(data []string) error {
	for _, name := range []string{"client.crt", "client.key", "ca.crt"} {
		if _, err := os.Stat(filepath.Join(clientFolder, name)); err != nil {
			if _, err := ask(append([]string{"client", "create", "siem", "--role", "viewer", "--out", clientFolder}, data...)...); err != nil {
				return err
			}
			break
		}
	}
	if _, err := os.Stat(tokenFile); err == nil {
		return nil
	}
	token, err := ask(append([]string{"token", "create"}, data...)...)
	if err != nil {
		return err
	}
	return tlsconf.WriteSecret(tokenFile, token)
}

func ask(arguments ...string) ([]byte, error) {
	c := exec.Command(guestCollector, arguments...)
	c.Stderr = os.Stderr
	out, err := c.Output()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", strings.Join(arguments[:2], " "), err)
	}
	return out, nil
}

// child is a program that runs for as long as the machine does.
type child struct {
	*exec.Cmd
	isReady chan struct{}
	gone    chan struct{}
}

// start runs a program; its standard error goes to ours.
func (g *guest) start(program string, arguments ...string) (*child, error) {
	c := &child{Cmd: exec.Command(program, arguments...), isReady: make(chan struct{}), gone: make(chan struct{})}
	stderr, err := c.StderrPipe()
	if err == nil {
		err = c.Start()
	}
	if err != nil {
		return nil, err
	}
	go func() {
		defer close(c.gone)
		told := false
		for lines := bufio.NewReader(stderr); ; {
			line, err := lines.ReadString('\n')
			_, _ = io.WriteString(os.Stderr, line) // for people
			if strings.HasPrefix(line, "ready: ") && !told {
				told = true
				close(c.isReady)
			}
			if err != nil {
				break
			}
		}
		_ = c.Wait() // its status tells more
		g.fail(fmt.Errorf("%s ended: %s", filepath.Base(program), c.ProcessState))
	}()
	return c, nil
}

// fail ends the boot, for the first reason there is.
func (g *guest) fail(err error) {
	select {
	case g.failed <- err:
	default:
	}
}

func (c *child) ready() error {
	select {
	case <-c.isReady:
		return nil
	case <-c.gone:
		return fmt.Errorf("%s ended before it was ready", filepath.Base(c.Path))
	}
}
