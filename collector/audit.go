package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	stdlog "log"
	"net"
	"net/http"
	"os"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/seawall-security/seawall/collector/audit"
	"github.com/seawall-security/seawall/collector/config"
	"github.com/seawall-security/seawall/collector/connections"
	"github.com/seawall-security/seawall/collector/enrol"
	"github.com/seawall-security/seawall/collector/eventlog"
	auditevent "github.com/seawall-security/seawall/internal/audit"
	"github.com/seawall-security/seawall/internal/redact"
	"github.com/seawall-security/seawall/internal/tlsconf"
)

// Bounds of the audit webhook's connections, and why.
const (
	// Go's HTTP/2 server takes a megabyte of a body before anybody has looked who sends it.
	auditStrangerBytes = 2 << 20
	// API servers give up on a request after 30 s.
	auditReadTimeout  = 30 * time.Second
	auditWriteTimeout = 2 * auditReadTimeout
	// An API server has one connection, and ten batches a second on it.
	auditStreams = 64
	// A token that can be guessed is none.
	minTokenBytes = 16
)

// auditing is what takes audit events in, and knows how their sources are.
type auditing struct {
	health  *audit.Health
	sources []func(context.Context) error // webhook and files, until ctx ends
	// close gives up what was opened for a source that was not run.
	close func()
}

// auditLog is the log that audit events go to.
type auditLog struct {
	clock   *ticker
	cluster string
}

// Append implements audit.Log.
func (l auditLog) Append(ctx context.Context, message []byte) error {
	_, err := l.clock.Append(ctx, eventlog.Subject{Cluster: l.cluster, Kind: eventlog.Audit}, message)
	return err
}

// newAuditing opens the sources of the settings.
func newAuditing(ctx context.Context, c config.Config, p *parts, clock *ticker, own *enrol.Server, gate *connections.Gate, coverage audit.Coverage, metrics prometheus.Registerer) (*auditing, error) {
	log := p.log.Named("audit")
	var sources []audit.Source
	if c.Audit.Webhook.Listen != "" {
		sources = append(sources, audit.Source{Name: config.AuditWebhookName, Kind: audit.KindWebhook})
	}
	for _, f := range c.Audit.Files {
		sources = append(sources, audit.Source{Name: f.Name, Kind: audit.KindFile})
	}
	to := auditLog{clock, c.Cluster}
	health, err := audit.NewHealth(ctx, audit.HealthOptions{Cluster: c.Cluster, Sources: sources, Coverage: coverage, Store: p.store, Log: to, Metrics: metrics, Now: time.Now, Logger: log})
	if err != nil {
		return nil, err
	}
	a := &auditing{health: health, close: func() {}}
	if len(sources) == 0 {
		return a, nil
	}
	masks, err := redact.New(p.authority.RedactionKey())
	if err != nil {
		return nil, fmt.Errorf("redact audit events: %w", err)
	}
	intake := audit.NewIntake(c.Cluster, to, auditevent.NewRedactor(masks), health, time.Now)
	of := eventlog.Subject{Cluster: c.Cluster, Kind: eventlog.Audit}
	if err := intake.Resume(ctx, func(ctx context.Context, back time.Duration, handle func([]byte) error) error {
		return p.events.Recent(ctx, of, back, func(m eventlog.Message) error { return handle(m.Data) })
	}); err != nil {
		return nil, err
	}
	rows := audit.NewRows(p.store)
	for _, f := range c.Audit.Files {
		a.sources = append(a.sources, audit.NewTail(f.Name, f.Path, intake, rows, enrol.Sleep, log).Run)
	}
	if c.Audit.Webhook.Listen == "" {
		return a, nil
	}
	door, err := newAuditDoor(c.Audit.Webhook, own, gate, intake, log)
	if err != nil {
		return nil, err
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", c.Audit.Webhook.Listen)
	if err != nil {
		return nil, fmt.Errorf("listen for audit events: %w", err)
	}
	a.close = func() { _ = listener.Close() } // of one that was run it is closed
	// One line that scripts may wait for.
	fmt.Fprintf(os.Stderr, "audit webhook listens on %s\n", listener.Addr())
	a.sources = append(a.sources, func(ctx context.Context) error { return door.serve(ctx, listener) })
	return a, nil
}

// auditDoor is the webhook's server.
type auditDoor struct {
	server  *http.Server
	webhook *audit.Webhook
	gate    *connections.Gate
}

// newAuditDoor reads the files that the settings name.
func newAuditDoor(c config.AuditWebhook, own *enrol.Server, gate *connections.Gate, intake *audit.Intake, log *zap.Logger) (*auditDoor, error) {
	trust := &tls.Config{
		MinVersion: tls.VersionTLS13, // every API server that speaks audit.k8s.io/v1 and is maintained does
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return own.Source().Material().Certificate, nil
		},
		SessionTicketsDisabled: true,
	}
	allowed, err := auditCallers(c, trust)
	if err != nil {
		return nil, fmt.Errorf("audit.webhook: %w", err)
	}
	d, log := &auditDoor{gate: gate}, sampled(log)
	d.webhook = audit.NewWebhook(config.AuditWebhookName, intake, func(r *http.Request) bool {
		peer, ok := allowed(r)
		if !ok {
			return false
		}
		c, _ := r.Context().Value(connKey{}).(net.Conn)
		return d.gate.Know(c, "audit "+peer) == nil
	}, log)
	d.server = &http.Server{
		Handler: d.webhook, TLSConfig: trust, MaxHeaderBytes: maxHeaderBytes,
		ReadHeaderTimeout: handshakeTimeout, ReadTimeout: auditReadTimeout, WriteTimeout: auditWriteTimeout, IdleTimeout: idleTimeout,
		HTTP2:    &http.HTTP2Config{MaxConcurrentStreams: auditStreams, SendPingTimeout: pingAfter, PingTimeout: pingTimeout},
		ErrorLog: stdlog.New(complaints{log}, "", 0),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			if secured, ok := c.(*tls.Conn); ok {
				c = secured.NetConn()
			}
			return context.WithValue(ctx, connKey{}, c)
		},
	}
	return d, nil
}

// complaints takes what net/http has to say, such as of handshakes that failed.
type complaints struct{ log *zap.Logger }

// Write implements io.Writer.
func (c complaints) Write(line []byte) (int, error) {
	c.log.Warn("audit webhook", zap.ByteString("problem", bytes.TrimSpace(line)))
	return len(line), nil
}

// connKey is of a request's connection.
type connKey struct{}

// auditCallers says who may send, and under which name his connections are counted.
func auditCallers(c config.AuditWebhook, trust *tls.Config) (func(*http.Request) (peer string, ok bool), error) {
	if c.TokenFile != "" {
		token, err := tlsconf.ReadFile(c.TokenFile)
		if err != nil {
			return nil, err
		}
		if token = bytes.TrimSpace(token); len(token) < minTokenBytes {
			return nil, fmt.Errorf("the token in %s has %d bytes, fewer than %d", c.TokenFile, len(token), minTokenBytes)
		}
		bearer := audit.Bearer(string(token))
		return func(r *http.Request) (string, bool) { return "token", bearer(r) }, nil
	}
	roots, err := tlsconf.LoadRoots(c.ClientCAFile)
	if err != nil {
		return nil, err
	}
	trust.ClientAuth, trust.ClientCAs = tls.RequireAndVerifyClientCert, x509.NewCertPool()
	for _, root := range roots {
		trust.ClientCAs.AddCert(root)
	}
	return func(r *http.Request) (string, bool) {
		if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
			return "", false
		}
		leaf := r.TLS.PeerCertificates[0]
		// A CA of ours makes certificates for agents and readers: they say nothing of API servers.
		_, err := tlsconf.IdentityOf(leaf)
		named := len(c.ClientNames) == 0 || slices.Contains(c.ClientNames, leaf.Subject.CommonName)
		return leaf.Subject.CommonName, err != nil && named && time.Now().Before(leaf.NotAfter)
	}, nil
}

// serve answers until ctx ends. Then nothing new is taken, and what is being stored is
// stored, before it returns.
func (d *auditDoor) serve(ctx context.Context, listener net.Listener) error {
	ended := make(chan error, 1)
	stopped := context.AfterFunc(ctx, func() {
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopGrace)
		defer cancel()
		err := d.server.Shutdown(grace)
		if errors.Is(err, context.DeadlineExceeded) { // somebody sends slowly: he comes again
			err = d.server.Close()
		}
		d.webhook.Wait()
		ended <- err
	})
	err := d.server.ServeTLS(d.gate.ListenBytes(listener, auditStrangerBytes), "", "")
	if stopped() { // it ended by itself
		return fmt.Errorf("serve the audit webhook: %w", errors.Join(err, d.server.Close()))
	}
	return <-ended
}
