// Command auditload offers a real collector the audit events of a busy API server, and says
// what became of them. It is not in the gate; make audit-load runs it.
//
//	auditload -collector build/seawall-collector           4,000 events a second to the webhook
//	auditload -collector build/seawall-collector -outage   500 a second to webhook and file, with outages
//
// Exit status 1: something was refused or lost.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Defaults: an API server's webhook sends at most 10 batches of 400 a second, unless it is
// told otherwise.
const (
	batchesPerSecond = 10
	batchEvents      = 400
)

// load is what to offer.
type load struct {
	collector string // the program
	corpus    string
	folder    string
	duration  time.Duration
	outage    bool
	// Of the outage's: events a second, and how long nothing gets through to the webhook,
	// with a kill of the collector in the middle.
	rate int
	away time.Duration
}

func main() {
	var l load
	flag.StringVar(&l.collector, "collector", "build/seawall-collector", "the collector's `program`")
	flag.StringVar(&l.corpus, "corpus", "internal/audit/testdata/corpus", "`folder` of recorded events")
	flag.DurationVar(&l.duration, "duration", time.Minute, "how long to offer")
	flag.BoolVar(&l.outage, "outage", false, "offer the same by webhook and file, and cut the webhook off for a third of the time")
	flag.IntVar(&l.rate, "rate", 500, "events a second with -outage")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := l.temporary(ctx, os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "auditload:", err)
		os.Exit(1)
	}
}

// temporary runs in a folder that goes afterwards.
func (l load) temporary(ctx context.Context, out io.Writer) (err error) {
	if l.folder, err = os.MkdirTemp("", "auditload"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(l.folder)) }()
	l.away = l.duration / 3
	return l.run(ctx, out)
}

func (l load) run(ctx context.Context, out io.Writer) error {
	templates, err := readTemplates(l.corpus)
	if err != nil {
		return err
	}
	c := &collector{path: l.collector, dir: l.folder}
	if err := c.start(ctx, l.outage); err != nil {
		return err
	}
	m := &maker{templates: templates}
	if l.outage {
		return errors.Join(l.cut(ctx, c, m, out), c.process.Stop())
	}
	return errors.Join(l.webhook(ctx, c, m, out), c.process.Stop())
}

// webhook offers what one API server can.
func (l load) webhook(ctx context.Context, c *collector, m *maker, out io.Writer) error {
	client, err := c.client()
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "offered: %d batches of %d events a second for %s, load %s\n", batchesPerSecond, batchEvents, l.duration, loadavg())
	var mu sync.Mutex // guards what follows
	var took []time.Duration
	var refused []string
	var sending sync.WaitGroup
	every := time.NewTicker(time.Second / batchesPerSecond)
	defer every.Stop()
	began, bytes := time.Now(), 0
	for range int(l.duration.Seconds() * batchesPerSecond) {
		body := list(m.lines(batchEvents, time.Now()))
		bytes += len(body)
		sending.Go(func() {
			at := time.Now()
			code, err := c.post(ctx, client, body)
			mu.Lock()
			defer mu.Unlock()
			if took = append(took, time.Since(at)); err != nil || code != 200 {
				refused = append(refused, fmt.Sprint(code, " ", err))
			}
		})
		select {
		case <-every.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	sending.Wait()
	passed := time.Since(began)
	usage, err := usageOf(c.command.Process.Pid)
	if err != nil {
		return err
	}
	if err := c.process.Stop(); err != nil {
		return err
	}
	d, err := c.stored(ctx)
	if err != nil {
		return err
	}
	slices.Sort(took)
	at := func(of float64) time.Duration {
		return took[min(len(took)-1, int(of*float64(len(took))))].Round(time.Millisecond)
	}
	fmt.Fprintf(out, "sent: %d events, %d bytes each, in %s (%.0f a second); refused: %d batches\n", m.made, bytes/m.made, passed.Round(time.Millisecond), float64(m.made)/passed.Seconds(), len(refused))
	fmt.Fprintf(out, "POST: p50 %s, p99 %s, max %s\n", at(0.5), at(0.99), took[len(took)-1].Round(time.Millisecond))
	fmt.Fprintf(out, "collector: %.1f µs of CPU an event, of which correlation and storing are a part; %.0f MiB at most; %d bytes an event on disk\n",
		usage.cpu.Seconds()*1e6/float64(m.made), float64(usage.peak)/(1<<20), d.bytes/uint64(m.made))
	fmt.Fprintf(out, "correlation: %d of %d messages behind as it was stopped\n", d.behind, d.messages)
	fmt.Fprintf(out, "load at the end %s\n", loadavg())
	if len(refused) > 0 {
		return fmt.Errorf("refused: %s", strings.Join(refused[:min(len(refused), 5)], "; "))
	}
	return errors.Join(judge(out, d.events, m.made), noGaps(d.gaps))
}

// judge compares what the log has with what was made.
func judge(out io.Writer, events map[string]int, made int) error {
	lost, twice := 0, 0
	for n := range made {
		switch events[name(n)] {
		case 0:
			lost++
		case 1:
		default:
			twice++
		}
	}
	fmt.Fprintf(out, "in the log: %d of %d events, %d lost, %d more than once\n", len(events), made, lost, twice)
	if lost > 0 || twice > 0 || len(events) != made {
		return errors.New("not every event is in the log once")
	}
	return nil
}

// usage of a process up to now.
type usage struct {
	cpu  time.Duration
	peak int64 // bytes
}
