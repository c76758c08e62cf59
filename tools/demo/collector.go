package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	alertv1 "github.com/seawall-security/seawall/proto/alert/v1"
	"github.com/seawall-security/seawall/tools/local"
)

// collector is one that runs beside the play, with all it has in a folder of its own.
type collector struct {
	local.Collector
	dir, address string
	process      *local.Process
}

// startCollector starts the binary and waits until it listens.
func startCollector(ctx context.Context, path string) (*collector, error) {
	dir, err := os.MkdirTemp("", "seawall-demo-collector-")
	if err != nil {
		return nil, fmt.Errorf("make the collector's folder: %w", err)
	}
	c := &collector{Collector: local.Collector{Path: path, Flags: []string{"-data-dir", filepath.Join(dir, "data")}}, dir: dir}
	if c.process, c.address, err = c.Start(ctx, nil, "-listen", "127.0.0.1:0", "-admin-address", ""); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return c, nil
}

// agentFlags let an agent enrol and report.
func (c *collector) agentFlags(ctx context.Context) ([]string, error) {
	token, err := c.Ask(ctx, "token create")
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
	if err := c.Client(ctx, "siem", "viewer", folder); err != nil {
		return nil, err
	}
	conn, err := local.Dial(c.address, folder)
	if err != nil {
		return nil, err
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

func (c *collector) stop() error { return errors.Join(c.process.Stop(), os.RemoveAll(c.dir)) }
