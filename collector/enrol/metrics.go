package enrol

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// reason is why a call was refused: the label of a metric.
type reason string

const (
	refusedRate     reason = "rate"     // too many calls
	refusedRequest  reason = "request"  // no certificate request of a known kind
	refusedProof    reason = "proof"    // unknown token or wrong secret
	refusedExpired  reason = "expired"  // token
	refusedUsedUp   reason = "used_up"  // token
	refusedAccount  reason = "account"  // service account token, or not an account that may
	refusedRevoked  reason = "revoked"  // agent
	refusedIdentity reason = "identity" // no agent's certificate, or no longer valid
	refusedInternal reason = "internal" // an error here
)

var reasons = []reason{
	refusedRate, refusedRequest, refusedProof, refusedExpired, refusedUsedUp,
	refusedAccount, refusedRevoked, refusedIdentity, refusedInternal,
}

type metrics struct {
	enrolled, renewed prometheus.Counter
	refused           *prometheus.CounterVec
}

func newMetrics(registry prometheus.Registerer) (metrics, error) {
	issued := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "seawall_collector_enrol_issued_total",
		Help: "Certificates given to agents, by what for.",
	}, []string{"kind"})
	refused := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "seawall_collector_enrol_refused_total",
		Help: "Calls of Enrol and Renew that were refused, by reason.",
	}, []string{"reason"})
	for _, c := range []prometheus.Collector{issued, refused} {
		if err := registry.Register(c); err != nil {
			return metrics{}, fmt.Errorf("register metrics of enrolment: %w", err)
		}
	}
	for _, r := range reasons {
		refused.WithLabelValues(string(r))
	}
	return metrics{enrolled: issued.WithLabelValues("enrol"), renewed: issued.WithLabelValues("renew"), refused: refused}, nil
}
