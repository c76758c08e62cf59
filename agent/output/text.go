package output

import (
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/seawall-security/seawall/internal/event"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

// describeDetection is a detection in one or two lines: when, how bad, what, where, and
// through which processes.
func describeDetection(d *sensorv1.Detection) string {
	severity := strings.TrimPrefix(d.GetSeverity().String(), "SEVERITY_")
	var b strings.Builder
	fmt.Fprintf(&b, "%s %-8s %s: %s", clock(d.GetEvent().GetTime()), severity, d.GetRule(), event.Printable(d.GetSummary()))
	if place := where(d.GetEvent().GetContainer()); place != "" {
		fmt.Fprintf(&b, "\n         in %s", place)
	}
	if chain := chainOf(d.GetEvent()); chain != "" {
		fmt.Fprintf(&b, "\n         by %s", chain)
	}
	return b.String()
}

// describeEvent is an event in one line.
func describeEvent(e *sensorv1.Event) string {
	kind := strings.ToLower(strings.TrimPrefix(e.GetKind().String(), "KIND_"))
	line := fmt.Sprintf("%s %-17s %s", clock(e.GetTime()), kind, program(e.GetProcess()))
	if detail := detailOf(e); detail != "" {
		line += "  " + detail
	}
	if place := where(e.GetContainer()); place != "" {
		line += "  [" + place + "]"
	}
	return line
}

func detailOf(e *sensorv1.Event) string {
	switch p := e.GetPayload().(type) {
	case *sensorv1.Event_Fork:
		return fmt.Sprintf("pid %d", p.Fork.GetChild().GetPid())
	case *sensorv1.Event_Exec:
		return event.Printable(strings.Join(e.GetProcess().GetArgs(), " "))
	case *sensorv1.Event_Exit:
		return fmt.Sprintf("code %d signal %d", p.Exit.GetCode(), p.Exit.GetSignal())
	case *sensorv1.Event_Namespace:
		return strings.Join(p.Namespace.GetChanged(), ",")
	case *sensorv1.Event_Open:
		return event.Printable(p.Open.GetFile().GetPath())
	case *sensorv1.Event_Rename:
		return event.Printable(p.Rename.GetFile().GetPath() + " → " + p.Rename.GetNewPath())
	case *sensorv1.Event_Unlink:
		return event.Printable(p.Unlink.GetFile().GetPath())
	case *sensorv1.Event_Chmod:
		return fmt.Sprintf("%#o %s", p.Chmod.GetMode(), event.Printable(p.Chmod.GetFile().GetPath()))
	case *sensorv1.Event_Connect:
		return address(p.Connect.GetRemote(), p.Connect.GetPath())
	case *sensorv1.Event_Accept:
		return "from " + address(p.Accept.GetRemote(), "")
	case *sensorv1.Event_Protect:
		return p.Protect.GetRegion() + " " + protection(p.Protect.GetBefore()) + " → " + protection(p.Protect.GetAfter())
	case *sensorv1.Event_CgroupCreate:
		return event.Printable(p.CgroupCreate.GetPath())
	case *sensorv1.Event_CgroupRemove:
		return event.Printable(p.CgroupRemove.GetPath())
	}
	return ""
}

// chainOf is the process and its ancestors, oldest first.
func chainOf(e *sensorv1.Event) string {
	links := []string{program(e.GetProcess())}
	for _, a := range e.GetAncestors() {
		links = append(links, program(a))
	}
	slices.Reverse(links)
	return strings.Join(links, " → ")
}

func program(p *sensorv1.Process) string {
	name := p.GetName()
	if name == "" {
		name = p.GetComm()
	}
	return fmt.Sprintf("%s(%d)", event.Printable(name), p.GetPid())
}

func where(c *sensorv1.Container) string {
	if c == nil {
		return ""
	}
	var parts []string
	if pod := c.GetPod(); pod.GetName() != "" {
		parts = append(parts, "pod "+pod.GetNamespace()+"/"+pod.GetName())
	}
	name := c.GetName()
	if name == "" {
		name = c.GetId()
	}
	parts = append(parts, "container "+name)
	if c.GetImage() != "" {
		parts = append(parts, "image "+c.GetImage())
	}
	return event.Printable(strings.Join(parts, ", "))
}

func address(a *sensorv1.Address, path string) string {
	if a.GetIp() == "" {
		return event.Printable(path)
	}
	if strings.Contains(a.GetIp(), ":") {
		return fmt.Sprintf("[%s]:%d", a.GetIp(), a.GetPort())
	}
	return fmt.Sprintf("%s:%d", a.GetIp(), a.GetPort())
}

func protection(p *sensorv1.Protection) string {
	flag := func(set bool, letter string) string {
		if set {
			return letter
		}
		return "-"
	}
	return flag(p.GetRead(), "r") + flag(p.GetWrite(), "w") + flag(p.GetExecute(), "x")
}

// clock is the wall time of day: who watches a terminal knows the date.
func clock(t *timestamppb.Timestamp) string { return t.AsTime().Local().Format("15:04:05") }
