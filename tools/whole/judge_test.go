package whole

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

// judge holds what was told against what was done.
type judge struct {
	*chaos
	siemOut, fileOut, hookOut *outlet
	durable                   map[string]bool
	figures                   string
}

func newJudge(c *chaos) *judge {
	j := &judge{chaos: c, durable: map[string]bool{},
		siemOut: newOutlet("siem", c.siem.stdout), fileOut: newOutlet("archive", c.path("archive.json")), hookOut: newOutlet("webhook", c.path("hook.json"))}
	for _, crash := range c.crashes {
		for mark := range crash.kept.marks {
			j.durable[mark] = true
		}
	}
	// A reader that acknowledges each one gets one again: what it had written as it died.
	j.siemOut.repeats = func(index int, again, last told) bool { return again == last && c.startedAt(index) }
	// A webhook gets the batch again that nobody answered for.
	j.hookOut.repeats = func(_ int, again, _ told) bool {
		order := j.hookOut.order
		return slices.Contains(order[max(0, len(order)-64):], again)
	}
	return j
}

func (j *judge) outlets() []*outlet { return []*outlet{j.siemOut, j.fileOut, j.hookOut} }

// drain waits until everything that can arrive has.
func (j *judge) drain() {
	j.Helper()
	last := j.actor.act(j.Context())
	j.until(drained, "everything arrives", func() error { return j.missing(last) })
	// What an alert grew by is told within seconds.
	j.until(drained, "all outlets agree", j.differ)
}

// arrived waits until outlets agree.
func (j *judge) arrived() {
	j.Helper()
	j.until(drained, "all outlets agree", j.differ)
}

func (j *judge) missing(last string) error {
	for _, o := range j.outlets() {
		if err := o.catchUp(); err != nil {
			return err
		}
		if len(o.marks[last]) == 0 {
			return fmt.Errorf("%s has not been told of the last act", o.name)
		}
		for mark := range j.durable {
			if len(o.marks[mark]) == 0 && !j.corrupt[mark] {
				return fmt.Errorf("%s has not been told of %s, which was in the spool", o.name, mark)
			}
		}
	}
	return nil
}

func (j *judge) differ() error {
	for _, o := range j.outlets() {
		if err := o.catchUp(); err != nil {
			return err
		}
	}
	for _, o := range j.outlets()[1:] {
		if !slices.Equal(o.order, j.siemOut.order) {
			return fmt.Errorf("%s has %d revisions, the siem %d", o.name, len(o.order), len(j.siemOut.order))
		}
	}
	return nil
}

// books holds the agent's sums.
func (j *judge) books() {
	j.Helper()
	j.until(time.Minute, "the agent's books are right", func() error {
		m, err := j.scrape()
		if err != nil {
			return err
		}
		sum := func(name, label string) float64 {
			var total float64
			for series, value := range m {
				if series == name || strings.HasPrefix(series, name+"{") && strings.Contains(series, label) {
					total += value
				}
			}
			return total
		}
		var errs []error
		kinds := 0
		for series := range m {
			kind, ok := strings.CutPrefix(series, `seawall_agent_kernel_events_seen_total{kind="`)
			if !ok {
				continue
			}
			kinds++
			label := `kind="` + strings.TrimSuffix(kind, `"}`) + `"`
			seen := m[series]
			told := sum("seawall_agent_kernel_events_filtered_total", label) + sum("seawall_agent_kernel_events_emitted_total", label) +
				sum("seawall_agent_kernel_events_dropped_total", label)
			if seen != told {
				errs = append(errs, fmt.Errorf("%s: seen %v, accounted for %v", label, seen, told))
			}
			read, known := sum("seawall_agent_events_read_total", label), sum("seawall_agent_events_self_test_total", label)+
				sum("seawall_agent_events_delivered_total", label)+sum("seawall_agent_events_penned", label)
			if read != known {
				errs = append(errs, fmt.Errorf("%s: read %v, known of %v", label, read, known))
			}
		}
		if kinds == 0 {
			return errors.New("no kinds in the metrics")
		}
		for name, label := range map[string]string{
			"seawall_agent_uplink_spooled": `lane="detections"`, "seawall_agent_uplink_not_spooled_total": `class="detection"`,
		} {
			if left := sum(name, label); left != 0 {
				errs = append(errs, fmt.Errorf("%s %s is %v", name, label, left))
			}
		}
		return errors.Join(errs...)
	})
}

// covers reports whether a gap may stand for a detection of that time.
func covers(g *sensorv1.Gap, a act) bool {
	return (g.Class == "detection" || g.Class == "all") && !strings.Contains(g.Reason, "lane telemetry") &&
		!g.GetSince().AsTime().After(a.ended) && !g.GetUntil().AsTime().Before(a.began)
}

// verdict is given when everything has ended.
func (j *judge) verdict() {
	j.Helper()
	log := j.readLog()
	for _, o := range j.outlets() {
		for _, problem := range o.problems {
			j.Error(problem)
		}
		for mark, alerts := range o.marks {
			if len(alerts) != 1 {
				j.Errorf("%s: %s is in %d alerts", o.name, mark, len(alerts))
			}
		}
	}
	for mark := range log.marks {
		if log.marks[mark] > 1 {
			j.Errorf("the agent told %d times of %s", log.marks[mark], mark)
		}
		if len(j.siemOut.marks[mark]) == 0 {
			j.Errorf("%s is in the event log, and the siem was not told", mark)
		}
	}
	var seen, down, young, full, corrupt, other int
	var oldest time.Duration
	for _, a := range j.actor.done() {
		if len(j.siemOut.marks[a.mark]) > 0 {
			seen++
			continue
		}
		if j.durable[a.mark] && !j.corrupt[a.mark] {
			j.Errorf("%s was in the spool, and the siem was not told", a.mark)
			continue
		}
		covered := slices.ContainsFunc(log.gaps, func(g *sensorv1.Gap) bool { return covers(g, a) })
		shown := slices.ContainsFunc(j.siemOut.gaps, func(g *sensorv1.Gap) bool { return covers(g, a) })
		if !covered || !shown {
			j.Errorf("%s, %v to %v, is lost: a gap in the log: %v, shown to the siem: %v", a.mark,
				a.began.Format(time.RFC3339Nano), a.ended.Format(time.RFC3339Nano), covered, shown)
		}
		switch crash, age := j.crashOf(a); {
		case j.corrupt[a.mark]:
			corrupt++
		case crash == nil:
			other++
		case a.ended.After(crash.killed):
			down++
		case j.agentDisk.wasFull(a.began, crash.killed):
			full++
		default:
			young++
			oldest = max(oldest, age)
			if age > window+tolerance {
				j.Errorf("%s was lost, %v old when the agent was killed", a.mark, age)
			}
		}
	}
	// What nobody was there for has to be one of these; the pipeline loses nothing of it.
	if other > 0 && len(j.agentDisk.filled) == 0 {
		j.Errorf("%d are lost, and the agent was not killed then", other)
	}
	var counted uint64
	for _, g := range log.gaps {
		if strings.HasPrefix(g.Reason, "the spool was damaged") && strings.Contains(g.Reason, "detections") {
			counted += g.Count
		}
	}
	if counted < j.damaged {
		j.Errorf("damage cost %d entries, gaps tell of %d", j.damaged, counted)
	}
	j.figures = fmt.Sprintf("acts %d, seen %d, agent down %d, younger than the commit %d (the oldest %v), in memory on a full disk %d, damaged %d, lost otherwise with a gap %d; "+
		"kills of the agent %d; items in the log %d, of them again %d; gaps %d; revisions %d, again to siem %d, webhook %d",
		len(j.actor.done()), seen, down, young, oldest.Round(time.Millisecond), full, corrupt, other,
		len(j.crashes), log.items, log.again, len(log.gaps), len(j.siemOut.order), j.siemOut.repeated, j.hookOut.repeated)
}

// crashOf is the kill that an act may have been lost with, and how old it was then.
func (j *judge) crashOf(a act) (*crash, time.Duration) {
	for i := range j.crashes {
		c := &j.crashes[i]
		if a.began.Before(c.ready) && (i == 0 || a.ended.After(j.crashes[i-1].ready)) && !a.ended.Before(c.killed.Add(-time.Minute)) {
			return c, c.killed.Sub(a.ended)
		}
	}
	return nil, 0
}
