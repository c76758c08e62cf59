package correlate

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/seawall-security/seawall/collector/alert"
	"github.com/seawall-security/seawall/internal/obs"
)

// Stages of the way from the kernel to a stored revision, each counted from the kernel on.
const (
	stageReceived = "received" // a batch with the fact has come
	stageLogged   = "logged"   // it is on the disk of the event log, and was read there
	stageStored   = "stored"   // the revision is on the disk, for all who read alerts
)

func newLatency() *prometheus.HistogramVec {
	latency := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "seawall_collector_correlate_latency_seconds",
		Help:    "From the kernel's event that raised an alert or made it worse, by the corrected clock of its agent, to a stage; what an agent sent late counts as late.",
		Buckets: obs.LatencyBuckets(),
	}, []string{"stage"})
	for _, stage := range []string{stageReceived, stageLogged, stageStored} {
		latency.WithLabelValues(stage)
	}
	return latency
}

// Describe implements prometheus.Collector.
func (c *Correlator) Describe(ch chan<- *prometheus.Desc) { c.latency.Describe(ch) }

// Collect implements prometheus.Collector.
func (c *Correlator) Collect(ch chan<- prometheus.Metric) { c.latency.Collect(ch) }

// timing is what is to be observed of a revision once it is stored.
type timing struct{ decided, received time.Time }

// timings notes those of the revisions that were told at once. They are the machine's only
// until the next message.
func timings(noted []timing, revisions []alert.Revision) []timing {
	for _, r := range revisions {
		if t := r.Alert.DecidedTime; t != nil {
			noted = append(noted, timing{t.AsTime(), r.Alert.StoredTime.AsTime()})
		}
	}
	return noted
}

func (c *Correlator) observe(noted []timing, logged, stored time.Time) {
	for _, t := range noted {
		for stage, at := range map[string]time.Time{stageReceived: t.received, stageLogged: logged, stageStored: stored} {
			// A clock may have been set back since.
			c.latency.WithLabelValues(stage).Observe(max(at.Sub(t.decided), 0).Seconds())
		}
	}
}
