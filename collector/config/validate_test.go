package config

import (
	"strings"
	"testing"
	"time"
)

func TestValidate(t *testing.T) {
	withSink := func(change func(*Sink)) func(*Config) {
		return func(c *Config) {
			s := Sink{Name: "a", Kind: File, Form: OCSF, Path: "/x"}
			change(&s)
			c.Sinks = []Sink{s}
		}
	}
	syslog := func(s *Sink) { s.Kind, s.Path, s.Transport, s.Address = Syslog, "", "udp", "siem:514" }
	webhook := func(s *Sink) { s.Kind, s.Path, s.URL = Webhook, "", "https://siem.example/x" }
	kubernetes := func(change func(*Kubernetes)) func(*Config) {
		return func(c *Config) {
			c.Enrolment.Kubernetes = Kubernetes{Check: Keys, Audience: "seawall", ServiceAccounts: []string{"seawall/agent"}, JWKSFile: "/x", Issuer: "https://c"}
			change(&c.Enrolment.Kubernetes)
		}
	}
	review := func(k *Kubernetes) {
		k.Check, k.JWKSFile, k.Issuer = Review, "", ""
		k.Server, k.TokenFile, k.CAFile = "https://192.0.2.1:6443", "/t", "/c"
	}
	const webhookSection = "audit.webhook."
	audit := func(change func(*Audit)) func(*Config) {
		return func(c *Config) {
			c.Names = []string{"collector.example"}
			c.Audit.Webhook = AuditWebhook{Listen: "0.0.0.0:9444", TokenFile: "/token"}
			change(&c.Audit)
		}
	}
	const section = "enrolment.kubernetes."
	for _, test := range []struct {
		name   string
		change func(*Config)
		field  string // "": valid
	}{
		{"defaults", func(*Config) {}, ""},
		{"no cluster", func(c *Config) { c.Cluster = "" }, "cluster"},
		{"cluster of two words", func(c *Config) { c.Cluster = "a b" }, "cluster"},
		{"relative folder", func(c *Config) { c.DataDir = "data" }, "data_dir"},
		{"all addresses, named", func(c *Config) { c.Listen = "[::]:9443" }, ""},
		{"all addresses by omission", func(c *Config) { c.Listen = ":9443" }, "listen"},
		{"port out of range", func(c *Config) { c.Listen = "127.0.0.1:65536" }, "listen"},
		{"name of two words", func(c *Config) { c.Names = []string{"a.example", "a b"} }, "names"},
		{"no server", func(c *Config) { c.Admin.Address = "" }, ""},
		{"profiles for everybody", func(c *Config) { c.Admin.Profiling, c.Admin.Address = true, "0.0.0.0:1" }, "admin.profiling"},
		{"loud", func(c *Config) { c.Log.Level = "loud" }, "log.level"},
		{"small log", func(c *Config) { c.EventLog.MaxBytes, c.EventLog.KeepBytes = 1, 0 }, "event_log.max_bytes"},
		{"nothing kept", func(c *Config) { c.EventLog.Keep, c.EventLog.KeepBytes = 0, 0 }, ""},
		{"kept for ever", func(c *Config) { c.EventLog.Keep = 10 * maxKeep }, "event_log.keep"},
		{"kept in the past", func(c *Config) { c.EventLog.Keep = -time.Second }, "event_log.keep"},
		{"no room for what comes", func(c *Config) { c.EventLog.KeepBytes = c.EventLog.MaxBytes }, "event_log.keep_bytes"},
		{"no bound", func(c *Config) { c.Retention.Alerts = Bound{} }, ""},
		{"negative days", func(c *Config) { c.Retention.Alerts.Days = -1 }, "retention.alerts.days"},
		{"negative bytes", func(c *Config) { c.Retention.Revisions.Bytes = -1 }, "retention.revisions.bytes"},

		{"keys", kubernetes(func(*Kubernetes) {}), ""},
		{"review", kubernetes(review), ""},
		{"review behind a proxy's path", kubernetes(func(k *Kubernetes) { review(k); k.Server += "/k8s/clusters/c-1" }), ""},
		{"review of the own cluster", kubernetes(func(k *Kubernetes) { review(k); k.Server, k.TokenFile, k.CAFile = "", "", "" }), ""},
		{"trust without a check", kubernetes(func(k *Kubernetes) { k.Check, k.JWKSFile, k.Issuer = "none", "", "" }), section + "check"},
		{"accounts without a check", func(c *Config) { c.Enrolment.Kubernetes.ServiceAccounts = []string{"a/b"} }, section + "service_accounts"},
		{"audience without a check", func(c *Config) { c.Enrolment.Kubernetes.Audience = "a" }, section + "audience"},
		{"any audience", kubernetes(func(k *Kubernetes) { k.Audience = "" }), section + "audience"},
		{"any account", kubernetes(func(k *Kubernetes) { review(k); k.ServiceAccounts = nil }), section + "service_accounts"},
		{"account of no namespace", kubernetes(func(k *Kubernetes) { k.ServiceAccounts = []string{"a/b", "agent"} }), section + "service_accounts"},
		{"accounts by a pattern", kubernetes(func(k *Kubernetes) { k.ServiceAccounts = []string{"seawall/*"} }), section + "service_accounts"},
		{"account as users are called", kubernetes(func(k *Kubernetes) { k.ServiceAccounts = []string{"system:serviceaccount:a/b"} }), section + "service_accounts"},
		{"keys without keys", kubernetes(func(k *Kubernetes) { k.JWKSFile = "" }), section + "jwks_file"},
		{"keys in a relative file", kubernetes(func(k *Kubernetes) { k.JWKSFile = "jwks.json" }), section + "jwks_file"},
		{"keys of any issuer", kubernetes(func(k *Kubernetes) { k.Issuer = "" }), section + "issuer"},
		{"keys and a server", kubernetes(func(k *Kubernetes) { k.Server = "https://x" }), section + "server"},
		{"review and an issuer", kubernetes(func(k *Kubernetes) { review(k); k.Issuer = "i" }), section + "issuer"},
		{"review in the clear", kubernetes(func(k *Kubernetes) { review(k); k.Server = "http://x" }), section + "server"},
		{"review with a password", kubernetes(func(k *Kubernetes) { review(k); k.Server = "https://a:b@x" }), section + "server"},
		{"review without a token", kubernetes(func(k *Kubernetes) { review(k); k.TokenFile = "" }), section + "token_file"},
		{"review of any CA", kubernetes(func(k *Kubernetes) { review(k); k.CAFile = "" }), section + "ca_file"},
		{"review of the own cluster by another CA", kubernetes(func(k *Kubernetes) { review(k); k.Server, k.TokenFile = "", "" }), section + "server"},

		{"audit by token", audit(func(*Audit) {}), ""},
		{"audit by certificate", audit(func(a *Audit) {
			a.Webhook.TokenFile, a.Webhook.ClientCAFile, a.Webhook.ClientNames = "", "/ca", []string{"apiserver"}
		}), ""},
		{"audit by files alone", func(c *Config) { c.Audit.Files = []AuditFile{{"a", "/a"}, {"b", "/b"}} }, ""},
		{"audit from anybody", audit(func(a *Audit) { a.Webhook.TokenFile = "" }), webhookSection + "token_file"},
		{"audit by either", audit(func(a *Audit) { a.Webhook.ClientCAFile = "/ca" }), webhookSection + "token_file"},
		{"audit at no address", audit(func(a *Audit) { a.Webhook.Listen = "" }), webhookSection + "listen"},
		{"audit at a name", audit(func(a *Audit) { a.Webhook.Listen = "here:1" }), webhookSection + "listen"},
		{"audit by a relative token", audit(func(a *Audit) { a.Webhook.TokenFile = "token" }), webhookSection + "token_file"},
		{"audit by names without a CA", audit(func(a *Audit) { a.Webhook.ClientNames = []string{"x"} }), webhookSection + "client_names"},
		{"audit of a server without a name", func(c *Config) { audit(func(*Audit) {})(c); c.Names = nil }, "names"},
		{"audit file of no name", audit(func(a *Audit) { a.Files = []AuditFile{{"", "/a"}} }), "audit.files[0].name"},
		{"audit file of the webhook's name", audit(func(a *Audit) { a.Files = []AuditFile{{"webhook", "/a"}} }), "audit.files[0].name"},
		{"relative audit file", audit(func(a *Audit) { a.Files = []AuditFile{{"a", "a"}} }), "audit.files[0].path"},
		{"audit file twice", audit(func(a *Audit) { a.Files = []AuditFile{{"a", "/a"}, {"b", "/a"}} }), "audit.files[1].path"},

		{"file", withSink(func(*Sink) {}), ""},
		{"syslog", withSink(syslog), ""},
		{"webhook", withSink(webhook), ""},
		{"nameless", withSink(func(s *Sink) { s.Name = "" }), "sinks[0].name"},
		{"of no kind", withSink(func(s *Sink) { s.Kind, s.Path = "", "" }), "sinks[0].kind"},
		{"of no form", withSink(func(s *Sink) { s.Form = "xml" }), "sinks[0].form"},
		{"text to a webhook", withSink(func(s *Sink) { webhook(s); s.Form = Text }), "sinks[0].form"},
		{"no severity", withSink(func(s *Sink) { s.MinimumSeverity = "urgent" }), "sinks[0].minimum_severity"},
		{"relative file", withSink(func(s *Sink) { s.Path = "x" }), "sinks[0].path"},
		{"file with an address", withSink(func(s *Sink) { s.Address = "siem:514" }), "sinks[0].address"},
		{"syslog over pigeons", withSink(func(s *Sink) { syslog(s); s.Transport = "pigeon" }), "sinks[0].transport"},
		{"syslog without port", withSink(func(s *Sink) { syslog(s); s.Address = "siem" }), "sinks[0].address"},
		{"webhook by mail", withSink(func(s *Sink) { webhook(s); s.URL = "mailto:soc@example" }), "sinks[0].url"},
		{"webhook with relative secret", withSink(func(s *Sink) { webhook(s); s.SecretFile = "secret" }), "sinks[0].secret_file"},
		{"two of a name", func(c *Config) {
			c.Sinks = []Sink{{Name: "a", Kind: File, Form: OCSF, Path: "/x"}, {Name: "a", Kind: File, Form: JSON, Path: "/y"}}
		}, "sinks[1].name"},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := told(test.change).Validate()
			if test.field == "" {
				if err != nil {
					t.Errorf("refused: %v", err)
				}
				return
			}
			if err == nil || !strings.HasPrefix(err.Error(), test.field+": ") || strings.Contains(err.Error(), "\n") {
				t.Errorf("got %v, want one problem of %s", err, test.field)
			}
		})
	}
}
