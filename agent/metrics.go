package main

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/seawall-security/seawall/agent/container"
	"github.com/seawall-security/seawall/agent/output"
	"github.com/seawall-security/seawall/agent/pipeline"
	"github.com/seawall-security/seawall/agent/probe"
	"github.com/seawall-security/seawall/agent/process"
	"github.com/seawall-security/seawall/agent/rules"
)

// collector shows the ledger and the state of the stages at scrape time. Known label
// sets begin at zero: a series that is missing says that the agent is too old for it.
type collector struct {
	sensor     *probe.Sensor
	stages     *pipeline.Pipeline
	rules      *rules.Rules
	processes  *process.Table
	containers *container.Table
	names      *container.Containerd
	printer    *output.Printer

	seen, filtered, emitted, droppedInKernel, missing, missed, disordered *prometheus.Desc
	read, delivered, selfTest, penned, refused, detections                *prometheus.Desc
	byLineage, strangers, penOverflows, penBytes, penNameless             *prometheus.Desc
	marks, marksRefused, printed, notPrinted                              *prometheus.Desc
	excepted, bundleSerial, bundlesRefused                                *prometheus.Desc
	hook, connected, containerCount, containersTotal, processCount        *prometheus.Desc
	entries, entriesOver                                                  *prometheus.Desc
}

func newCollector(sensor *probe.Sensor, stages *pipeline.Pipeline, inForce *rules.Rules, processes *process.Table,
	containers *container.Table, names *container.Containerd, printer *output.Printer) *collector {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("seawall_agent_"+name, help, labels, nil)
	}
	return &collector{
		sensor: sensor, stages: stages, rules: inForce, processes: processes, containers: containers, names: names, printer: printer,

		seen:            desc("kernel_events_seen_total", "Events that reached a hook: filtered + emitted + dropped.", "kind"),
		filtered:        desc("kernel_events_filtered_total", "Events refused in the kernel.", "kind", "reason"),
		emitted:         desc("kernel_events_emitted_total", "Events written to a ring.", "kind"),
		droppedInKernel: desc("kernel_events_dropped_total", "Events lost in the kernel.", "kind", "reason"),
		missing:         desc("ring_records_missing_total", "Sequence numbers passed over: follows the ring's drops, one record per CPU behind.", "ring"),
		disordered:      desc("ring_records_disordered_total", "Bulk records read although a decisive one was still being written."),
		missed:          desc("program_runs_missed_total", "Runs the kernel skipped because the program was running on that CPU already.", "program"),

		read:         desc("events_read_total", "Records decoded: self-test + delivered + penned.", "kind"),
		selfTest:     desc("events_self_test_total", "Records that the agent provoked to prove its hooks.", "kind"),
		delivered:    desc("events_delivered_total", "Events that went through the rules.", "kind"),
		penned:       desc("events_penned", "Events that wait for their container's name.", "kind"),
		refused:      desc("records_refused_total", "Records that did not decode.", "reason"),
		detections:   desc("detections_total", "Hits of rules."),
		excepted:     desc("detections_excepted_total", "Matches of rules that an exception took out.", "rule", "exception"),
		byLineage:    desc("events_by_lineage_total", "Events of processes outside their container's cgroup, named by where they come from."),
		strangers:    desc("events_unknown_container_total", "Events in a mount namespace that is not the host's and in a cgroup that nobody could tell."),
		penOverflows: desc("pen_overflows_total", "Times a full pen let its oldest container go, by the bound it reached.", "bound"),
		penBytes:     desc("pen_bytes", "What the events that wait for a name keep in memory."),
		penNameless:  desc("pen_nameless_total", "Times a container's events went on without a runtime's word."),
		marks:        desc("tree_marks_total", "Times the kernel was told to follow a process."),
		marksRefused: desc("tree_marks_refused_total", "Times it could not be told: its map is full, or the process is gone.", "reason"),
		printed:      desc("records_printed_total", "Records written to standard output."),
		notPrinted:   desc("records_not_printed_total", "Records that never reached standard output: the queue was full of events or bytes, no space was left on its disk, or they did not encode.", "class", "reason"),

		bundleSerial:   desc("bundle_serial", "Serial of the bundle of rules in force; 0: there is none."),
		bundlesRefused: desc("bundles_refused_total", "Bundles of rules that were not put in force."),

		hook:            desc("hook_rung_info", "How each hook is attached; 1 when its event was provoked and seen, else 0.", "hook", "rung"),
		connected:       desc("containerd_connected", "Whether containerd answers."),
		containerCount:  desc("containers", "Containers and candidates by state.", "state"),
		containersTotal: desc("containers_total", "Containers by how they became known.", "outcome"),
		processCount:    desc("processes", "Processes in the table.", "state"),
		entries:         desc("entries_total", "Entries into containers: by the runtime, by joining a mount namespace, by a stream begun from outside within the network namespace.", "by"),
		entriesOver:     desc("entries_over_rate_total", "Streams begun from outside within a container's network namespace that are not told as entries: too many in a second."),
	}
}

// Describe sends no descriptions: what is collected depends on the host's hooks.
func (c *collector) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (c *collector) Collect(out chan<- prometheus.Metric) {
	counter := func(d *prometheus.Desc, v uint64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	if counts, err := c.sensor.Ledger(); err != nil {
		out <- prometheus.NewInvalidMetric(c.seen, err)
	} else {
		for _, k := range counts {
			kind := k.Kind.String()
			counter(c.seen, k.Seen, kind)
			counter(c.filtered, k.FilteredOwn, kind, "own")
			counter(c.filtered, k.FilteredInterest, kind, "interest")
			counter(c.filtered, k.FilteredRepeat, kind, "repeat")
			counter(c.filtered, k.FilteredRate, kind, "rate")
			counter(c.emitted, k.Emitted, kind)
			counter(c.droppedInKernel, k.DroppedRing, kind, "ring")
			counter(c.droppedInKernel, k.DroppedScratch, kind, "scratch")
		}
	}
	for _, r := range c.sensor.Rings() {
		counter(c.missing, r.Missing, r.Ring.String())
	}
	counter(c.disordered, c.sensor.Disordered())
	for program, n := range c.sensor.Missed() {
		counter(c.missed, n, program)
	}
	for _, h := range c.sensor.Hooks() {
		confirmed := 0.0
		if h.Confirmed {
			confirmed = 1
		}
		gauge(c.hook, confirmed, h.Hook, string(h.Rung))
	}
	c.collectStages(counter, gauge)
}

func (c *collector) collectStages(counter func(*prometheus.Desc, uint64, ...string), gauge func(*prometheus.Desc, float64, ...string)) {
	ledger := c.stages.Ledger()
	for _, k := range ledger.Kinds {
		kind := k.Kind.String()
		counter(c.read, k.Read, kind)
		counter(c.selfTest, k.SelfTest, kind)
		counter(c.delivered, k.Delivered, kind)
		gauge(c.penned, float64(k.Penned), kind)
	}
	for reason, n := range ledger.Refused {
		counter(c.refused, n, reason)
	}
	counter(c.detections, ledger.Detections)
	for _, e := range c.stages.Excepted() {
		counter(c.excepted, e.Count, e.Rule, e.Exception)
	}
	_, serial := c.rules.InForce()
	gauge(c.bundleSerial, float64(serial))
	counter(c.bundlesRefused, c.rules.Refused())
	counter(c.byLineage, ledger.ByLineage)
	counter(c.strangers, ledger.Strangers)
	for bound, n := range ledger.PenOverflows {
		counter(c.penOverflows, n, bound)
	}
	gauge(c.penBytes, float64(ledger.PenBytes))
	counter(c.penNameless, ledger.PenNameless)
	counter(c.marks, ledger.Marks)
	for reason, n := range ledger.MarksRefused {
		counter(c.marksRefused, n, reason)
	}
	counter(c.printed, c.printer.Printed())
	for _, lost := range c.printer.Lost() {
		counter(c.notPrinted, lost.Count, lost.Class, lost.Reason)
	}

	connected := 0.0
	if c.names.Connection().Connected {
		connected = 1
	}
	gauge(c.connected, connected)
	counts := c.containers.Counts()
	gauge(c.containerCount, float64(counts.Containers), "remembered")
	gauge(c.containerCount, float64(counts.Unresolved), "unresolved")
	counter(c.containersTotal, counts.Named, "named")
	counter(c.containersTotal, counts.Unknown, "unknown")
	counter(c.containersTotal, counts.Forged, "forged")
	stats := c.processes.Stats()
	gauge(c.processCount, float64(stats.Live), "live")
	gauge(c.processCount, float64(stats.Dead), "dead")
	counter(c.entries, stats.Sessions, "runtime")
	counter(c.entries, stats.Visits, "namespace")
	counter(c.entries, stats.Reaches, "stream")
	counter(c.entriesOver, stats.ReachesOver)
}
