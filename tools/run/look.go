package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	collectorv1 "github.com/seawall-security/seawall/proto/collector/v1"
	"github.com/seawall-security/seawall/tools/local"
)

const (
	// reportTimeout bounds the way from an agent that is ready to the collector: it may have
	// to enrol, and tries again after a second.
	reportTimeout = 30 * time.Second
	// settleTimeout bounds the way of the last detections to the terminal.
	settleTimeout = 3 * time.Second
	pollInterval  = 100 * time.Millisecond
)

// reports waits until the collector has heard of this run's agent.
func (s *show) reports(ctx context.Context) error {
	conn, err := local.Dial(s.address, s.credentials())
	if err != nil {
		return err
	}
	defer conn.Close()
	management := collectorv1.NewManagementClient(conn)
	ctx, cancel := context.WithTimeout(ctx, reportTimeout)
	defer cancel()
	ticks := time.NewTicker(pollInterval)
	defer ticks.Stop()
	for {
		answer, err := management.ListAgents(ctx, &collectorv1.ListAgentsRequest{})
		if err == nil {
			for _, a := range answer.GetAgents() {
				if a.GetLastSeen().AsTime().After(s.began) {
					fmt.Printf("agent %s of node %s reports\n", a.GetId(), a.GetNode())
					return nil
				}
			}
		}
		select {
		case <-ticks.C:
		case <-s.agent.Ended():
			return errors.Join(errors.New("the agent ended"), s.agent.LastLines())
		case <-s.collecting.Ended():
			return errors.Join(errors.New("the collector ended"), s.collecting.LastLines())
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("the agent runs, and nothing of it arrives (if %s was removed, remove %s too: its identity is the old collector's)",
				filepath.Join(s.state, "collector"), filepath.Join(s.state, "agent")), err, s.agent.LastLines())
		}
	}
}

// tell says what runs, and where to look.
func (s *show) tell() {
	fmt.Printf("%s\n", s.agent.Ready())
	flags := fmt.Sprintf("-collector %s -credentials %s", s.address, s.credentials())
	ctl := s.program("seawallctl")
	if folder, err := os.Getwd(); err == nil {
		if short, err := filepath.Rel(folder, ctl); err == nil && !strings.HasPrefix(short, "..") {
			ctl = short
		}
	}
	fmt.Printf(`
To look closer, elsewhere:
  %[1]s alerts list %[2]s
  %[1]s alerts show ID %[2]s
  http://%[3]s/metrics (collector), http://%[4]s/metrics (agent)
  %[5]s, %[6]s

Alerts as they come, until Ctrl-C:
`, ctl, flags, s.collectorAdmin, s.agentAdmin, s.logFile("collector"), s.logFile("agent"))
}

// settle waits until the collector has made of everything that came what it makes of it,
// and the watch has had the time to show it. It is no error if that takes too long: what
// is late is shown by alerts list.
func (s *show) settle(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, settleTimeout)
	defer cancel()
	ticks := time.NewTicker(pollInterval)
	defer ticks.Stop()
	for done := false; !done; {
		done = s.correlated(ctx)
		select { // once more after it is done, for the way to the terminal
		case <-ticks.C:
		case <-s.collecting.Ended():
			return
		case <-ctx.Done():
			return
		}
	}
}

// correlated reports whether all that came in this run was taken in.
func (s *show) correlated(ctx context.Context) bool {
	const prefix = "seawall_collector_"
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.collectorAdmin+"/metrics", nil)
	if err != nil {
		return false
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return false
	}
	defer answer.Body.Close()
	values := map[string]float64{}
	for lines := bufio.NewScanner(answer.Body); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), " ")
		if number, err := strconv.ParseFloat(value, 64); err == nil {
			values[strings.TrimPrefix(name, prefix)] = number
		}
	}
	came, known := values["ingest_items_total"]
	taken := 0.0
	for _, kind := range []string{"detections", "events", "gaps", "duplicates", "unreadable", "unknown"} {
		taken += values["correlate_"+kind+"_total"]
	}
	return known && taken >= came
}
