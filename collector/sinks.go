package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/seawall-security/seawall/collector/config"
	"github.com/seawall-security/seawall/collector/sink"
	"github.com/seawall-security/seawall/internal/obs"
	"github.com/seawall-security/seawall/internal/tlsconf"
	alertv1 "github.com/seawall-security/seawall/proto/alert/v1"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

// newDeliveries makes the configured sinks, each with its own place in the store.
func newDeliveries(c config.Config, source sink.Source, log *zap.Logger, metrics prometheus.Registerer) ([]*sink.Delivery, error) {
	var all []*sink.Delivery
	for _, s := range c.Sinks {
		out, err := newSink(s)
		if err != nil {
			return nil, err
		}
		if err := os.MkdirAll(deadPath(c), 0o700); err != nil {
			return nil, fmt.Errorf("make folder for what sinks give up: %w", err)
		}
		d, err := sink.New(sink.Options{
			Name: s.Name, Sink: out, Source: source, FromNow: s.FromNow,
			Filter:         &alertv1.Filter{MinimumSeverity: severity(s.MinimumSeverity)},
			DeadLetterPath: filepath.Join(deadPath(c), s.Name+".jsonl"),
			Log:            log.Named("sink"), Metrics: metrics,
		})
		if err != nil {
			return nil, fmt.Errorf("sink %s: %w", s.Name, err)
		}
		all = append(all, d)
	}
	return all, nil
}

// newSink opens and connects nothing yet, but reads the files with secrets and roots.
func newSink(s config.Sink) (out sink.Sink, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("sink %s: %w", s.Name, err)
		}
	}()
	trust, err := receiver(s.Roots)
	if err != nil {
		return nil, err
	}
	switch s.Kind {
	case config.File:
		return sink.NewFile(sink.FileOptions{Path: s.Path, Format: format(s.Form)})
	case config.Syslog:
		host, err := os.Hostname()
		if err != nil {
			return nil, err
		}
		return sink.NewSyslog(sink.SyslogOptions{Transport: s.Transport, Address: s.Address, TLS: trust, Hostname: host, Text: format(s.Form)})
	}
	o := sink.WebhookOptions{URL: s.URL, Format: format(s.Form), TLS: trust, Version: obs.Version(), Header: http.Header{}}
	if s.SecretFile != "" {
		if o.Secret, err = tlsconf.ReadFile(s.SecretFile); err != nil {
			return nil, err
		}
		o.Secret = bytes.TrimSpace(o.Secret)
	}
	if s.AuthorizationFile != "" {
		value, err := tlsconf.ReadFile(s.AuthorizationFile)
		if err != nil {
			return nil, err
		}
		o.Header.Set("Authorization", string(bytes.TrimSpace(value)))
	}
	return sink.NewWebhook(o)
}

// receiver is whom a sink trusts; nil: whom the system does.
func receiver(path string) (*tls.Config, error) {
	if path == "" {
		return nil, nil
	}
	roots, err := tlsconf.LoadRoots(path)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	for _, root := range roots {
		pool.AddCert(root)
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool}, nil // receivers are others' products
}

func format(form config.Form) sink.Format {
	switch form {
	case config.JSON:
		return sink.JSON
	case config.Text:
		return sink.Summary
	}
	return sink.OCSF(obs.Version())
}

// severity is the one of a word; none: all pass.
func severity(word string) sensorv1.Severity {
	return sensorv1.Severity(slices.Index(config.Severities, word) + int(sensorv1.Severity_SEVERITY_INFO))
}

// checkConfig says whether the settings can be used, with the files they name.
func checkConfig(c config.Config, out io.Writer) error {
	for _, s := range c.Sinks {
		if _, err := newSink(s); err != nil {
			return err
		}
	}
	if _, err := newReviewer(c.Enrolment.Kubernetes, os.Getenv); err != nil {
		return err
	}
	if c.Audit.Webhook.Listen != "" {
		if _, err := auditCallers(c.Audit.Webhook, &tls.Config{}); err != nil {
			return fmt.Errorf("audit.webhook: %w", err)
		}
	}
	_, err := fmt.Fprintf(out, "configuration is usable, %d sinks\n", len(c.Sinks))
	return err
}
