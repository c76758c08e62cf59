package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"

	alertv1 "github.com/seawall-security/seawall/proto/alert/v1"
	"github.com/seawall-security/seawall/tools/local"
)

// collectorAdminAddress is not the default either.
const collectorAdminAddress = "127.0.0.1:19465"

// collector is a running seawall-collector with all it has in one folder.
type collector struct {
	local.Collector
	process      *local.Process
	dir, address string
}

// startCollector returns once the collector listens.
func startCollector(ctx context.Context, path, dir string) (*collector, error) {
	c := &collector{Collector: local.Collector{Path: path, Flags: []string{"--data-dir", filepath.Join(dir, "data")}}, dir: dir}
	var err error
	c.process, c.address, err = c.Start(ctx, nil, "--listen", "127.0.0.1:0", "--admin-address", collectorAdminAddress)
	return c, err
}

func (c *collector) stop() error { return c.process.Stop() }

// enrolAgent returns the flags with which an agent reports to the collector.
func (c *collector) enrolAgent(ctx context.Context) ([]string, error) {
	token, err := c.Ask(ctx, "token create")
	if err != nil {
		return nil, err
	}
	file := filepath.Join(c.dir, "token")
	if err := os.WriteFile(file, []byte(token), 0o600); err != nil {
		return nil, err
	}
	return []string{"--collector", c.address, "--join-token-file", file, "--node", "bench"}, nil
}

// subscriber is a SIEM that notes when it got the first revision of each alert, by the
// name of the memfd that it is about.
type subscriber struct {
	conn *grpc.ClientConn
	stop context.CancelFunc
	done chan struct{}

	mu   sync.Mutex // guards what follows
	seen map[string]time.Time
	news chan struct{} // closed and made anew with each alert
	err  error         // why the stream ended
}

// subscribe returns once the collector has answered.
func (c *collector) subscribe(ctx context.Context) (*subscriber, error) {
	folder := filepath.Join(c.dir, "siem")
	if err := c.Client(ctx, "bench", "viewer", folder); err != nil {
		return nil, err
	}
	conn, err := local.Dial(c.address, folder)
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(ctx)
	stream, err := alertv1.NewAlertStreamClient(conn).Subscribe(ctx, &alertv1.SubscribeRequest{FromNow: true})
	if err == nil {
		_, err = stream.Recv() // it has everything: nothing
	}
	if err != nil {
		stop()
		return nil, errors.Join(fmt.Errorf("subscribe: %w", err), conn.Close())
	}
	s := &subscriber{conn: conn, stop: stop, done: make(chan struct{}), seen: map[string]time.Time{}, news: make(chan struct{})}
	go s.read(stream)
	return s, nil
}

// read ends with the stream.
func (s *subscriber) read(stream alertv1.AlertStream_SubscribeClient) {
	defer close(s.done)
	for {
		m, err := stream.Recv()
		at := time.Now()
		s.mu.Lock()
		if err != nil {
			s.err = err
		} else if a := m.GetAlert(); a.GetRevision() == 1 {
			for _, p := range a.GetProcesses() {
				if name := memfdName(p.GetExe().GetPath()); name != "" {
					s.seen[name] = at
				}
			}
		}
		close(s.news)
		s.news = make(chan struct{})
		s.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// memfdName is the name that a memfd was made with, of its path as the kernel tells it.
func memfdName(path string) string {
	_, name, _ := strings.Cut(path, "memfd:")
	name, _, _ = strings.Cut(name, " ")
	return name
}

// await returns when all that is expected has come, and when each did.
func (s *subscriber) await(ctx context.Context, expected map[string]time.Time, limit time.Duration) (map[string]time.Time, error) {
	timeout := time.NewTimer(limit)
	defer timeout.Stop()
	arrived := map[string]time.Time{}
	for {
		s.mu.Lock()
		for name := range expected {
			if at, ok := s.seen[name]; ok {
				arrived[name] = at
			}
		}
		err, news := s.err, s.news
		s.mu.Unlock()
		switch {
		case len(arrived) == len(expected):
			return arrived, nil
		case err != nil:
			return nil, fmt.Errorf("subscription ended: %w", err)
		}
		select {
		case <-news:
		case <-timeout.C:
			return nil, fmt.Errorf("%d of %d detections did not reach the subscriber within %v", len(expected)-len(arrived), len(expected), limit)
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (s *subscriber) close() error {
	s.stop()
	<-s.done
	return s.conn.Close()
}
