package audit

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	auditv1 "github.com/seawall-security/seawall/proto/audit/v1"
)

// Counts books what sources brought. It may be used by many goroutines.
type Counts struct {
	events  *prometheus.CounterVec
	answers *prometheus.CounterVec
	latest  *prometheus.GaugeVec
	holes   *prometheus.CounterVec
}

// NewCounts registers the metrics of all sources.
func NewCounts(metrics prometheus.Registerer) *Counts {
	c := &Counts{
		events: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "seawall_collector_audit_events_total",
			Help: "Audit events that a source brought, by what became of them: new, repeated (another source or an earlier try brought it), unreadable, too_large.",
		}, []string{"source", "result"}),
		answers: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "seawall_collector_audit_requests_total", Help: "Requests to the audit webhook by the code of the answer.",
		}, []string{"source", "code"}),
		latest: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "seawall_collector_audit_latest_event_seconds", Help: "Stage time of the latest audit event of a source, seconds since 1970, by the API server's clock.",
		}, []string{"source"}),
		holes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "seawall_collector_audit_holes_total", Help: "Times that a log file was gone before it was read to its end.",
		}, []string{"source"}),
	}
	metrics.MustRegister(c.events, c.answers, c.latest, c.holes)
	return c
}

func (c *Counts) took(source string, taken Taken, events []*auditv1.Event) {
	for result, n := range map[string]int{"new": taken.New, "repeated": taken.Repeated, "too_large": taken.TooLarge} {
		c.events.WithLabelValues(source, result).Add(float64(n))
	}
	var latest int64
	for _, e := range events {
		latest = max(latest, e.StageTime.AsTime().Unix())
	}
	if latest > 0 {
		c.latest.WithLabelValues(source).Set(float64(latest))
	}
}

func (c *Counts) unreadable(source string) { c.events.WithLabelValues(source, "unreadable").Inc() }
func (c *Counts) hole(source string)       { c.holes.WithLabelValues(source).Inc() }

func (c *Counts) answered(source string, code int) {
	c.answers.WithLabelValues(source, strconv.Itoa(code)).Inc()
}
