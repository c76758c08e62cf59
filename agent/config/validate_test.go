package config

import (
	"strings"
	"testing"
	"time"

	"github.com/seawall-security/seawall/internal/tlsconf"
)

func TestDefaultsAreValid(t *testing.T) {
	if err := told(func(*Config) {}).Validate(); err != nil {
		t.Error(err)
	}
}

func TestValidate(t *testing.T) {
	token := tlsconf.NewJoinToken(tlsconf.Pin{}).Reveal()
	for _, test := range []struct {
		name   string
		change func(*Config)
		field  string // "": valid
	}{
		{"no server", func(c *Config) { c.Admin.Address = "" }, ""},
		{"any port", func(c *Config) { c.Admin.Address = "127.0.0.1:0" }, ""},
		{"all addresses, named", func(c *Config) { c.Admin.Address = "0.0.0.0:9464" }, ""},
		{"all addresses by omission", func(c *Config) { c.Admin.Address = ":9464" }, "admin.address"},
		{"no port", func(c *Config) { c.Admin.Address = "127.0.0.1" }, "admin.address"},
		{"port out of range", func(c *Config) { c.Admin.Address = "127.0.0.1:65536" }, "admin.address"},
		{"profiles on loopback", func(c *Config) { c.Admin.Profiling, c.Admin.Address = true, "[::1]:9464" }, ""},
		{"profiles on localhost", func(c *Config) { c.Admin.Profiling, c.Admin.Address = true, "localhost:9464" }, ""},
		{"profiles for everybody", func(c *Config) { c.Admin.Profiling, c.Admin.Address = true, "0.0.0.0:9464" }, "admin.profiling"},
		{"profiles without server", func(c *Config) { c.Admin.Profiling, c.Admin.Address = true, "" }, "admin.profiling"},
		{"empty rule path", func(c *Config) { c.Rules = []string{"a", ""} }, "rules"},
		{"empty key path", func(c *Config) { c.BundleKeys = []string{""} }, "bundle_keys"},
		{"no node", func(c *Config) { c.Node = "" }, "node"},
		{"node of control characters", func(c *Config) { c.Node = "a\nb" }, "node"},
		{"node of wrong UTF-8", func(c *Config) { c.Node = "a\xff" }, "node"},
		{"endless node", func(c *Config) { c.Node = strings.Repeat("n", maxNodeBytes+1) }, "node"},
		{"relative state", func(c *Config) { c.StateDir = "state" }, "state_dir"},
		{"printed and reported", func(c *Config) { c.Collector.Address = "hub:1" }, ""},
		{"reported only", func(c *Config) { c.Standalone, c.Collector.Address = false, "[::1]:1" }, ""},
		{"neither", func(c *Config) { c.Standalone = false }, "collector.address"},
		{"a collector without port", func(c *Config) { c.Collector.Address = "hub" }, "collector.address"},
		{"a token", func(c *Config) { c.Collector = Collector{Address: "hub:1", JoinToken: token} }, ""},
		{"a token that is none", func(c *Config) { c.Collector = Collector{Address: "hub:1", JoinToken: token[:40]} }, "collector.join_token"},
		{"a token for nobody", func(c *Config) { c.Collector.JoinToken = token }, "collector.join_token"},
		{"a token and a file", func(c *Config) { c.Collector = Collector{Address: "hub:1", JoinToken: token, JoinTokenFile: "f"} }, "collector.join_token_file"},
		{"tokens of two sorts", func(c *Config) {
			c.Collector = Collector{Address: "hub:1", JoinTokenFile: "f", ServiceAccountToken: "s", CA: "ca"}
		}, "collector.service_account_token"},
		{"a service account", func(c *Config) { c.Collector = Collector{Address: "hub:1", ServiceAccountToken: "s", CA: "ca"} }, ""},
		{"a service account, to be shown to anybody", func(c *Config) { c.Collector = Collector{Address: "hub:1", ServiceAccountToken: "s"} }, "collector.ca"},
		{"some telemetry", func(c *Config) { c.Telemetry = "some" }, "telemetry"},
		{"small spool", func(c *Config) { c.Spool.MaxBytes = minSpoolBytes - 1 }, "spool.max_bytes"},
		{"containerd maybe", func(c *Config) { c.Containerd.Enabled = "maybe" }, "containerd.enabled"},
		{"relative socket", func(c *Config) { c.Containerd.Socket = "containerd.sock" }, "containerd.socket"},
		{"smallest ring", func(c *Config) { c.Kernel.BulkRingBytes = minRingBytes }, ""},
		{"ring too small", func(c *Config) { c.Kernel.BulkRingBytes = minRingBytes / 2 }, "kernel.bulk_ring_bytes"},
		{"ring too large", func(c *Config) { c.Kernel.DecisiveRingBytes = maxRingBytes * 2 }, "kernel.decisive_ring_bytes"},
		{"ring no power of two", func(c *Config) { c.Kernel.DecisiveRingBytes = minRingBytes * 3 }, "kernel.decisive_ring_bytes"},
		{"negative ring", func(c *Config) { c.Kernel.DecisiveRingBytes = -minRingBytes }, "kernel.decisive_ring_bytes"},
		{"no pen", func(c *Config) { c.Pen.Events = 0 }, "pen.events"},
		{"pen for nothing", func(c *Config) { c.Pen.Bytes = minPenBytes - 1 }, "pen.bytes"},
		{"pen of all memory", func(c *Config) { c.Pen.Bytes = maxPenBytes + 1 }, "pen.bytes"},
		{"pen without patience", func(c *Config) { c.Pen.Wait = 0 }, ""},
		{"endless pen", func(c *Config) { c.Pen.Wait = time.Hour }, "pen.wait"},
		{"negative wait", func(c *Config) { c.Pen.Wait = -1 }, "pen.wait"},
		{"few processes", func(c *Config) { c.Process.Live = 1 }, "process.live"},
		{"too many dead", func(c *Config) { c.Process.Dead = maxProcesses + 1 }, "process.dead"},
		{"long memory", func(c *Config) { c.Process.Grace = time.Hour }, "process.grace"},
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
