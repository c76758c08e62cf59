package siem

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/seawall-security/seawall/internal/obs"
	alertv1 "github.com/seawall-security/seawall/proto/alert/v1"
)

// Why subscriptions end, and why they are refused.
const (
	endClient   = "client"
	endSlow     = "slow"
	endReplaced = "replaced"
	endExpired  = "expired"
	endStopping = "stopping"
	endServer   = "server" // the server ended the call, such as a revoked client's
	endError    = "error"
)

type metrics struct {
	sent    prometheus.Counter
	idle    prometheus.Counter
	missed  prometheus.Counter
	ended   *prometheus.CounterVec
	refused prometheus.Counter
	latency prometheus.Histogram
}

func newMetrics(registry prometheus.Registerer, open func() int) *metrics {
	const namespace, subsystem = "seawall_collector", "siem"
	counter := func(name, help string) prometheus.CounterOpts {
		return prometheus.CounterOpts{Namespace: namespace, Subsystem: subsystem, Name: name, Help: help}
	}
	m := &metrics{
		sent:    prometheus.NewCounter(counter("revisions_sent_total", "Revisions sent to subscribers.")),
		idle:    prometheus.NewCounter(counter("idle_sent_total", "Messages that only moved a subscriber's cursor.")),
		missed:  prometheus.NewCounter(counter("revisions_missed_total", "Revisions that the store had forgotten before a subscriber read them.")),
		ended:   prometheus.NewCounterVec(counter("subscriptions_ended_total", "Subscriptions by what ended them."), []string{"reason"}),
		refused: prometheus.NewCounter(counter("subscriptions_refused_total", "Subscriptions that did not begin.")),
		latency: prometheus.NewHistogram(prometheus.HistogramOpts{Namespace: namespace, Subsystem: subsystem, Name: "latency_seconds",
			Help:    "From the kernel's event that raised an alert or made it worse until a subscriber's connection took it: whoever reads what is old adds to the last buckets.",
			Buckets: obs.LatencyBuckets(),
		}),
	}
	for _, reason := range []string{endClient, endSlow, endReplaced, endExpired, endStopping, endServer, endError} {
		m.ended.WithLabelValues(reason)
	}
	registry.MustRegister(m.sent, m.idle, m.missed, m.ended, m.refused, m.latency, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Namespace: namespace, Subsystem: subsystem, Name: "subscriptions", Help: "Open subscriptions.",
	}, func() float64 { return float64(open()) }))
	return m
}

// tell books a revision that was handed over.
func (m *metrics) tell(a *alertv1.Alert) {
	m.sent.Inc()
	if t := a.GetDecidedTime(); t.IsValid() {
		m.latency.Observe(max(time.Since(t.AsTime()), 0).Seconds())
	}
}
