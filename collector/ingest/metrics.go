package ingest

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// counts are what became of what agents sent.
type counts struct {
	batches, items, badItems, refusedBatches, fullWaits, unknownMessages atomic.Uint64
}

// Describe implements prometheus.Collector.
func (s *Server) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(s, ch) }

// Collect implements prometheus.Collector.
func (s *Server) Collect(ch chan<- prometheus.Metric) {
	value := func(name, help string, kind prometheus.ValueType, v float64) {
		ch <- prometheus.MustNewConstMetric(prometheus.NewDesc("seawall_collector_ingest_"+name, help, nil, nil), kind, v)
	}
	counter := func(name, help string, v *atomic.Uint64) {
		value(name, help, prometheus.CounterValue, float64(v.Load()))
	}
	value("agents", "Agents that are connected.", prometheus.GaugeValue, float64(s.sessions.count()))
	counter("batches_total", "Batches that are on disk and acknowledged.", &s.counts.batches)
	counter("items_total", "Items of those batches.", &s.counts.items)
	counter("bad_items_total", "Items that were no record; each is booked as a gap.", &s.counts.badItems)
	counter("refused_batches_total", "Batches that broke the protocol; each ended its stream.", &s.counts.refusedBatches)
	counter("log_full_waits_total", "Seconds that streams were held back by a full event log.", &s.counts.fullWaits)
	counter("unknown_messages_total", "Messages of a kind this collector does not know.", &s.counts.unknownMessages)
}
