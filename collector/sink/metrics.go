package sink

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/seawall-security/seawall/internal/obs"
)

// metrics of one sink.
type metrics struct {
	delivered, retried, dead, missed prometheus.Counter
	latency                          prometheus.Histogram
	position                         atomic.Uint64
	waiting                          atomic.Int64 // since when its oldest undelivered revision is stored, Unix ns; 0: none
}

func newMetrics(registry prometheus.Registerer, sink string) *metrics {
	const namespace, subsystem = "seawall_collector", "sink"
	labels := prometheus.Labels{"sink": sink}
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Namespace: namespace, Subsystem: subsystem, Name: name, Help: help, ConstLabels: labels})
	}
	m := &metrics{
		delivered: counter("delivered_total", "Revisions that the receiver acknowledged."),
		retried:   counter("retried_total", "Attempts that failed and were followed by another one."),
		missed:    counter("missed_total", "Revisions that the store had forgotten before they were delivered."),
		dead:      counter("dead_total", "Revisions given up and put into the dead-letter file."),
	}
	m.latency = prometheus.NewHistogram(prometheus.HistogramOpts{Namespace: namespace, Subsystem: subsystem, Name: "latency_seconds", ConstLabels: labels,
		Help:    "From the kernel's event that raised an alert or made it worse until the receiver had acknowledged it; for a sink that was away or is new, that is long.",
		Buckets: obs.LatencyBuckets(),
	})
	gauge := func(name, help string, value func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: namespace, Subsystem: subsystem, Name: name, Help: help, ConstLabels: labels}, value)
	}
	registry.MustRegister(m.delivered, m.retried, m.dead, m.missed, m.latency,
		gauge("position", "Position in the store up to which everything was delivered or given up.", func() float64 {
			return float64(m.position.Load())
		}),
		gauge("lag_seconds", "Age of the oldest revision that was not delivered yet; 0: there is none.", func() float64 {
			if since := m.waiting.Load(); since != 0 {
				return max(time.Since(time.Unix(0, since)).Seconds(), 0)
			}
			return 0
		}))
	return m
}

// waitingFor notes the first revision of what is to be delivered next.
func (m *metrics) waitingFor(r Revision) {
	since := time.Now()
	if stored := r.Alert.GetStoredTime(); stored.IsValid() && stored.AsTime().Before(since) {
		since = stored.AsTime()
	}
	m.waiting.Store(since.UnixNano())
}

// tell books revisions that the receiver has.
func (m *metrics) tell(batch []Revision) {
	m.delivered.Add(float64(len(batch)))
	for _, r := range batch {
		if t := r.Alert.GetDecidedTime(); t.IsValid() {
			m.latency.Observe(max(time.Since(t.AsTime()), 0).Seconds())
		}
	}
}
