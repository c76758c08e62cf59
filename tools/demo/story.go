package main

import (
	"fmt"
	"path"
	"slices"
	"strings"

	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

// tell prints detections under the acts that raised them, and what the agent lost.
func (p *play) tell(scenes []scene, gaps []*sensorv1.Gap) {
	fmt.Fprintln(p.out, "\nWhat the agent saw")
	act := ""
	for _, s := range scenes {
		if s.act != act {
			act = s.act
			fmt.Fprintf(p.out, "\n  %s\n", act)
		}
		d := s.detection
		fmt.Fprintf(p.out, "    %s  %-8s  %s\n", d.GetEvent().GetTime().AsTime().Local().Format("15:04:05.000"), severity(d), d.GetRule())
		fmt.Fprintf(p.out, "                  %s\n", d.GetSummary())
		fmt.Fprintf(p.out, "                  %s\n", strings.Join(chain(d, labelled), " > "))
		if c := d.GetEvent().GetContainer(); c != nil {
			fmt.Fprintf(p.out, "                  pod %s/%s, container %s, image %s\n",
				c.GetPod().GetNamespace(), c.GetPod().GetName(), c.GetName(), c.GetImage())
		}
	}
	for _, gap := range gaps {
		fmt.Fprintf(p.out, "\n  The agent lost %d events: class %s, %s, %s\n", gap.GetCount(), gap.GetClass(), gap.GetStage(), gap.GetReason())
	}
}

func severity(d *sensorv1.Detection) string {
	return strings.ToLower(strings.TrimPrefix(d.GetSeverity().String(), "SEVERITY_"))
}

// chain is the processes from the one that entered the container, or the oldest
// known, to the one that acted.
func chain(d *sensorv1.Detection, name func(*sensorv1.Process) string) []string {
	var names []string
	root := d.GetEvent().GetSession().GetRootId()
	for _, p := range append([]*sensorv1.Process{d.GetEvent().GetProcess()}, d.GetEvent().GetAncestors()...) {
		names = append(names, name(p))
		if root != "" && p.GetId() == root {
			break
		}
	}
	slices.Reverse(names)
	return names
}

// labelled is a process for the reader: the name it was called by and its pid.
func labelled(p *sensorv1.Process) string {
	name := p.GetName()
	if args := p.GetArgs(); len(args) > 0 && path.Base(args[0]) != name && args[0] != "" {
		name += " as " + path.Base(args[0])
	}
	return fmt.Sprintf("%s[%d]", name, p.GetPid())
}
