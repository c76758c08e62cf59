package uplink

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/seawall-security/seawall/internal/obs"
	"github.com/seawall-security/seawall/internal/spool"
)

// counts are what became of what goes up.
type counts struct {
	connected                      atomic.Bool
	reconnects                     atomic.Uint64
	detections, entries, telemetry laneCounts
	latency                        prometheus.Histogram // of detections
	timed                          atomic.Uint64        // the highest sequence in it: what is read again was told
}

func newLatency() prometheus.Histogram {
	return prometheus.NewHistogram(prometheus.HistogramOpts{
		Name:    "seawall_agent_uplink_latency_seconds",
		Help:    "From the kernel's event of a detection until it was on the spool's disk and went to the collector for the first time.",
		Buckets: obs.LatencyBuckets(),
	})
}

// time books a detection that was read from the spool.
func (c *counts) time(e spool.Entry, now time.Time) {
	if e.Class != classDetection || e.Sequence <= c.timed.Load() {
		return
	}
	c.timed.Store(e.Sequence) // a lane has one reader
	c.latency.Observe(max(now.Sub(time.Unix(0, e.Time)), 0).Seconds())
}

type laneCounts struct {
	sent, acked atomic.Uint64 // items
}

func (c *counts) of(lane spool.Lane) *laneCounts {
	switch lane {
	case detections:
		return &c.detections
	case entries:
		return &c.entries
	}
	return &c.telemetry
}

// oldest is how long the oldest entry waits for its acknowledgement.
func oldest(stats spool.Stats, now time.Time) time.Duration {
	var age time.Duration
	for _, l := range stats.Lanes {
		if l.Oldest != 0 {
			age = max(age, now.Sub(time.Unix(0, l.Oldest)))
		}
	}
	return age
}

// Describe implements prometheus.Collector.
func (u *Uplink) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(u, ch) }

// Collect implements prometheus.Collector.
func (u *Uplink) Collect(ch chan<- prometheus.Metric) {
	type labels = prometheus.Labels
	show := func(name, help string, kind prometheus.ValueType, v float64, with labels) {
		ch <- prometheus.MustNewConstMetric(prometheus.NewDesc("seawall_agent_uplink_"+name, help, nil, with), kind, v)
	}
	counter, gauge := prometheus.CounterValue, prometheus.GaugeValue

	connected := 0.0
	if u.counts.connected.Load() {
		connected = 1
	}
	ch <- u.counts.latency
	show("connected", "Whether the collector has greeted this agent on a stream that stands.", gauge, connected, nil)
	show("reconnects_total", "Times a stream was begun after the first.", counter, float64(u.counts.reconnects.Load()), nil)
	for _, lane := range []spool.Lane{detections, entries, telemetry} {
		c, with := u.counts.of(lane), labels{"lane": string(lane)}
		show("sent_total", "Items sent, again ones included.", counter, float64(c.sent.Load()), with)
		show("acked_total", "Items that the collector has on its disk.", counter, float64(c.acked.Load()), with)
	}
	events, found, entered := u.queue.Len()
	for class, n := range map[string]int{"event": events, "detection": found, "entry": entered} {
		show("queued", "Records that wait to be spooled.", gauge, float64(n), labels{"class": class})
	}
	for _, lost := range u.lost.Lost() {
		show("not_spooled_total", "Records that never reached the spool: the queue was full of events or bytes, the spool took none, or they did not encode.",
			counter, float64(lost.Count), labels{"class": lost.Class, "reason": lost.Reason})
	}
	for what, n := range u.misses.totals() {
		show("unseen_total", "Events that are not told, or not as what they are; each second of them is a gap.",
			counter, float64(n), labels{"class": what.class(), "reason": what.Reason})
	}

	stats := u.spool.Stats()
	show("oldest_unacked_seconds", "Age of the oldest record on disk that the collector does not have.", gauge, oldest(stats, u.options.Now()).Seconds(), nil)
	show("spool_bytes", "What the spool takes on disk.", gauge, float64(stats.Bytes), nil)
	for _, l := range stats.Lanes {
		show("durable_total", "Records that the spool has put on its disk, those included that the collector has by now.", counter,
			float64(l.Durable), labels{"lane": string(l.Lane)})
		show("spooled", "Records in the spool that the collector does not have.", gauge, float64(l.Queued), labels{"lane": string(l.Lane)})
		for _, why := range spool.Reasons() {
			show("dropped_total", "Records that the spool lost.", counter, float64(l.Dropped[why]),
				labels{"lane": string(l.Lane), "reason": why.String()})
		}
	}
}
