package obs

import (
	"runtime"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// NewRegistry makes the registry of the binary named by namespace
// ("seawall_agent"). It holds <namespace>_build_info, and what the Go runtime
// and the kernel say of the process itself if self is set: about 70 series.
func NewRegistry(namespace string, self bool) *prometheus.Registry {
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Namespace:   namespace,
		Name:        "build_info",
		Help:        "What the binary was built from; always 1.",
		ConstLabels: prometheus.Labels{"version": Version(), "go_version": runtime.Version()},
	}, func() float64 { return 1 }))
	if self {
		registry.MustRegister(
			collectors.NewGoCollector(),
			collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		)
	}
	return registry
}
