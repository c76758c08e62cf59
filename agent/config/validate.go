package config

import (
	"errors"
	"net"
	"net/netip"
	"path/filepath"
	"strconv"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/seawall-security/seawall/internal/obs"
	"github.com/seawall-security/seawall/internal/settings"
	"github.com/seawall-security/seawall/internal/tlsconf"
)

// Bounds of what may be asked for. The upper ones keep a slip of the keyboard
// from taking the node's memory.
const (
	// Also a multiple of every page size Linux knows (4 to 64 KiB), which the
	// kernel demands of a ring.
	minRingBytes = 256 << 10
	maxRingBytes = 1 << 30
	maxPenEvents = 1 << 20
	// One event may pin 64 ancestors with some 100 KiB each.
	minPenBytes  = 1 << 20
	maxPenBytes  = 1 << 30
	maxPenWait   = 30 * time.Second
	minProcesses = 1024
	maxProcesses = 4 << 20 // the kernel's own limit of pids
	maxGrace     = 10 * time.Minute
	// Four of the spool's segments: one for each lane, one spare, one to be let go.
	minSpoolBytes = 16 << 20
	maxSpoolBytes = 1 << 40
	maxNodeBytes  = 253 // a DNS name, as Kubernetes limits it
)

// Validate reports every setting that cannot be used: nil, or *settings.FieldError
// values joined.
func (c Config) Validate() error {
	var p settings.Problems
	p.Require(c.Standalone || c.Collector.Address != "", "collector.address",
		"is needed (--collector) unless detections are only printed (--standalone)")
	settings.OneOf(&p, "output", c.Output, JSON, Text)
	for i, path := range c.Rules {
		p.Require(path != "", "rules", "entry %d is empty", i+1)
	}
	for i, path := range c.BundleKeys {
		p.Require(path != "", "bundle_keys", "entry %d is empty", i+1)
	}
	p.Require(nodeName(c.Node), "node", "%q is no name: 1 to %d printable characters without spaces", c.Node, maxNodeBytes)
	p.Require(filepath.IsAbs(c.StateDir), "state_dir", "%q is not an absolute path", c.StateDir)

	c.Collector.validate(&p)
	settings.OneOf(&p, "telemetry", c.Telemetry, TelemetryNone, TelemetryTrees, TelemetryAll)
	settings.Within(&p, "spool.max_bytes", c.Spool.MaxBytes, minSpoolBytes, maxSpoolBytes)

	settings.OneOf(&p, "containerd.enabled", c.Containerd.Enabled, Auto, On, Off)
	p.Require(filepath.IsAbs(c.Containerd.Socket), "containerd.socket", "%q is not an absolute path", c.Containerd.Socket)
	c.Admin.validate(&p)
	settings.OneOf(&p, "log.level", c.Log.Level, obs.Levels...)

	ring(&p, "kernel.decisive_ring_bytes", c.Kernel.DecisiveRingBytes)
	ring(&p, "kernel.bulk_ring_bytes", c.Kernel.BulkRingBytes)
	settings.OneOf(&p, "kernel.rung", c.Kernel.Rung, RungAuto, RungLSM, RungFentry, RungSyscall)

	settings.Within(&p, "pen.events", c.Pen.Events, 1, maxPenEvents)
	settings.Within(&p, "pen.bytes", c.Pen.Bytes, minPenBytes, maxPenBytes)
	settings.Within(&p, "pen.wait", c.Pen.Wait, 0, maxPenWait)
	settings.Within(&p, "process.live", c.Process.Live, minProcesses, maxProcesses)
	settings.Within(&p, "process.dead", c.Process.Dead, 0, maxProcesses)
	settings.Within(&p, "process.grace", c.Process.Grace, 0, maxGrace)
	return errors.Join(p...)
}

func (c Collector) validate(p *settings.Problems) {
	if c.Address == "" {
		for _, needs := range []struct{ field, value string }{
			{"join_token", c.JoinToken}, {"join_token_file", c.JoinTokenFile}, {"service_account_token", c.ServiceAccountToken}, {"ca", c.CA},
		} {
			p.Require(needs.value == "", "collector."+needs.field, "needs collector.address")
		}
		return
	}
	host, port, err := net.SplitHostPort(c.Address)
	p.Require(err == nil && host != "" && port != "", "collector.address", "%q is not host:port", c.Address)
	if c.JoinToken != "" {
		_, err := tlsconf.ParseJoinToken(c.JoinToken)
		p.Require(err == nil, "collector.join_token", "%v", err)
		p.Require(c.JoinTokenFile == "", "collector.join_token_file", "beside collector.join_token: one of them")
	}
	p.Require(c.JoinToken == "" && c.JoinTokenFile == "" || c.ServiceAccountToken == "", "collector.service_account_token",
		"beside a join token: one of them")
	p.Require((c.ServiceAccountToken == "") == (c.CA == ""), "collector.ca",
		"and collector.service_account_token need each other; a join token names the CA itself")
}

func (a Admin) validate(p *settings.Problems) {
	if a.Address == "" {
		p.Require(!a.Profiling, "admin.profiling", "needs admin.address")
		return
	}
	host, port, err := net.SplitHostPort(a.Address)
	if err != nil {
		p.Require(false, "admin.address", "%q is not host:port", a.Address)
		return
	}
	_, err = strconv.ParseUint(port, 10, 16)
	p.Require(err == nil, "admin.address", "port %q is not a number from 0 to 65535", port)
	ip, err := netip.ParseAddr(host)
	named := host == "localhost"
	p.Require(named || err == nil, "admin.address", "%q is not an IP address; 0.0.0.0 and [::] stand for all", host)
	p.Require(!a.Profiling || named || ip.IsLoopback(), "admin.profiling",
		"shows the agent's memory: only on a loopback address, not on %s", a.Address)
}

func ring(p *settings.Problems, field string, size int) {
	p.Require(size >= minRingBytes && size <= maxRingBytes && size&(size-1) == 0, field,
		"%d is not a power of two from %d to %d", size, minRingBytes, maxRingBytes)
}

func nodeName(name string) bool {
	if name == "" || len(name) > maxNodeBytes || !utf8.ValidString(name) {
		return false
	}
	for _, r := range name {
		if !unicode.IsGraphic(r) || unicode.IsSpace(r) {
			return false
		}
	}
	return true
}
