package main

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/seawall-security/seawall/internal/event"
	alertv1 "github.com/seawall-security/seawall/proto/alert/v1"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

// tell writes an alert for a person: what, where, the processes as a tree, and what
// happened in the order of time.
func tell(out io.Writer, a *alertv1.Alert) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s  %s\n", strings.ToUpper(severityOf(a.GetSeverity())), event.Printable(a.GetTitle()))
	fmt.Fprintf(&b, "id        %s, revision %d\n", event.Printable(a.GetId()), a.GetRevision())
	fmt.Fprintf(&b, "where     %s\n", placeOf(a.GetAsset()))
	fmt.Fprintf(&b, "when      %s to %s", clock(a.GetFirstTime().AsTime()), clock(a.GetLastTime().AsTime()))
	if off := a.GetTimeUncertainty().AsDuration(); off > 0 {
		fmt.Fprintf(&b, " (± %s)", off.Round(time.Millisecond))
	}
	fmt.Fprintf(&b, "\nATT&CK    %s\n", event.Printable(strings.Join(slices.Concat(a.GetTactics(), a.GetTechniques()), " ")))
	if tags := a.GetTags(); len(tags) > 0 {
		fmt.Fprintf(&b, "tags      %s\n", event.Printable(strings.Join(tags, " ")))
	}
	fmt.Fprintf(&b, "\n%s\n", event.Printable(a.GetSummary()))
	tellEntries(&b, a.GetEntries())
	tellRequests(&b, a.GetRequests())
	tellProcesses(&b, a.GetProcesses())
	tellEvidence(&b, a)
	for _, g := range a.GetGaps() {
		count, when := "?", "before "
		if g.GetCount() > 0 {
			count = strconv.FormatUint(g.GetCount(), 10)
		}
		if g.GetSince() != nil {
			when = "between " + clock(g.GetSince().AsTime()) + " and "
		}
		fmt.Fprintf(&b, "lost      %s × %s %s%s (%s, %s): the alert may be incomplete\n", count, event.Printable(g.GetClass()),
			when, clock(g.GetUntil().AsTime()), event.Printable(g.GetStage()), event.Printable(g.GetReason()))
	}
	_, err := out.Write(b.Bytes())
	return err
}

// tellShort writes a revision in two lines.
func tellShort(out io.Writer, a *alertv1.Alert) error {
	_, err := fmt.Fprintf(out, "%s  %-8s  %s  (%s, revision %d)\n          %s\n", clock(a.GetLastTime().AsTime()), severityOf(a.GetSeverity()),
		event.Printable(a.GetTitle()), event.Printable(a.GetId()), a.GetRevision(), event.Printable(a.GetSummary()))
	return err
}

// tellProcesses draws the tree. Processes come parents first; one whose parent is not
// among them begins a tree.
func tellProcesses(b *bytes.Buffer, processes []*sensorv1.Process) {
	if len(processes) == 0 {
		return
	}
	b.WriteString("\nPROCESSES\n")
	known := make(map[string]bool, len(processes))
	children := make(map[string][]*sensorv1.Process)
	for _, p := range processes {
		parent := p.GetParentId()
		if !known[parent] {
			parent = ""
		}
		children[parent] = append(children[parent], p)
		known[p.GetId()] = true
	}
	drawn := make(map[string]bool, len(processes))
	var draw func(parent, indent string)
	draw = func(parent, indent string) {
		for i, p := range children[parent] {
			if drawn[p.GetId()] || p.GetId() == "" {
				continue // a circle can only be forged
			}
			drawn[p.GetId()] = true
			branch, below := "├─ ", "│  "
			if i == len(children[parent])-1 {
				branch, below = "└─ ", "   "
			}
			if parent == "" {
				branch, below = "", ""
			}
			line := fmt.Sprintf("  %s%s%s[%d] %s", indent, branch, event.Printable(cmp.Or(p.GetName(), p.GetComm(), "?")), p.GetPid(), commandOf(p))
			b.WriteString(strings.TrimRight(line, " ") + "\n")
			draw(p.GetId(), indent+below)
		}
	}
	draw("", "")
}

// maxCommand bounds a command line in the tree; -o json has it whole.
const maxCommand = 120

func commandOf(p *sensorv1.Process) string {
	return brief(event.Printable(strings.Join(p.GetArgs(), " ")), maxCommand)
}

func tellEvidence(b *bytes.Buffer, a *alertv1.Alert) {
	b.WriteString("\nTIMELINE\n")
	for _, e := range a.GetEvidence() {
		fmt.Fprintf(b, "  %s  %-8s %-8s  %s", clock(e.GetTime().AsTime()), event.Printable(e.GetRole()), severityOf(e.GetSeverity()), event.Printable(e.GetText()))
		if e.GetRule() != "" {
			fmt.Fprintf(b, "  (%s)", event.Printable(e.GetRule()))
		}
		b.WriteByte('\n')
	}
	if n := a.GetEvidenceOmitted(); n > 0 {
		fmt.Fprintf(b, "  and %d more that are not shown\n", n)
	}
}

func placeOf(a *alertv1.Asset) string {
	c := a.GetContainer()
	if c == nil && a.GetNode() == "" {
		return "the collector"
	}
	if c == nil {
		return event.Printable("node " + a.GetNode())
	}
	place := "container " + cmp.Or(c.GetName(), c.GetId())
	if pod := c.GetPod(); pod.GetName() != "" {
		place = "pod " + pod.GetNamespace() + "/" + pod.GetName() + ", " + place
	}
	return event.Printable(place + ", node " + a.GetNode())
}

func severityOf(s sensorv1.Severity) string {
	if s == sensorv1.Severity_SEVERITY_UNSPECIFIED {
		return "-"
	}
	return strings.ToLower(strings.TrimPrefix(s.String(), "SEVERITY_"))
}

// clock writes times as people compare them with logs.
func clock(t time.Time) string {
	if t.Unix() == 0 {
		return "?"
	}
	return t.UTC().Format("2006-01-02 15:04:05.000")
}
