package audit

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	collectorv1 "github.com/seawall-security/seawall/proto/collector/v1"
)

// counts books what sources brought. It may be used by many goroutines.
type counts struct {
	events  *prometheus.CounterVec
	answers *prometheus.CounterVec
	holes   *prometheus.CounterVec

	unfinished prometheus.Counter
}

func newCounts(metrics prometheus.Registerer, sources []Source) *counts {
	c := &counts{
		events: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "seawall_collector_audit_events_total",
			Help: "Audit events that a source brought, by what became of them: new, repeated (another source or an earlier try brought it), unreadable; too_large are those of the new ones of which only the beginning was kept.",
		}, []string{"source", "result"}),
		answers: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "seawall_collector_audit_requests_total", Help: "Requests to the audit webhook by the code of the answer.",
		}, []string{"source", "code"}),
		holes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "seawall_collector_audit_holes_total", Help: "Times that a log file was gone before it was read to its end.",
		}, []string{"source"}),
		unfinished: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "seawall_collector_audit_unfinished_total", Help: "Patches of which no end was recorded: what was sent was no JSON, or the record was lost.",
		}),
	}
	for _, s := range sources {
		for _, result := range []string{"new", "repeated", "unreadable", "too_large"} {
			c.events.WithLabelValues(s.Name, result)
		}
		c.holes.WithLabelValues(s.Name)
	}
	metrics.MustRegister(c.events, c.answers, c.holes, c.unfinished)
	return c
}

func (c *counts) took(source string, taken Taken) {
	c.events.WithLabelValues(source, "new").Add(float64(taken.New))
	c.events.WithLabelValues(source, "repeated").Add(float64(taken.Repeated))
	c.events.WithLabelValues(source, "too_large").Add(float64(taken.TooLarge))
}

func (c *counts) unreadable(source string) { c.events.WithLabelValues(source, "unreadable").Inc() }
func (c *counts) hole(source string)       { c.holes.WithLabelValues(source).Inc() }

func (c *counts) answered(source string, code int) {
	c.answers.WithLabelValues(source, strconv.Itoa(code)).Inc()
}

var (
	conditionDesc = prometheus.NewDesc("seawall_collector_audit_condition", "1 for what can be said of an audit source, or with an empty source of all together: off, configured (nothing came yet), receiving, stale.", []string{"source", "condition"}, nil)
	latestDesc    = prometheus.NewDesc("seawall_collector_audit_latest_event_seconds", "Stage time of the latest audit event of a source, seconds since 1970, by the API server's clock.", []string{"source"}, nil)
	ageDesc       = prometheus.NewDesc("seawall_collector_audit_latest_event_age_seconds", "How long ago that is.", []string{"source"}, nil)
	skewDesc      = prometheus.NewDesc("seawall_collector_audit_skew_seconds", "The collector's clock minus the API server's: the least difference of receipt and stage time in the last minutes.", []string{"source"}, nil)
	delayDesc     = prometheus.NewDesc("seawall_collector_audit_delay_seconds", "By how much the latest event of the last minutes was later than the promptest.", []string{"source"}, nil)
	gapsDesc      = prometheus.NewDesc("seawall_collector_audit_gaps", "Gaps that are known and not filled, the last 256, by reason.", []string{"reason"}, nil)
)

// words of conditions in metrics.
var words = map[collectorv1.AuditCondition]string{
	collectorv1.AuditCondition_AUDIT_CONDITION_OFF:        "off",
	collectorv1.AuditCondition_AUDIT_CONDITION_CONFIGURED: "configured",
	collectorv1.AuditCondition_AUDIT_CONDITION_RECEIVING:  "receiving",
	collectorv1.AuditCondition_AUDIT_CONDITION_STALE:      "stale",
}

// Describe implements prometheus.Collector.
func (h *Health) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{conditionDesc, latestDesc, ageDesc, skewDesc, delayDesc, gapsDesc} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (h *Health) Collect(ch chan<- prometheus.Metric) {
	gauge := func(desc *prometheus.Desc, value float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, labels...)
	}
	condition := func(source string, is collectorv1.AuditCondition) {
		for c, word := range words {
			value := 0.
			if c == is {
				value = 1
			}
			gauge(conditionDesc, value, source, word)
		}
	}
	state := h.State()
	condition("", state.Condition)
	for _, s := range state.Sources {
		condition(s.Name, s.Condition)
		if s.Newest != nil {
			gauge(latestDesc, float64(s.Newest.AsTime().Unix()), s.Name)
			gauge(ageDesc, state.Time.AsTime().Sub(s.Newest.AsTime()).Seconds(), s.Name)
		}
		if s.Skew != nil {
			gauge(skewDesc, s.Skew.AsDuration().Seconds(), s.Name)
			gauge(delayDesc, s.Delay.AsDuration().Seconds(), s.Name)
		}
	}
	reasons := map[string]int{reasonSilent: 0, reasonDown: 0, reasonRotated: 0, reasonRefused: 0, reasonUnreadable: 0}
	for _, g := range state.Gaps {
		reasons[g.Gap.Reason]++
	}
	for reason, n := range reasons {
		gauge(gapsDesc, float64(n), reason)
	}
}
