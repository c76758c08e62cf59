package config

import (
	"bytes"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seawall-security/seawall/internal/tlsconf"
)

// write puts a configuration file into the test's folder.
func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "collector.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func told(change func(*Config)) Config {
	c := Default()
	change(&c)
	return c
}

func TestParse(t *testing.T) {
	file := write(t, `
cluster: harbour
listen: 0.0.0.0:9443
names: [collector.example, 192.0.2.1]
enrolment:
  kubernetes:
    check: review
    audience: seawall
    service_accounts: [seawall/agent]
event_log: {keep: 2h}
retention:
  alerts: {days: 30}
agents: {telemetry: trees}
audit:
  webhook: {listen: "0.0.0.0:9444", token_file: /etc/seawall/audit.token}
  files: [{name: cp-1, path: /var/log/kubernetes/audit.log}]
sinks:
  - {name: archive, kind: file, path: /var/log/seawall/alerts.json}
  - {name: soc, kind: syslog, form: text, transport: tls, address: "siem:6514", minimum_severity: high}
`)
	fromFile := func(change func(*Config)) Config {
		return told(func(c *Config) {
			c.Cluster, c.Listen, c.Names = "harbour", "0.0.0.0:9443", []string{"collector.example", "192.0.2.1"}
			c.Enrolment.Kubernetes = Kubernetes{Check: Review, Audience: "seawall", ServiceAccounts: []string{"seawall/agent"}}
			c.EventLog.Keep, c.Retention.Alerts.Days, c.Agents.Telemetry = 2*time.Hour, 30, "trees"
			c.Audit = Audit{Webhook: AuditWebhook{Listen: "0.0.0.0:9444", TokenFile: "/etc/seawall/audit.token"},
				Files: []AuditFile{{"cp-1", "/var/log/kubernetes/audit.log"}}}
			c.Sinks = []Sink{
				{Name: "archive", Kind: File, Form: OCSF, Path: "/var/log/seawall/alerts.json"},
				{Name: "soc", Kind: Syslog, Form: Text, Transport: "tls", Address: "siem:6514", MinimumSeverity: "high"},
			}
			change(c)
		})
	}
	nothing := func(*Config) {}
	for _, test := range []struct {
		name, args string
		want       Config
		command    Command
	}{
		{"nothing", "", Default(), Command{}},
		{"file", "--config " + file, fromFile(nothing), Command{}},
		{"flags override the file", "--listen 127.0.0.1:0 --config " + file + " --name a --name b --log-level debug",
			fromFile(func(c *Config) { c.Listen, c.Names, c.Log.Level = "127.0.0.1:0", []string{"a", "b"}, "debug" }), Command{}},
		{"check", "--check-config --config " + file, fromFile(nothing), Command{Verb: CheckConfig}},
		{"version", "version", Default(), Command{Verb: Version}},
		{"token", "token create", Default(), Command{Verb: TokenCreate, TTL: 24 * time.Hour, Uses: 1}},
		{"token for many", "token create --uses 40 --ttl 1h --config " + file, fromFile(nothing), Command{Verb: TokenCreate, TTL: time.Hour, Uses: 40}},
		{"tokens", "token list --data-dir /tmp/x", told(func(c *Config) { c.DataDir = "/tmp/x" }), Command{Verb: TokenList}},
		{"end of a token", "token revoke 0123456789abcdef", Default(), Command{Verb: TokenRevoke, Object: "0123456789abcdef"}},
		{"end of an agent", "agent revoke a-b --cluster c", told(func(c *Config) { c.Cluster = "c" }), Command{Verb: AgentRevoke, Object: "a-b"}},
		{"lost log", "log abandon", Default(), Command{Verb: LogAbandon}},
		{"end of a client", "client revoke siem", Default(), Command{Verb: ClientRevoke, Object: "siem"}},
		{"client", "client create siem --role operator --out /tmp/x", Default(),
			Command{Verb: ClientCreate, Object: "siem", Role: tlsconf.Operator, Out: "/tmp/x"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, command, err := Parse(strings.Fields(test.args), io.Discard)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("configuration (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(test.command, command); diff != "" {
				t.Errorf("command (-want +got):\n%s", diff)
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	bad := write(t, "agents: {telemetry: some}\nlog: {level: loud}\nlisten: nowhere\nsinks:\n  - name: a\n    kind: file\n    form: xml\n")
	for _, test := range []struct{ args, want string }{
		{"token", `unknown command "token"`},
		{"token burn", `unknown command "token burn"`},
		{"token revoke", "token revoke needs ID"},
		{"token revoke --cluster c", "token revoke needs ID"},
		{"client create", "client create needs NAME"},
		{"client create a --role admin", `--role "admin" is neither viewer nor operator`},
		{"token create --listen 127.0.0.1:1", "flag provided but not defined"},
		{"--uses 3", "flag provided but not defined"},
		{"version now", "version takes none"},
		{"--config /nowhere/x.yaml", "/nowhere/x.yaml"},
		{"--config " + bad, bad + ":1: agents.telemetry"},
		{"--config " + bad, bad + ":2: log.level"},
		{"--config " + bad, bad + ":3: listen"},
		{"--config " + bad, "sinks[0].path: is missing"},
		{"--config " + bad, bad + ":7: sinks[0].form"},
		{"--config " + bad + " --listen x", "--listen"},
	} {
		if _, _, err := Parse(strings.Fields(test.args), io.Discard); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: want an error about %q, got %v", test.args, test.want, err)
		}
	}
}

func TestHelp(t *testing.T) {
	for _, args := range []string{"--help", "token create -h", "client create --help"} {
		var out bytes.Buffer
		if _, _, err := Parse(strings.Fields(args), &out); !errors.Is(err, flag.ErrHelp) || !strings.Contains(out.String(), "token create") {
			t.Errorf("%s: %v, %s", args, err, out.String())
		}
	}
}
