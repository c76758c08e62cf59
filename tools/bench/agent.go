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
	"syscall"
	"time"
)

// adminAddress is not the agent's default, so that one may run beside the measured one.
const adminAddress = "127.0.0.1:19464"

// readyWait covers a slow verifier on a loaded machine.
const readyWait = 2 * time.Minute

// agent is a running seawall-agent.
type agent struct {
	cmd   *exec.Cmd
	state string
}

// startAgent returns once the agent has proven its hooks.
func startAgent(ctx context.Context, o options) (*agent, error) {
	state, err := os.MkdirTemp("", "seawall-bench-state-")
	if err != nil {
		return nil, err
	}
	args := []string{"--standalone", "--output", "json", "--admin-address", adminAddress, "--state-dir", state}
	if o.noFilter {
		args = append(args, "--no-filter")
	}
	cmd := exec.CommandContext(ctx, o.agent, args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	stderr, err := cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start agent: %w", err)
	}
	a := &agent{cmd: cmd, state: state}
	ready := make(chan bool, 1)
	go func() { // ends with the agent's stderr
		told := false
		for s := bufio.NewScanner(stderr); s.Scan(); {
			if strings.HasPrefix(s.Text(), "ready") && !told {
				told = true
				ready <- true
			}
		}
		if !told {
			ready <- false
		}
	}()
	select {
	case ok := <-ready:
		if ok {
			return a, nil
		}
		return nil, errors.Join(errors.New("the agent ended before it was ready"), a.stop())
	case <-time.After(readyWait):
		return nil, errors.Join(errors.New("the agent was not ready in time"), a.stop())
	}
}

func (a *agent) stop() error {
	_ = a.cmd.Process.Signal(syscall.SIGTERM)
	return errors.Join(a.cmd.Wait(), os.RemoveAll(a.state))
}

// usage is what the agent has used so far.
type usage struct {
	cpu      time.Duration
	resident int64 // bytes
	maps     int64 // bytes the kernel accounts to the agent's BPF maps
}

func (a *agent) usage() (usage, error) {
	dir := filepath.Join("/proc", strconv.Itoa(a.cmd.Process.Pid))
	stat, err := os.ReadFile(filepath.Join(dir, "stat"))
	if err != nil {
		return usage{}, fmt.Errorf("read processor time of agent: %w", err)
	}
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	if len(fields) < 22 {
		return usage{}, fmt.Errorf("read processor time of agent: %d fields", len(fields))
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
		return 0, fmt.Errorf("read descriptors of agent: %w", err)
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
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+adminAddress+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, fmt.Errorf("scrape agent: %w", err)
	}
	defer response.Body.Close()
	sums := map[string]float64{}
	for s := bufio.NewScanner(response.Body); s.Scan(); {
		name, value, ok := strings.Cut(s.Text(), " ")
		if !ok || strings.HasPrefix(name, "#") {
			continue
		}
		if n, err := strconv.ParseFloat(value[strings.LastIndexByte(value, ' ')+1:], 64); err == nil {
			family, _, _ := strings.Cut(name, "{")
			sums[family] += n
		}
	}
	return sums, nil
}
