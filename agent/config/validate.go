package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/seawall-security/seawall/internal/obs"
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
	maxNodeBytes = 253 // a DNS name, as Kubernetes limits it
)

// FieldError is a setting that cannot be used.
type FieldError struct {
	Field   string // as in the file: kernel.bulk_ring_bytes
	Problem string
}

func (e *FieldError) Error() string { return e.Field + ": " + e.Problem }

// problems collects what is wrong with a Config.
type problems []error

func (p *problems) require(ok bool, field, format string, args ...any) {
	if !ok {
		*p = append(*p, &FieldError{Field: field, Problem: fmt.Sprintf(format, args...)})
	}
}

// Validate reports every setting that cannot be used: nil, or *FieldError
// values joined.
func (c Config) Validate() error {
	var p problems
	p.require(c.Standalone, "standalone", "must be true (--standalone): this version has no collector to report to")
	oneOf(&p, "output", c.Output, JSON, Text)
	for i, path := range c.Rules {
		p.require(path != "", "rules", "entry %d is empty", i+1)
	}
	p.require(nodeName(c.Node), "node", "%q is no name: 1 to %d printable characters without spaces", c.Node, maxNodeBytes)
	p.require(filepath.IsAbs(c.StateDir), "state_dir", "%q is not an absolute path", c.StateDir)

	oneOf(&p, "containerd.enabled", c.Containerd.Enabled, Auto, On, Off)
	p.require(filepath.IsAbs(c.Containerd.Socket), "containerd.socket", "%q is not an absolute path", c.Containerd.Socket)
	c.Admin.validate(&p)
	oneOf(&p, "log.level", c.Log.Level, obs.Levels...)

	ring(&p, "kernel.decisive_ring_bytes", c.Kernel.DecisiveRingBytes)
	ring(&p, "kernel.bulk_ring_bytes", c.Kernel.BulkRingBytes)
	oneOf(&p, "kernel.rung", c.Kernel.Rung, RungAuto, RungLSM, RungFentry, RungSyscall)

	within(&p, "pen.events", c.Pen.Events, 1, maxPenEvents)
	within(&p, "pen.bytes", c.Pen.Bytes, minPenBytes, maxPenBytes)
	within(&p, "pen.wait", c.Pen.Wait, 0, maxPenWait)
	within(&p, "process.live", c.Process.Live, minProcesses, maxProcesses)
	within(&p, "process.dead", c.Process.Dead, 0, maxProcesses)
	within(&p, "process.grace", c.Process.Grace, 0, maxGrace)
	return errors.Join(p...)
}

func (a Admin) validate(p *problems) {
	if a.Address == "" {
		p.require(!a.Profiling, "admin.profiling", "needs admin.address")
		return
	}
	host, port, err := net.SplitHostPort(a.Address)
	if err != nil {
		p.require(false, "admin.address", "%q is not host:port", a.Address)
		return
	}
	_, err = strconv.ParseUint(port, 10, 16)
	p.require(err == nil, "admin.address", "port %q is not a number from 0 to 65535", port)
	ip, err := netip.ParseAddr(host)
	named := host == "localhost"
	p.require(named || err == nil, "admin.address", "%q is not an IP address; 0.0.0.0 and [::] stand for all", host)
	p.require(!a.Profiling || named || ip.IsLoopback(), "admin.profiling",
		"shows the agent's memory: only on a loopback address, not on %s", a.Address)
}

func ring(p *problems, field string, size int) {
	p.require(size >= minRingBytes && size <= maxRingBytes && size&(size-1) == 0, field,
		"%d is not a power of two from %d to %d", size, minRingBytes, maxRingBytes)
}

func oneOf[T ~string](p *problems, field string, value T, known ...T) {
	p.require(slices.Contains(known, value), field, "%q is none of %v", value, known)
}

func within[T int | time.Duration](p *problems, field string, value, low, high T) {
	p.require(value >= low && value <= high, field, "%v is not from %v to %v", value, low, high)
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
