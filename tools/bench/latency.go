package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// arriveWait is how long the last detection of a load may take to arrive.
const arriveWait = time.Minute

// latency measures how long a detection takes from the act to a SIEM: a real agent, a real
// collector and a subscriber over mTLS, all on loopback. The clock starts before the act's
// fork and stops when the subscriber has the alert's first revision, so it includes what
// the act itself takes.
func latency(ctx context.Context, o options, out io.Writer) (err error) {
	dir, err := os.MkdirTemp("", "seawall-bench-latency-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	flush, err := flushTime(dir)
	if err != nil {
		return err
	}
	c, err := startCollector(ctx, o.collector, dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.stop()) }()
	flags, err := c.enrolAgent(ctx)
	if err != nil {
		return err
	}
	agent, err := startAgent(ctx, o, append(flags, "--telemetry", "all")...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, agent.stop()) }()
	siem, err := c.subscribe(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, siem.close()) }()
	actor, err := newIntruder(dir)
	if err != nil {
		return err
	}
	if err := warm(ctx, actor, siem); err != nil {
		return err
	}

	fmt.Fprintf(out, "\nfrom the act to the SIEM: agent, collector and subscriber on this machine, beside %d other execs a second, all telemetry reported; a flush of the disk takes %v\n",
		o.background, flush.Round(10*time.Microsecond))
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "detections/s\treached\tp50\tp90\tp99\tmax\tspooled\treceived\tlogged\tstored\thanded over\tagent\tcollector\tload\t")
	for _, rate := range o.rates {
		r, err := measure(ctx, o, rate, agent, c, siem, actor)
		if err != nil {
			return errors.Join(err, w.Flush())
		}
		fmt.Fprintf(w, "%d\t%.0f\t", rate, r.reached)
		for _, q := range []float64{0.50, 0.90, 0.99, 1} {
			fmt.Fprintf(w, "%v\t", quantile(r.took, q).Round(100*time.Microsecond))
		}
		for _, stage := range stages {
			fmt.Fprintf(w, "%v\t", r.means[stage.name].Round(100*time.Microsecond))
		}
		fmt.Fprintf(w, "%.1f %%\t%.1f %%\t%s\t\n", r.agent, r.collector, strings.Fields(load())[0])
	}
	if err := w.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(out, "stages are means from the kernel on, by the product's own histograms; agent and collector: of a core")
	return nil
}

// stages are the product's own histograms of the way, in its order.
var stages = []struct{ name, family, label string }{
	{"spooled", "seawall_agent_uplink_latency_seconds", ""},
	{"received", "seawall_collector_correlate_latency_seconds", `{stage="received"}`},
	{"logged", "seawall_collector_correlate_latency_seconds", `{stage="logged"}`},
	{"stored", "seawall_collector_correlate_latency_seconds", `{stage="stored"}`},
	{"handed over", "seawall_collector_siem_latency_seconds", ""},
}

// result is one load.
type result struct {
	took             []time.Duration // sorted
	reached          float64         // detections a second
	means            map[string]time.Duration
	agent, collector float64 // percent of a core
}

// sample is what the binaries say of themselves at one moment.
type sample struct {
	at               time.Time
	agent, collector usage
	series           map[string]float64
}

func take(ctx context.Context, a *agent, c *collector) (s sample, err error) {
	s.at = time.Now()
	if s.agent, err = usageOf(a.process.PID()); err != nil {
		return s, err
	}
	if s.collector, err = usageOf(c.process.PID()); err != nil {
		return s, err
	}
	if s.series, err = scrape(ctx, adminAddress); err != nil {
		return s, err
	}
	more, err := scrape(ctx, collectorAdminAddress)
	for name, value := range more {
		s.series[name] = value
	}
	return s, err
}

// measure runs one load to its end.
func measure(ctx context.Context, o options, rate int, a *agent, c *collector, siem *subscriber, actor *intruder) (*result, error) {
	before, err := take(ctx, a, c)
	if err != nil {
		return nil, err
	}
	background, stop := context.WithCancel(ctx)
	others := make(chan error, 1)
	go func() { others <- pace(background, o.background, func() error { return actor.pass() }) }()
	n := rate * int(o.during/time.Second)
	expected := map[string]time.Time{}
	began := time.Now()
	err = paceFor(ctx, rate, n, func() error {
		name, at, err := actor.act()
		expected[name] = at
		return err
	})
	acted := time.Since(began)
	stop()
	if err := errors.Join(err, <-others); err != nil {
		return nil, err
	}
	arrived, err := siem.await(ctx, expected, arriveWait)
	if err != nil {
		return nil, err
	}
	after, err := take(ctx, a, c)
	if err != nil {
		return nil, err
	}
	r := &result{reached: float64(n) / acted.Seconds(), means: map[string]time.Duration{}}
	for name, at := range expected {
		r.took = append(r.took, arrived[name].Sub(at))
	}
	slices.Sort(r.took)
	for _, s := range stages {
		count := after.series[s.family+"_count"+s.label] - before.series[s.family+"_count"+s.label]
		sum := after.series[s.family+"_sum"+s.label] - before.series[s.family+"_sum"+s.label]
		if count < float64(n) {
			return nil, fmt.Errorf("%s%s counted %.0f of %d detections", s.family, s.label, count, n)
		}
		r.means[s.name] = time.Duration(sum / count * float64(time.Second))
	}
	share := func(from, to usage) float64 { return 100 * float64(to.cpu-from.cpu) / float64(after.at.Sub(before.at)) }
	r.agent, r.collector = share(before.agent, after.agent), share(before.collector, after.collector)
	return r, nil
}

// warm has one detection go all the way, so that no load pays for the first.
func warm(ctx context.Context, actor *intruder, siem *subscriber) error {
	name, at, err := actor.act()
	if err != nil {
		return err
	}
	_, err = siem.await(ctx, map[string]time.Time{name: at}, arriveWait)
	return err
}

// pace calls act so many times a second until ctx ends; 0: never.
func pace(ctx context.Context, rate int, act func() error) error {
	if rate == 0 {
		return nil
	}
	err := paceFor(ctx, rate, -1, act)
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// paceFor calls act n times, so many times a second; it catches up when it was held up,
// so that what waits is not left out of the count. n below 0: until ctx ends.
func paceFor(ctx context.Context, rate, n int, act func() error) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	began := time.Now()
	for i := 0; i != n; i++ {
		timer.Reset(time.Until(began.Add(time.Duration(i) * time.Second / time.Duration(rate))))
		select {
		case <-timer.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := act(); err != nil {
			return err
		}
	}
	return nil
}

// quantile is the least of the sorted values that so much of them does not exceed.
func quantile(sorted []time.Duration, q float64) time.Duration {
	at := int(float64(len(sorted))*q+0.9999999) - 1
	return sorted[min(max(at, 0), len(sorted)-1)]
}

// flushTime is the median of what a flush of a small append costs here: each detection
// waits for one in the spool, one in the event log and one in the store.
func flushTime(dir string) (time.Duration, error) {
	f, err := os.Create(filepath.Join(dir, "flush"))
	if err != nil {
		return 0, err
	}
	defer f.Close()
	var took []time.Duration
	for range 51 {
		if _, err := f.Write(make([]byte, 4096)); err != nil {
			return 0, err
		}
		began := time.Now()
		if err := f.Sync(); err != nil {
			return 0, err
		}
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	return quantile(took, 0.5), nil
}

// parseRates reads loads: numbers joined by commas.
func parseRates(text string) ([]int, error) {
	var rates []int
	for word := range strings.SplitSeq(text, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(word))
		if err != nil || n < 1 {
			return nil, fmt.Errorf("rates %q: want numbers above 0, joined by commas", text)
		}
		rates = append(rates, n)
	}
	return rates, nil
}
