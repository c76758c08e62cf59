package obs

// LatencyBuckets are the upper bounds, in seconds, of histograms of how long something
// took that should take milliseconds and takes minutes when a part is away. What is above
// the last one was a backlog.
func LatencyBuckets() []float64 {
	return []float64{0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300}
}
