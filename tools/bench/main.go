// Command bench measures what the agent costs on this machine: processor time and
// memory until it is ready, idle and under a storm, and what the storm's own work costs
// with and without it; then how long a detection takes to a SIEM that reads a collector's
// stream. Times depend on the machine and its load, which are printed; ratios and counts
// are what to compare.
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"text/tabwriter"
	"time"
)

type options struct {
	agent, actor, collector string
	idle                    time.Duration
	opens, execs            int
	noFilter                bool

	rates      []int // of detections a second
	during     time.Duration
	background int // other execs a second

	only string
}

func main() {
	var o options
	flag.StringVar(&o.agent, "agent", "build/seawall-agent", "the agent's `binary`")
	flag.StringVar(&o.actor, "actor", "build/seawall-attack", "the actor's `binary`")
	flag.DurationVar(&o.idle, "idle", 10*time.Second, "how long to watch the idle agent")
	flag.IntVar(&o.opens, "opens", 200_000, "opens of the storm")
	flag.IntVar(&o.execs, "execs", 5_000, "execs of the storm")
	flag.BoolVar(&o.noFilter, "no-filter", false, "admit every event")
	flag.StringVar(&o.collector, "collector", "build/seawall-collector", "the collector's `binary`")
	rates := flag.String("rates", "10,100,500", "loads to measure latency at: detections a second, joined by commas")
	flag.DurationVar(&o.during, "during", 20*time.Second, "how long each of these loads lasts")
	flag.IntVar(&o.background, "background", 50, "other execs a second beside them")
	flag.StringVar(&o.only, "only", "", "measure only one: cost, latency")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	var err error
	if o.rates, err = parseRates(*rates); err == nil {
		err = bench(ctx, o, os.Stdout)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func bench(ctx context.Context, o options, out io.Writer) error {
	fmt.Fprintf(out, "machine: %s\n", machine())
	for _, part := range []struct {
		name string
		run  func(context.Context, options, io.Writer) error
	}{{"cost", cost}, {"latency", latency}} {
		if o.only != "" && o.only != part.name {
			continue
		}
		if err := part.run(ctx, o, out); err != nil {
			return err
		}
	}
	fmt.Fprintf(out, "load at the end: %s\n", load())
	return nil
}

// cost measures the agent alone.
func cost(ctx context.Context, o options, out io.Writer) (err error) {
	alone, err := storm(ctx, o)
	if err != nil {
		return err
	}
	agent, err := startAgent(ctx, o, "--standalone", "--output", "json")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, agent.stop()) }()
	start, err := agent.usage()
	if err != nil {
		return err
	}
	select {
	case <-time.After(o.idle):
	case <-ctx.Done():
		return ctx.Err()
	}
	idle, err := agent.usage()
	if err != nil {
		return err
	}
	before, err := agent.metrics(ctx)
	if err != nil {
		return err
	}
	watched, err := storm(ctx, o)
	if err != nil {
		return err
	}
	busy, err := agent.usage()
	if err != nil {
		return err
	}
	after, err := agent.metrics(ctx)
	if err != nil {
		return err
	}

	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "start to ready\t%v processor time\n", start.cpu)
	fmt.Fprintf(w, "idle for %v\t%.2f %% of a core\t%d MiB resident\n", o.idle,
		100*float64(idle.cpu-start.cpu)/float64(o.idle), idle.resident>>20)
	fmt.Fprintf(w, "storm of %d opens, %d execs\t%v alone\t%v watched\t× %.2f\n", o.opens, o.execs,
		alone.Round(time.Millisecond), watched.Round(time.Millisecond), float64(watched)/float64(alone))
	cpu := busy.cpu - idle.cpu
	fmt.Fprintf(w, "agent under the storm\t%v processor time\t%d MiB resident\t%d MiB in maps\n",
		cpu.Round(time.Millisecond), busy.resident>>20, busy.maps>>20)
	delivered := after["seawall_agent_events_delivered_total"] - before["seawall_agent_events_delivered_total"]
	seen := after["seawall_agent_kernel_events_seen_total"] - before["seawall_agent_kernel_events_seen_total"]
	dropped := after["seawall_agent_kernel_events_dropped_total"] - before["seawall_agent_kernel_events_dropped_total"]
	fmt.Fprintf(w, "events\t%.0f seen\t%.0f delivered\t%.0f dropped\n", seen, delivered, dropped)
	if delivered > 0 {
		fmt.Fprintf(w, "agent per delivered event\t%v\n", (cpu / time.Duration(delivered)).Round(10*time.Nanosecond))
	}
	return w.Flush()
}

// storm runs the actor and returns how long it took.
func storm(ctx context.Context, o options) (time.Duration, error) {
	dir, err := os.MkdirTemp("", "seawall-bench-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	cmd := exec.CommandContext(ctx, o.actor, "-dir", dir, "storm", "-child", "tiny",
		"-opens", fmt.Sprint(o.opens), "-execs", fmt.Sprint(o.execs))
	cmd.Stderr = os.Stderr
	began := time.Now()
	if err := cmd.Run(); err != nil {
		return 0, fmt.Errorf("run storm: %w", err)
	}
	return time.Since(began), nil
}

func machine() string {
	release, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	cpus := 0
	if f, err := os.Open("/proc/cpuinfo"); err == nil {
		for s := bufio.NewScanner(f); s.Scan(); {
			if strings.HasPrefix(s.Text(), "processor") {
				cpus++
			}
		}
		f.Close()
	}
	return fmt.Sprintf("%d CPUs, Linux %s, load %s", cpus, strings.TrimSpace(string(release)), load())
}

func load() string {
	text, _ := os.ReadFile("/proc/loadavg")
	fields := strings.Fields(string(text))
	return strings.Join(fields[:min(3, len(fields))], " ")
}
