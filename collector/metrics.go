package main

import "github.com/prometheus/client_golang/prometheus"

// pipeline shows how what came gets on: through the log and correlation.
type pipeline struct {
	following *follower
	keep      *retainer
}

// Describe implements prometheus.Collector.
func (p *pipeline) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(p, ch) }

// Collect implements prometheus.Collector.
func (p *pipeline) Collect(ch chan<- prometheus.Metric) {
	value := func(name, help string, kind prometheus.ValueType, v float64) {
		ch <- prometheus.MustNewConstMetric(prometheus.NewDesc("seawall_collector_"+name, help, nil, nil), kind, v)
	}
	stats := p.following.stats.Load()
	for _, c := range []struct {
		name, help string
		value      uint64
	}{
		{"messages", "Messages of the event log that were taken in.", stats.Messages},
		{"detections", "Detections among them.", stats.Detections},
		{"events", "Events among them.", stats.Events},
		{"gaps", "Gaps among them.", stats.Gaps},
		{"duplicates", "Items that had been taken in before.", stats.Duplicates},
		{"unreadable", "Records that could not be read; each is booked as a gap.", stats.Unreadable},
		{"unknown", "Records that nothing could be made of.", stats.Unknown},
		{"raised", "Alerts that were raised.", stats.Raised},
		{"revisions", "Revisions of alerts, the first ones included.", stats.Revisions},
		{"refused", "Messages that could not be taken in and were passed over, booked as gaps: a fault of the collector, tell its makers.", stats.Refused},
		{"evicted", "Trees and alerts that had to be closed before their time.", stats.Evicted},
		{"unasked_connections", "Connections by nodes within pods' networks while no request to forward ports stood.", stats.Unasked},
		{"sessions_apart", "Sessions told of by an agent that does not have the pod as far as is known: they are in no alert of entries. Above 0, look whose they are.", stats.Apart},
	} {
		value("correlate_"+c.name+"_total", c.help, prometheus.CounterValue, float64(c.value))
	}
	value("correlate_position", "Position in the event log up to which everything is correlated.", prometheus.GaugeValue, float64(p.following.position.Load()))

	state := p.keep.state.Load() // of some seconds ago: a scrape asks no disk
	value("event_log_last_position", "Position of the newest message in the event log.", prometheus.GaugeValue, float64(state.Last))
	value("event_log_bytes", "What the event log holds.", prometheus.GaugeValue, float64(state.Bytes))
	value("event_log_max_bytes", "What the event log may hold; full, it holds agents back.", prometheus.GaugeValue, float64(state.MaxBytes))
}
