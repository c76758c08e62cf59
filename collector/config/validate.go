package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/seawall-security/seawall/collector/enrol"
	"github.com/seawall-security/seawall/collector/sink"
	"github.com/seawall-security/seawall/internal/obs"
	"github.com/seawall-security/seawall/internal/settings"
	"github.com/seawall-security/seawall/internal/tlsconf"
)

// Bounds of what may be asked for.
const (
	// Room for a few hundred batches; less would hold agents back all the time.
	minEventLogBytes = 64 << 20
	maxEventLogBytes = 1 << 50
	maxKeep          = 366 * 24 * time.Hour
	maxDays          = 3660
	maxSinks         = 32
	maxConnections   = 1 << 20
	maxAuditFiles    = 32
	maxRenewalGrace  = 90 * 24 * time.Hour
)

// Severities are the words for a minimum, the least first.
var Severities = []string{"info", "low", "medium", "high", "critical"}

// Telemetries are the words for what goes up beside detections, the least first.
var Telemetries = []string{"none", "trees", "all"}

// Validate reports every setting that cannot be used: nil, or *settings.FieldError
// values joined.
func (c Config) Validate() error {
	var p settings.Problems
	require(&p, "cluster", tlsconf.CheckCluster(c.Cluster))
	p.Require(filepath.IsAbs(c.DataDir), "data_dir", "%q is not an absolute path", c.DataDir)
	address(&p, "listen", c.Listen)
	for _, name := range c.Names {
		require(&p, "names", enrol.CheckName(name))
	}
	c.Enrolment.Kubernetes.validate(&p)
	c.Admin.validate(&p)
	settings.OneOf(&p, "log.level", c.Log.Level, obs.Levels...)

	e := c.EventLog
	settings.Within(&p, "event_log.max_bytes", e.MaxBytes, minEventLogBytes, maxEventLogBytes)
	settings.Within(&p, "event_log.keep", e.Keep, 0, maxKeep)
	p.Require(e.KeepBytes >= 0 && e.KeepBytes <= e.MaxBytes/4*3, "event_log.keep_bytes",
		"%d is not from 0 to three quarters of event_log.max_bytes (%d): the rest is for what comes", e.KeepBytes, e.MaxBytes)
	for field, bound := range map[string]Bound{"retention.alerts": c.Retention.Alerts, "retention.revisions": c.Retention.Revisions} {
		settings.Within(&p, field+".days", bound.Days, 0, maxDays)
		p.Require(bound.Bytes >= 0, field+".bytes", "%d is below 0", bound.Bytes)
	}
	settings.Within(&p, "connections.max", c.Connections.Max, 16, maxConnections)
	settings.Within(&p, "connections.strangers", c.Connections.Strangers, 8, maxConnections)
	settings.Within(&p, "connections.strangers_per_address", c.Connections.StrangersPerAddress, 1, maxConnections)
	settings.Within(&p, "enrolment.renewal_grace", c.Enrolment.RenewalGrace, 0, maxRenewalGrace)
	if c.Agents.Telemetry != "" {
		settings.OneOf(&p, "agents.telemetry", c.Agents.Telemetry, Telemetries...)
	}
	c.Audit.validate(&p, c.Names)
	p.Require(len(c.Sinks) <= maxSinks, "sinks", "there are %d, more than %d", len(c.Sinks), maxSinks)
	names := make(map[string]bool)
	for i, s := range c.Sinks {
		s.validate(&p, fmt.Sprintf("sinks[%d]", i))
		p.Require(!names[s.Name], fmt.Sprintf("sinks[%d].name", i), "%q is another sink's, too", s.Name)
		names[s.Name] = true
	}
	return errors.Join(p...)
}

func require(p *settings.Problems, field string, err error) {
	p.Require(err == nil, field, "%v", err)
}

// address requires an address of this host's and a port.
func address(p *settings.Problems, field, value string) (host string, ip netip.Addr, ok bool) {
	host, port, err := net.SplitHostPort(value)
	if err != nil {
		p.Require(false, field, "%q is not host:port", value)
		return "", netip.Addr{}, false
	}
	_, err = strconv.ParseUint(port, 10, 16)
	p.Require(err == nil, field, "port %q is not a number from 0 to 65535", port)
	ip, err = netip.ParseAddr(host)
	p.Require(host == "localhost" || err == nil, field, "%q is not an IP address; 0.0.0.0 and [::] stand for all", host)
	return host, ip, true
}

func (a Admin) validate(p *settings.Problems) {
	if a.Address == "" {
		p.Require(!a.Profiling, "admin.profiling", "needs admin.address")
		return
	}
	if host, ip, ok := address(p, "admin.address", a.Address); ok {
		p.Require(!a.Profiling || host == "localhost" || ip.IsLoopback(), "admin.profiling",
			"shows the collector's memory: only on a loopback address, not on %s", a.Address)
	}
}

// account is namespace/name, as Kubernetes lets them be called.
var account = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?/[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$`)

func (k Kubernetes) validate(p *settings.Problems) {
	const section = "enrolment.kubernetes."
	if k.Check != "" {
		settings.OneOf(p, section+"check", k.Check, Keys, Review)
		p.Require(k.Audience != "", section+"audience", "is missing: tokens made for others must not do")
		p.Require(len(k.ServiceAccounts) > 0, section+"service_accounts", "is missing: nobody could enrol")
	}
	for _, name := range k.ServiceAccounts {
		p.Require(account.MatchString(name), section+"service_accounts", "%q is not namespace/name", name)
	}
	// What another check has is a mistake, not something to be passed over.
	for _, one := range []struct {
		name, value string
		check       Check // empty: any
	}{
		{"audience", k.Audience, ""}, {"service_accounts", strings.Join(k.ServiceAccounts, ","), ""},
		{"jwks_file", k.JWKSFile, Keys}, {"issuer", k.Issuer, Keys},
		{"server", k.Server, Review}, {"token_file", k.TokenFile, Review}, {"ca_file", k.CAFile, Review},
	} {
		switch {
		case one.value == "":
		case k.Check == "":
			p.Require(false, section+one.name, "needs %scheck", section)
		case one.check != "" && one.check != k.Check:
			p.Require(false, section+one.name, "is nothing that check: %s has", k.Check)
		}
	}
	for _, file := range []struct{ name, path string }{{"jwks_file", k.JWKSFile}, {"token_file", k.TokenFile}, {"ca_file", k.CAFile}} {
		p.Require(file.path == "" || filepath.IsAbs(file.path), section+file.name, "%q is not an absolute path", file.path)
	}
	switch {
	case k.Check == Keys:
		p.Require(k.JWKSFile != "", section+"jwks_file", "is missing")
		p.Require(k.Issuer != "", section+"issuer", "is missing")
	case k.Check == Review && k.Server != "":
		u, err := url.Parse(k.Server)
		p.Require(err == nil && u.Scheme == "https" && u.Host != "" && u.User == nil && u.RawQuery == "" && u.Fragment == "",
			section+"server", "is no URL like https://host:port") // not shown: it may hold a password
		p.Require(k.TokenFile != "", section+"token_file", "is missing: server, token_file and ca_file need each other")
		p.Require(k.CAFile != "", section+"ca_file", "is missing: server, token_file and ca_file need each other")
	case k.Check == Review:
		p.Require(k.TokenFile == "" && k.CAFile == "", section+"server", "is missing: server, token_file and ca_file need each other")
	}
}

func (a Audit) validate(p *settings.Problems, names []string) {
	const section = "audit.webhook."
	w := a.Webhook
	for _, file := range []struct{ name, path string }{{"token_file", w.TokenFile}, {"client_ca_file", w.ClientCAFile}} {
		p.Require(file.path == "" || filepath.IsAbs(file.path), section+file.name, "%q is not an absolute path", file.path)
	}
	p.Require(len(w.ClientNames) == 0 || w.ClientCAFile != "", section+"client_names", "needs client_ca_file")
	switch {
	case w.Listen == "":
		p.Require(w.TokenFile == "" && w.ClientCAFile == "", section+"listen", "is missing")
	default:
		address(p, section+"listen", w.Listen)
		p.Require(w.TokenFile != "" || w.ClientCAFile != "", section+"token_file", "is missing, and so is client_ca_file: anybody could send")
		p.Require(w.TokenFile == "" || w.ClientCAFile == "", section+"token_file", "and client_ca_file exclude each other")
		p.Require(len(names) > 0, "names", "is missing: API servers check the name of the audit webhook's server")
	}
	p.Require(len(a.Files) <= maxAuditFiles, "audit.files", "there are %d, more than %d", len(a.Files), maxAuditFiles)
	known := map[string]bool{AuditWebhookName: true}
	paths := map[string]bool{}
	for i, f := range a.Files {
		field := fmt.Sprintf("audit.files[%d]", i)
		require(p, field+".name", sink.CheckName(f.Name))
		p.Require(!known[f.Name], field+".name", "%q is another source's, too", f.Name)
		p.Require(filepath.IsAbs(f.Path), field+".path", "%q is not an absolute path", f.Path)
		p.Require(!paths[f.Path], field+".path", "%q is another source's, too", f.Path)
		known[f.Name], paths[f.Path] = true, true
	}
}

func (s Sink) validate(p *settings.Problems, field string) {
	require(p, field+".name", sink.CheckName(s.Name))
	settings.OneOf(p, field+".kind", s.Kind, File, Syslog, Webhook)
	settings.OneOf(p, field+".form", s.Form, OCSF, JSON, Text)
	p.Require(s.Form != Text || s.Kind != Webhook, field+".form", "webhooks take ocsf or json")
	if s.MinimumSeverity != "" {
		settings.OneOf(p, field+".minimum_severity", s.MinimumSeverity, Severities...)
	}
	// What another kind has is a mistake, not something to be passed over.
	for _, one := range []struct {
		name, value string
		kinds       []Kind
	}{
		{"path", s.Path, []Kind{File}},
		{"transport", s.Transport, []Kind{Syslog}}, {"address", s.Address, []Kind{Syslog}},
		{"url", s.URL, []Kind{Webhook}}, {"secret_file", s.SecretFile, []Kind{Webhook}}, {"authorization_file", s.AuthorizationFile, []Kind{Webhook}},
		{"roots", s.Roots, []Kind{Syslog, Webhook}},
	} {
		has := false
		for _, kind := range one.kinds {
			has = has || s.Kind == kind
		}
		p.Require(one.value == "" || has, field+"."+one.name, "is nothing that a sink of kind %q has", s.Kind)
	}
	for _, file := range []struct{ name, path string }{
		{"path", s.Path}, {"secret_file", s.SecretFile}, {"authorization_file", s.AuthorizationFile}, {"roots", s.Roots},
	} {
		p.Require(file.path == "" || filepath.IsAbs(file.path), field+"."+file.name, "%q is not an absolute path", file.path)
	}
	switch s.Kind {
	case File:
		p.Require(s.Path != "", field+".path", "is missing")
	case Syslog:
		settings.OneOf(p, field+".transport", s.Transport, sink.SyslogTLS, sink.SyslogTCP, sink.SyslogUDP)
		_, _, err := net.SplitHostPort(s.Address)
		p.Require(err == nil, field+".address", "%q is not host:port", s.Address)
	case Webhook:
		u, err := url.Parse(s.URL)
		p.Require(err == nil && u.Host != "" && (u.Scheme == "https" || u.Scheme == "http"), field+".url", "is no URL of https or http") // not shown: it may hold a token
	}
}
