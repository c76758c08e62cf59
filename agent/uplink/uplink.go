package uplink

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/seawall-security/seawall/agent/queue"
	"github.com/seawall-security/seawall/internal/event"
	"github.com/seawall-security/seawall/internal/redact"
	"github.com/seawall-security/seawall/internal/spool"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

// Lanes of the spool, by rank.
const (
	detections spool.Lane = "detections"
	entries    spool.Lane = "entries"
	telemetry  spool.Lane = "telemetry"
)

// Telemetry says which events go up, beside detections and entries into containers.
type Telemetry string

const (
	None  Telemetry = "none"
	Trees Telemetry = "trees" // of processes in a tree of interest
	All   Telemetry = "all"   // what was admitted
)

// Enrolment is who this agent is to the collector; see package enrol.
type Enrolment interface {
	// Ready is closed once there is an identity; the others have nothing to say before.
	Ready() <-chan struct{}
	TLS() *tls.Config
	// Certificate is what the next handshake shows.
	Certificate() *x509.Certificate
	RedactionKey() []byte
}

// Hook is one kernel hook as it stands.
type Hook struct {
	Name, Rung, Reason string
	Confirmed          bool
}

// LedgerLine is what became of the events of one class since the agent started.
type LedgerLine struct {
	Class                         string
	Produced, Delivered, Filtered uint64
	Dropped                       map[string]uint64
}

// Options say what goes up, and where.
type Options struct {
	// Folder is the spool's, MaxBytes its bound.
	Folder   string
	MaxBytes int64
	// Collector is host:port.
	Collector string
	Enrolment Enrolment
	// Redactor masks credentials until the enrolment has a key.
	Redactor  *redact.Redactor
	Telemetry Telemetry
	// SettingsFile keeps settings that came from afar; what they say goes before Telemetry.
	// Empty: they are for this run only.
	SettingsFile string
	// Bundles, if set, takes bundles of rules.
	Bundles Bundles

	BootID, Node, MachineID, Version, Kernel string
	// Begin, if set, is closed once Hooks has something to say: Hello says it once. What
	// comes before waits in the spool.
	Begin <-chan struct{}
	// Hooks and Ledger say how the agent is, at the time they are asked.
	Hooks  func() []Hook
	Ledger func() []LedgerLine
	// LostExecs, if set, counts execs that the kernel could not tell of since the agent
	// started: each may have been an entry. After an error nobody knows.
	LostExecs func() (uint64, error)

	Now func() time.Time
	// Wait sleeps and returns the context's error if that ends first.
	Wait func(context.Context, time.Duration) error
	// Random is in [0, 1): agents that lost a collector together must not come together.
	Random func() float64
	Log    *zap.Logger

	// For tests: the spool's, and a connection without a network.
	segmentBytes int64
	dial         func() (sensorv1.SensorClient, io.Closer, error)
}

// Uplink is the way up. Event and Detection are for one goroutine; the rest is safe for any.
type Uplink struct {
	options  Options
	log      *zap.Logger
	queue    *queue.Queue
	lost     queue.Losses
	spool    *spool.Spool
	first    uint64 // no sequence of this run is below
	redactor atomic.Pointer[redact.Redactor]

	settings atomic.Pointer[afar] // in force

	misses misses
	told   time.Time // the writer's: when gaps were appended last
	missed time.Time // the writer's: when such of misses were
	execs  lostExecs // the writer's
	buffer []byte    // the writer's

	sequence sync.Mutex // held from the choice of a sequence to its Append
	counts   counts
	acked    chan struct{} // something was acknowledged
}

// Open opens the spool; Run sends, Close closes it.
func Open(o Options) (*Uplink, error) {
	u := &Uplink{options: o, log: o.Log.Named("uplink"), queue: queue.New(), first: uint64(sinceBoot()), acked: make(chan struct{}, 1)}
	now := o.Now()
	u.execs.asked, u.execs.known = now, now
	u.misses.news = make(chan struct{}, 1)
	u.counts.latency = newLatency()
	u.redactor.Store(o.Redactor)
	u.restore()
	if err := u.useKey(); err != nil {
		return nil, err
	}
	var err error
	u.spool, err = spool.Open(o.Folder, spool.Options{
		Lanes: []spool.Lane{detections, entries, telemetry}, MaxBytes: o.MaxBytes, SegmentBytes: o.segmentBytes, OnGap: u.spoolGap,
	})
	if err != nil {
		return nil, err
	}
	return u, nil
}

// useKey masks with the cluster's key from now on, if it is known.
func (u *Uplink) useKey() error {
	key := u.options.Enrolment.RedactionKey()
	if key == nil {
		u.log.Info("not enrolled yet: masks of credentials do not join with those of other nodes")
		return nil
	}
	r, err := redact.New(key)
	if err != nil {
		return fmt.Errorf("use the cluster's redaction key: %w", err)
	}
	u.redactor.Store(r)
	return nil
}

// Event queues an event if it is to go up. It may be lent. One that is an entry into a
// container always is: the collector has to know who came in, and that nobody else did.
func (u *Uplink) Event(ev *event.Event) {
	if ev.Entry {
		if why, ok := u.queue.PutEntry(ev.Proto(u.options.BootID)); !ok {
			u.lose(queue.Entries, why, ev.Wall)
		}
		return
	}
	switch u.settings.Load().mode {
	case None:
		return
	case Trees:
		if ev.TreeRoot() == "" {
			return
		}
	}
	if why, ok := u.queue.PutEvent(ev); !ok {
		u.lose(ev.Kind, why, ev.Wall)
	}
}

// Detection queues a detection.
func (u *Uplink) Detection(d *sensorv1.Detection) {
	if why, ok := u.queue.PutDetection(d); !ok {
		u.lose(queue.Detections, why, d.GetEvent().GetTime().AsTime())
	}
}

// Run spools and sends until ctx ends, then spools what is queued. If a stream stands it
// may go on for up to partingTime, until the collector has everything; then Run returns.
func (u *Uplink) Run(ctx context.Context) {
	sending, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	ended := make(chan struct{})
	go func() { defer close(ended); u.keepSending(ctx, sending) }()
	u.write(ctx)
	u.part(sending, ended)
	stop()
	<-ended
}

// Close makes what was spooled durable and gives the folder up. It comes after Run.
func (u *Uplink) Close() error { return u.spool.Close() }
