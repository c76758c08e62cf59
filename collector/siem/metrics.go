package siem

import "github.com/prometheus/client_golang/prometheus"

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
	}
	for _, reason := range []string{endClient, endSlow, endReplaced, endExpired, endStopping, endServer, endError} {
		m.ended.WithLabelValues(reason)
	}
	registry.MustRegister(m.sent, m.idle, m.missed, m.ended, m.refused, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Namespace: namespace, Subsystem: subsystem, Name: "subscriptions", Help: "Open subscriptions.",
	}, func() float64 { return float64(open()) }))
	return m
}
