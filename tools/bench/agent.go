package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/seawall-security/seawall/tools/local"
)

// adminAddress is not the agent's default, so that one may run beside the measured one.
const adminAddress = "127.0.0.1:19464"

// readyWait covers a slow verifier on a loaded machine.
const readyWait = 2 * time.Minute

// agent is a running seawall-agent.
type agent struct {
	process *local.Process
	state   string
}

// startAgent returns once the agent has proven its hooks. The flags say what it does with
// what it sees.
func startAgent(ctx context.Context, o options, flags ...string) (*agent, error) {
	state, err := os.MkdirTemp("", "seawall-bench-state-")
	if err != nil {
		return nil, err
	}
	args := append([]string{"--admin-address", adminAddress, "--state-dir", state}, flags...)
	if o.noFilter {
		args = append(args, "--no-filter")
	}
	process, err := local.Start(ctx, local.Program{Name: "agent", Command: exec.Command(o.agent, args...), Ready: "ready", Within: readyWait})
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(state))
	}
	return &agent{process: process, state: state}, nil
}

func (a *agent) stop() error {
	return errors.Join(a.process.Stop(), os.RemoveAll(a.state))
}

// usage is what the agent has used so far.
type usage struct {
	cpu      time.Duration
	resident int64 // bytes
	maps     int64 // bytes the kernel accounts to the agent's BPF maps
}

func (a *agent) usage() (usage, error) { return usageOf(a.process.PID()) }

func usageOf(pid int) (usage, error) {
	dir := filepath.Join("/proc", strconv.Itoa(pid))
	stat, err := os.ReadFile(filepath.Join(dir, "stat"))
	if err != nil {
		return usage{}, fmt.Errorf("read processor time: %w", err)
	}
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	if len(fields) < 22 {
		return usage{}, fmt.Errorf("read processor time: %d fields", len(fields))
	}
	user, _ := strconv.ParseInt(fields[11], 10, 64) // utime, stime, rss: proc(5), counted from state
	system, _ := strconv.ParseInt(fields[12], 10, 64)
	pages, _ := strconv.ParseInt(fields[21], 10, 64)
	u := usage{cpu: time.Duration(user+system) * 10 * time.Millisecond, resident: pages * int64(os.Getpagesize())}
	u.maps, err = mapBytes(dir)
	return u, err
}

// mapBytes sums what fdinfo tells of each map once: several descriptors may be of one.
func mapBytes(dir string) (total int64, err error) {
	entries, err := os.ReadDir(filepath.Join(dir, "fdinfo"))
	if err != nil {
		return 0, fmt.Errorf("read descriptors: %w", err)
	}
	seen := map[string]bool{}
	for _, e := range entries {
		text, err := os.ReadFile(filepath.Join(dir, "fdinfo", e.Name()))
		if err != nil {
			continue // closed meanwhile
		}
		values := map[string]string{}
		for line := range strings.Lines(string(text)) {
			if name, value, ok := strings.Cut(line, ":"); ok {
				values[name] = strings.TrimSpace(value)
			}
		}
		if id := values["map_id"]; id != "" && !seen[id] {
			seen[id] = true
			n, _ := strconv.ParseInt(values["memlock"], 10, 64)
			total += n
		}
	}
	return total, nil
}

// metrics sums the agent's series by name.
func (a *agent) metrics(ctx context.Context) (map[string]float64, error) {
	series, err := scrape(ctx, adminAddress)
	if err != nil {
		return nil, err
	}
	sums := map[string]float64{}
	for name, value := range series {
		family, _, _ := strings.Cut(name, "{")
		sums[family] += value
	}
	return sums, nil
}

// scrape returns the series of an admin server, by name and labels.
func scrape(ctx context.Context, address string) (map[string]float64, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, fmt.Errorf("scrape: %w", err)
	}
	defer response.Body.Close()
	series := map[string]float64{}
	for s := bufio.NewScanner(response.Body); s.Scan(); {
		at := strings.LastIndexByte(s.Text(), ' ')
		if at < 0 || strings.HasPrefix(s.Text(), "#") {
			continue
		}
		if n, err := strconv.ParseFloat(s.Text()[at+1:], 64); err == nil {
			series[s.Text()[:at]] = n
		}
	}
	return series, nil
}
