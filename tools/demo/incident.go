package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	alertv1 "github.com/seawall-security/seawall/proto/alert/v1"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

// incident is an alert without what differs from play to play.
type incident struct {
	Kind     string   `json:"kind"`
	Severity string   `json:"severity"`
	Title    string   `json:"title"`
	Pod      string   `json:"pod"`
	Image    string   `json:"image"`
	Facts    []string `json:"facts"` // role and rule of what rules speak of
	Chain    []string `json:"chain"` // to the process of the first such fact
}

func incidents(alerts []*alertv1.Alert) []incident {
	var found []incident
	for _, a := range alerts {
		c := a.GetAsset().GetContainer()
		i := incident{
			Kind: a.GetKind(), Severity: strings.ToLower(strings.TrimPrefix(a.GetSeverity().String(), "SEVERITY_")), Title: plain(a.GetTitle()),
			Pod: c.GetPod().GetNamespace() + "/" + c.GetPod().GetName(), Image: c.GetImage(),
		}
		for _, e := range a.GetEvidence() {
			if e.GetRule() == "" {
				continue
			}
			if len(i.Facts) == 0 {
				i.Chain = chainTo(a.GetProcesses(), e.GetProcessId())
			}
			i.Facts = append(i.Facts, e.GetRole()+" "+e.GetRule())
		}
		slices.Sort(i.Facts)
		i.Facts = slices.Compact(i.Facts)
		found = append(found, i)
	}
	slices.SortFunc(found, func(a, b incident) int {
		return cmp.Or(strings.Compare(a.Kind, b.Kind), strings.Compare(a.Title, b.Title))
	})
	return found
}

// chainTo names the processes from the container's first down to one.
func chainTo(processes []*sensorv1.Process, id string) []string {
	var names []string
	for range processes {
		at := slices.IndexFunc(processes, func(p *sensorv1.Process) bool { return p.GetId() == id })
		if at < 0 || processes[at].GetHostMountNamespace() || processes[at].GetName() == "" {
			break // the runtime, or its stages within the container
		}
		names, id = append(names, plain(processes[at].GetName())), processes[at].GetParentId()
	}
	slices.Reverse(names)
	return names
}

// whole reports whether the alerts say all that the agent's detections do: each rule in
// the web shell's alert, but for the visit by hand, which has one of its own.
func whole(detections []*sensorv1.Detection) func([]*alertv1.Alert) bool {
	const visit = "shell-interactive-in-container"
	return func(alerts []*alertv1.Alert) bool {
		told := func(kind, rule string) bool {
			return slices.ContainsFunc(alerts, func(a *alertv1.Alert) bool {
				return a.GetKind() == kind && slices.ContainsFunc(a.GetEvidence(), func(e *alertv1.Evidence) bool { return e.GetRule() == rule })
			})
		}
		for _, d := range detections {
			rule, kind := d.GetRule(), "web-shell"
			if rule == visit {
				kind = "detection"
			}
			if !told(kind, rule) {
				return false
			}
		}
		return true
	}
}

func (p *play) tellAlerts(alerts []*alertv1.Alert) {
	if len(alerts) == 0 {
		return
	}
	fmt.Fprintln(p.out, "\nWhat the SIEM was told")
	for _, a := range alerts {
		fmt.Fprintf(p.out, "\n  %s  %s (revision %d)\n  %s\n", strings.ToUpper(strings.TrimPrefix(a.GetSeverity().String(), "SEVERITY_")),
			a.GetTitle(), a.GetRevision(), a.GetSummary())
	}
}
