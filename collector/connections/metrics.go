package connections

import "github.com/prometheus/client_golang/prometheus"

// reason is why a connection was closed here.
type reason int

const (
	ofAddress   reason = iota // too many strangers of its address
	ofStrangers               // too many strangers
	evicted                   // a stranger's, for a newcomer
	tooLong                   // a stranger's, after its time
	tooMuch                   // a stranger's, after its bytes
	ofPeers                   // too many peers
	ofPeer                    // too many of that peer
	reasons
)

var words = [reasons]string{"address", "strangers", "evicted", "time", "bytes", "peers", "peer"}

var (
	open = prometheus.NewDesc("seawall_collector_connections", "Open connections; strangers have shown no valid certificate, or not yet.", []string{"kind"}, nil)
	most = prometheus.NewDesc("seawall_collector_connections_max", "How many there may be.", []string{"kind"}, nil)
	away = prometheus.NewDesc("seawall_collector_connections_refused_total", "Connections that were turned away or closed for being too many, too long or too much.", []string{"reason"}, nil)
)

// Describe implements prometheus.Collector.
func (g *Gate) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(g, ch) }

// Collect implements prometheus.Collector.
func (g *Gate) Collect(ch chan<- prometheus.Metric) {
	g.mu.Lock()
	strangers, peers := g.strangers.Len(), g.peers
	g.mu.Unlock()
	gauge := func(desc *prometheus.Desc, value int, kind string) {
		ch <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, float64(value), kind)
	}
	gauge(open, strangers, "stranger")
	gauge(open, peers, "peer")
	gauge(most, g.limits.Strangers, "stranger")
	gauge(most, g.limits.Peers, "peer")
	for i := range g.refused {
		ch <- prometheus.MustNewConstMetric(away, prometheus.CounterValue, float64(g.refused[i].Load()), words[i])
	}
}
