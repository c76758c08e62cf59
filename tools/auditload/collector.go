package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/seawall-security/seawall/collector/alert"
	"github.com/seawall-security/seawall/collector/correlate"
	"github.com/seawall-security/seawall/collector/eventlog"
	"github.com/seawall-security/seawall/collector/store"
	"github.com/seawall-security/seawall/internal/tlsconf"
	collectorv1 "github.com/seawall-security/seawall/proto/collector/v1"
	"github.com/seawall-security/seawall/tools/local"
)

const (
	cluster = "load"
	host    = "collector.example"
	token   = "the token of the load, which is not secret"
)

// collector is a seawall-collector with all it has in one folder.
type collector struct {
	path, dir string
	process   *local.Process
	command   *exec.Cmd

	mu      sync.Mutex // guards address
	address string     // the webhook's
}

func (c *collector) log() string { return filepath.Join(c.dir, "audit.log") }

// start runs the collector until it is ready.
func (c *collector) start(ctx context.Context, withFile bool) error {
	settings := fmt.Sprintf("cluster: %s\ndata_dir: %s\nlisten: 127.0.0.1:0\nnames: [%s]\nadmin: {address: \"\"}\naudit:\n  webhook: {listen: \"127.0.0.1:0\", token_file: %s}\n",
		cluster, filepath.Join(c.dir, "data"), host, filepath.Join(c.dir, "token"))
	if withFile {
		settings += fmt.Sprintf("  files: [{name: cp-1, path: %s}]\n", c.log())
	}
	for name, text := range map[string]string{"collector.yaml": settings, "token": token} {
		if err := os.WriteFile(filepath.Join(c.dir, name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	c.command = exec.Command(c.path, "--config", filepath.Join(c.dir, "collector.yaml"))
	var err error
	c.process, err = local.Start(ctx, local.Program{Name: "collector", Command: c.command, Ready: "ready: ", Within: time.Minute, Err: func(line []byte) error {
		if _, address, ok := strings.Cut(string(line), "audit webhook listens on "); ok {
			c.mu.Lock()
			c.address = address
			c.mu.Unlock()
		}
		return nil
	}})
	return err
}

// kill ends it as a power cut would.
func (c *collector) kill() error {
	if err := c.command.Process.Signal(syscall.SIGKILL); err != nil {
		return err
	}
	<-c.process.Ended()
	return nil
}

// client is an API server's.
func (c *collector) client() (*http.Client, error) {
	roots, err := tlsconf.LoadRoots(filepath.Join(c.dir, "data", "ca", "ca.crt"))
	if err != nil {
		return nil, err
	}
	trust := &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: x509.NewCertPool(), ServerName: host}
	for _, root := range roots {
		trust.RootCAs.AddCert(root)
	}
	return &http.Client{Transport: &http.Transport{TLSClientConfig: trust, ForceAttemptHTTP2: true}, Timeout: 30 * time.Second}, nil
}

// post sends a body once.
func (c *collector) post(ctx context.Context, client *http.Client, body []byte) (code int, err error) {
	c.mu.Lock()
	address := c.address
	c.mu.Unlock()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+address+"/?timeout=30s", bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	r.Header.Set("Authorization", "Bearer "+token)
	answer, err := client.Do(r)
	if err != nil {
		return 0, err
	}
	_, err = io.Copy(io.Discard, answer.Body)
	return answer.StatusCode, errors.Join(err, answer.Body.Close())
}

// manage connects as a viewer.
func (c *collector) manage(ctx context.Context) (*grpc.ClientConn, error) {
	folder := filepath.Join(c.dir, "client")
	if err := (local.Collector{Path: c.path, Flags: []string{"--config", filepath.Join(c.dir, "collector.yaml")}}).Client(ctx, "load", "viewer", folder); err != nil {
		return nil, err
	}
	_, address, _ := strings.Cut(c.process.Ready(), " listens on ")
	return local.Dial(address, folder)
}

// stored is what a collector that does not run has on disk.
type stored struct {
	events map[string]int // how often each is in the log
	gaps   []*collectorv1.AuditGap
	bytes  uint64
	// messages of the log, and how many of them were not correlated yet.
	messages, behind uint64
}

func (c *collector) stored(ctx context.Context) (d stored, err error) {
	data := filepath.Join(c.dir, "data")
	log, err := eventlog.Open(ctx, eventlog.Options{Dir: filepath.Join(data, "events"), Log: zap.NewNop()})
	if err != nil {
		return d, err
	}
	defer log.Close()
	state, err := log.State(ctx)
	if err != nil {
		return d, err
	}
	s, err := store.Open(ctx, filepath.Join(data, "store.db"))
	if err != nil {
		return d, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	correlator, err := correlate.Open(ctx, s, alert.NewBook(s), correlate.DefaultLimits)
	if err != nil {
		return d, err
	}
	position, err := correlator.Position(ctx)
	if err != nil {
		return d, err
	}
	d = stored{events: map[string]int{}, bytes: state.Bytes, messages: state.Last, behind: state.Last - min(state.Last, position)}
	err = log.Recent(ctx, eventlog.Subject{Cluster: cluster, Kind: eventlog.Audit}, 24*time.Hour, func(m eventlog.Message) error {
		message := &collectorv1.LogMessage{}
		if err := proto.Unmarshal(m.Data, message); err != nil {
			return err
		}
		for _, e := range message.GetAudit().GetEvents() {
			d.events[e.AuditId]++
		}
		d.gaps = append(d.gaps, message.GetAuditState().GetGaps()...)
		return nil
	})
	return d, err
}
