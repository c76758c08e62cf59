package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	collectorv1 "github.com/seawall-security/seawall/proto/collector/v1"
)

// clockTick is the unit of times in /proc: 100 a second on every Linux.
const clockTick = 10 * time.Millisecond

// cut offers the same events by webhook and file. For a while nothing gets through to the
// webhook, and the collector is killed in the middle of that; the log is rotated and
// compressed meanwhile as its server would.
func (l load) cut(ctx context.Context, c *collector, m *maker, out io.Writer) error {
	fmt.Fprintf(out, "offered: %d events a second by file and webhook for %s; the webhook is away for %s, the collector is killed meanwhile, load %s\n", l.rate, l.duration, l.away, loadavg())
	client, err := c.client()
	if err != nil {
		return err
	}
	log, err := os.Create(c.log())
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	steps := int(l.duration.Seconds() * batchesPerSecond)
	from, to := steps/3, steps/3+int(l.away.Seconds()*batchesPerSecond)
	posted := 0
	every := time.NewTicker(time.Second / batchesPerSecond)
	defer every.Stop()
	for step := range steps {
		lines := m.lines(l.rate/batchesPerSecond, time.Now())
		if _, err := log.Write(append(bytes.Join(lines, []byte("\n")), '\n')); err != nil {
			return err
		}
		if step%(steps/6+1) == steps/6 { // five rotations
			if log, err = rotate(log, c.log(), step); err != nil {
				return err
			}
		}
		switch {
		case step == (from+to)/2:
			if err := c.kill(); err != nil {
				return err
			}
		case step == (from+to)/2+batchesPerSecond/2:
			if err := c.start(ctx, true); err != nil {
				return err
			}
		case step < from || step >= to:
			if code, err := c.post(ctx, client, list(lines)); err == nil && code == http.StatusOK {
				posted++
			} else {
				return fmt.Errorf("the webhook answered %d, %w", code, err)
			}
		}
		select {
		case <-every.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	fmt.Fprintf(out, "sent: %d events by file, %d of %d batches also by webhook\n", m.made, posted, steps)
	if err := l.quiet(ctx, c, client, m, log); err != nil {
		return err
	}
	if err := c.process.Stop(); err != nil {
		return err
	}
	d, err := c.stored(ctx)
	if err != nil {
		return err
	}
	return errors.Join(judge(out, d.events, m.made), noGaps(d.gaps))
}

// quiet waits until the file is read: what it is asked about last is behind all else.
func (l load) quiet(ctx context.Context, c *collector, client *http.Client, m *maker, log io.Writer) error {
	mark := bytes.Replace(m.lines(1, time.Now())[0], []byte(`"requestURI":"`), []byte(`"requestURI":"/seawall-verify-theendofall/`), 1)
	if _, err := log.Write(append(mark, '\n')); err != nil {
		return err
	}
	conn, err := c.manage(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	late := time.NewTimer(time.Minute)
	defer late.Stop()
	ask := time.NewTicker(50 * time.Millisecond)
	defer ask.Stop()
	for {
		answer, err := collectorv1.NewManagementClient(conn).AuditProbe(ctx, &collectorv1.AuditProbeRequest{Nonce: "theendofall"})
		if err != nil {
			return err
		}
		if len(answer.Events) > 0 {
			return nil
		}
		select {
		case <-ask.C:
		case <-late.C:
			return errors.New("the log is not read to its end after a minute")
		}
	}
}

// rotate gives the log another name, as API servers do.
func rotate(log *os.File, path string, n int) (*os.File, error) {
	if err := log.Close(); err != nil {
		return nil, err
	}
	if err := os.Rename(path, filepath.Join(filepath.Dir(path), fmt.Sprintf("audit-2026-11-22T%06d.000.log", n))); err != nil {
		return nil, err
	}
	return os.Create(path)
}

func noGaps(gaps []*collectorv1.AuditGap) error {
	if len(gaps) == 0 {
		return nil
	}
	return fmt.Errorf("the collector tells gaps: %v", gaps)
}

// usageOf reads what a process has used.
func usageOf(pid int) (u usage, err error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return u, err
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return u, fmt.Errorf("/proc/%d/stat has too few fields", pid)
	}
	for _, field := range fields[11:13] { // user and system time
		ticks, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return u, err
		}
		u.cpu += time.Duration(ticks) * clockTick
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return u, err
	}
	_, peak, found := strings.Cut(string(status), "VmHWM:")
	if words := strings.Fields(peak); found && len(words) > 0 {
		kib, err := strconv.ParseInt(words[0], 10, 64)
		u.peak = kib << 10
		return u, err
	}
	return u, nil
}

// loadavg is the machine's, over a minute.
func loadavg() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "?"
	}
	first, _, _ := strings.Cut(string(text), " ")
	return first
}
