package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/seawall-security/seawall/internal/tlsconf"
	alertv1 "github.com/seawall-security/seawall/proto/alert/v1"
)

// collector is one that runs beside the play, with all it has in a folder of its own.
type collector struct {
	path, dir, address string
	command            *exec.Cmd
	ended              chan error
}

// startCollector starts the binary and waits until it listens.
func startCollector(ctx context.Context, path string) (_ *collector, err error) {
	c := &collector{path: path, ended: make(chan error, 1)}
	if c.dir, err = os.MkdirTemp("", "seawall-demo-collector-"); err != nil {
		return nil, fmt.Errorf("make the collector's folder: %w", err)
	}
	c.command = exec.Command(path, "-data-dir", c.data(), "-listen", "127.0.0.1:0", "-admin-address", "")
	c.command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // it ends when we say so
	stderr, err := c.command.StderrPipe()
	if err == nil {
		err = c.command.Start()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start the collector: %w", err), os.RemoveAll(c.dir))
	}
	ready := make(chan string, 1)
	// Ends with the process.
	go func() {
		var last string
		for scanner := bufio.NewScanner(stderr); scanner.Scan(); last = scanner.Text() {
			if _, address, ok := strings.Cut(scanner.Text(), "listens on "); ok && strings.HasPrefix(scanner.Text(), "ready: ") {
				ready <- address
			}
		}
		if err := c.command.Wait(); err != nil {
			c.ended <- fmt.Errorf("collector: %w: %s", err, last)
		}
		close(c.ended)
	}()
	timeout := time.NewTimer(readyTimeout)
	defer timeout.Stop()
	select {
	case c.address = <-ready:
		return c, nil
	case err = <-c.ended:
		return nil, errors.Join(errors.New("start the collector: it ended"), err, os.RemoveAll(c.dir))
	case <-timeout.C:
		err = fmt.Errorf("start the collector: not ready after %s", readyTimeout)
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	return nil, errors.Join(err, c.stop())
}

func (c *collector) data() string { return filepath.Join(c.dir, "data") }

// ask runs one of the collector's commands on its folder.
func (c *collector) ask(ctx context.Context, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, c.path, append(args, "-data-dir", c.data())...).Output()
	if err != nil {
		return "", fmt.Errorf("seawall-collector %s: %w", strings.Join(args[:2], " "), err)
	}
	return string(out), nil
}

// agentFlags let an agent enrol and report.
func (c *collector) agentFlags(ctx context.Context) ([]string, error) {
	token, err := c.ask(ctx, "token", "create")
	if err != nil {
		return nil, err
	}
	file := filepath.Join(c.dir, "token")
	if err := os.WriteFile(file, []byte(token), 0o600); err != nil {
		return nil, fmt.Errorf("hand over the join token: %w", err)
	}
	return []string{"--collector", c.address, "--join-token-file", file, "--state-dir", filepath.Join(c.dir, "agent"), "--node", "demo-node"}, nil
}

// read is a SIEM: over mTLS it follows the revisions of alerts about a container until
// enough says that the latest ones are what it waits for.
func (c *collector) read(ctx context.Context, container string, enough func([]*alertv1.Alert) bool) (latest []*alertv1.Alert, err error) {
	folder := filepath.Join(c.dir, "siem")
	if _, err := c.ask(ctx, "client", "create", "siem", "--role", "viewer", "--out", folder); err != nil {
		return nil, err
	}
	material, err := tlsconf.Files{
		Certificate: filepath.Join(folder, "client.crt"), Key: filepath.Join(folder, "client.key"), Roots: filepath.Join(folder, "ca.crt"),
	}.Load()
	if err != nil {
		return nil, err
	}
	config := tlsconf.ClientConfig(tlsconf.NewSource(material), tlsconf.Peers{Roles: []tlsconf.Role{tlsconf.Collector}}, time.Now)
	conn, err := grpc.NewClient(c.address, grpc.WithTransportCredentials(credentials.NewTLS(config)))
	if err != nil {
		return nil, fmt.Errorf("connect to the collector: %w", err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, reportTimeout)
	defer cancel()
	stream, err := alertv1.NewAlertStreamClient(conn).Subscribe(ctx, &alertv1.SubscribeRequest{Subscription: "demo"})
	if err != nil {
		return nil, fmt.Errorf("subscribe to alerts: %w", err)
	}
	for {
		m, err := stream.Recv()
		if err != nil {
			return latest, fmt.Errorf("wait for the alerts: %w", err)
		}
		a := m.GetAlert()
		if a.GetAsset().GetContainer().GetId() != container {
			continue
		}
		if i := slices.IndexFunc(latest, func(known *alertv1.Alert) bool { return known.Id == a.Id }); i >= 0 {
			latest[i] = a
		} else {
			latest = append(latest, a)
		}
		if enough(latest) {
			return latest, nil
		}
	}
}

func (c *collector) stop() error {
	err := c.command.Process.Signal(syscall.SIGTERM)
	if errors.Is(err, os.ErrProcessDone) {
		err = nil
	}
	killer := time.AfterFunc(stopTimeout, func() { _ = c.command.Process.Kill() }) // how it ended says so
	defer killer.Stop()
	return errors.Join(err, <-c.ended, os.RemoveAll(c.dir))
}
