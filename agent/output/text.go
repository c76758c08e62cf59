package output

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/seawall-security/seawall/internal/event"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

// describeDetection is a detection in one or two lines: when, how bad, what, where, and
// through which processes.
func describeDetection(d *sensorv1.Detection) string {
	severity := strings.TrimPrefix(d.GetSeverity().String(), "SEVERITY_")
	var b strings.Builder
	fmt.Fprintf(&b, "%s %-8s %s: %s", clock(d.GetEvent().GetTime()), severity, d.GetRule(), printable(d.GetSummary()))
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
		return printable(strings.Join(e.GetProcess().GetArgs(), " "))
	case *sensorv1.Event_Exit:
		return fmt.Sprintf("code %d signal %d", p.Exit.GetCode(), p.Exit.GetSignal())
	case *sensorv1.Event_Namespace:
		return strings.Join(p.Namespace.GetChanged(), ",")
	case *sensorv1.Event_Open:
		return printable(p.Open.GetFile().GetPath())
	case *sensorv1.Event_Rename:
		return printable(p.Rename.GetFile().GetPath() + " → " + p.Rename.GetNewPath())
	case *sensorv1.Event_Unlink:
		return printable(p.Unlink.GetFile().GetPath())
	case *sensorv1.Event_Chmod:
		return fmt.Sprintf("%#o %s", p.Chmod.GetMode(), printable(p.Chmod.GetFile().GetPath()))
	case *sensorv1.Event_Connect:
		return address(p.Connect.GetRemote(), p.Connect.GetPath())
	case *sensorv1.Event_Accept:
		return "from " + address(p.Accept.GetRemote(), "")
	case *sensorv1.Event_Protect:
		return p.Protect.GetRegion() + " " + protection(p.Protect.GetBefore()) + " → " + protection(p.Protect.GetAfter())
	case *sensorv1.Event_CgroupCreate:
		return printable(p.CgroupCreate.GetPath())
	case *sensorv1.Event_CgroupRemove:
		return printable(p.CgroupRemove.GetPath())
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
	return fmt.Sprintf("%s(%d)", printable(name), p.GetPid())
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
	return printable(strings.Join(parts, ", "))
}

func address(a *sensorv1.Address, path string) string {
	if a.GetIp() == "" {
		return printable(path)
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

// printable keeps text of the watched from steering the terminal it is shown on, from
// reordering what stands around it and from hiding: what is not for the eye is escaped.
func printable(s string) string {
	if utf8.ValidString(s) && strings.IndexFunc(s, event.Hidden) < 0 {
		return s
	}
	b := make([]byte, 0, len(s)+16)
	for len(s) > 0 {
		r, size := utf8.DecodeRuneInString(s)
		switch {
		case r == utf8.RuneError && size == 1:
			b = fmt.Appendf(b, `\x%02x`, s[0])
		case !event.Hidden(r):
			b = append(b, s[:size]...)
		case r < utf8.RuneSelf:
			b = fmt.Appendf(b, `\x%02x`, r)
		case r > 0xffff:
			b = fmt.Appendf(b, `\U%08x`, r)
		default:
			b = fmt.Appendf(b, `\u%04x`, r)
		}
		s = s[size:]
	}
	return string(b)
}
