package correlate

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/seawall-security/seawall/collector/alert"
	alertv1 "github.com/seawall-security/seawall/proto/alert/v1"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

// fact is one event, with what a rule says of it if one does.
type fact struct {
	cluster, agentID string
	agent            *agentState
	bootID, node     string
	event            *sensorv1.Event
	detection        *sensorv1.Detection // nil: no rule speaks of it
	localMasks       bool                // its masks can be of any text, see Record.local_masks
	session          sessionKey          // without an id: of none
	at               time.Time           // corrected
	uncertainty      time.Duration
}

// container is the id of the fact's container, "" on the host.
func (f *fact) container() string { return cutID(f.event.GetContainer().GetId()) }

// workload is what runs, whichever replica of it: repeats in all of them are one alert.
func (f *fact) workload() string {
	c := f.event.Container
	switch {
	case c == nil:
		return alert.Hash("host", f.agentID)
	case c.Pod != nil:
		return alert.Hash("pod", c.Pod.Namespace, c.Name, c.Image)
	}
	return alert.Hash("container", f.agentID, c.Name, c.Image)
}

// lineage is the process and those above it.
func (f *fact) lineage() []*sensorv1.Process {
	ancestors := f.event.Ancestors
	return append([]*sensorv1.Process{f.event.GetProcess()}, ancestors[:min(len(ancestors), 16)]...)
}

func (f *fact) eventID() string {
	return fmt.Sprintf("%s:%s:%d", f.agentID, f.bootID, f.event.Sequence)
}

// evidence is the fact as the alert tells it.
func (f *fact) evidence(role string) *alertv1.Evidence {
	e := &alertv1.Evidence{
		EventId: f.eventID(), Time: timestamppb.New(f.at), Role: role, ProcessId: f.event.GetProcess().GetId(),
		Kind: f.event.Kind,
	}
	e.File, e.Local, e.Remote = object(f.event)
	if d := f.detection; d != nil {
		e.Rule, e.DetectionId, e.Severity = cutID(d.Rule), cutID(d.Id), d.Severity
		e.Text = line(cmp.Or(d.Summary, d.Title, d.Rule))
		if e.DetectionId == "" {
			e.DetectionId = alert.Hash("detection", e.Rule, e.EventId)
		}
		return e
	}
	e.Text = line(tellEvent(f.event))
	return e
}

// object is what an event acted on.
func object(e *sensorv1.Event) (file *sensorv1.File, local, remote *sensorv1.Address) {
	switch p := e.Payload.(type) {
	case *sensorv1.Event_Exec:
		file = e.GetProcess().GetExe()
	case *sensorv1.Event_Open:
		file = p.Open.GetFile()
	case *sensorv1.Event_Rename:
		file = p.Rename.GetFile()
	case *sensorv1.Event_Unlink:
		file = p.Unlink.GetFile()
	case *sensorv1.Event_Chmod:
		file = p.Chmod.GetFile()
	case *sensorv1.Event_Protect:
		file = p.Protect.GetFile()
	case *sensorv1.Event_Map:
		file = p.Map.GetFile()
	case *sensorv1.Event_Accept:
		local, remote = p.Accept.GetLocal(), p.Accept.GetRemote()
	case *sensorv1.Event_Connect:
		local, remote = p.Connect.GetLocal(), p.Connect.GetRemote()
	}
	return fileOf(file), addressOf(local), addressOf(remote)
}

// fileOf is the file without who wrote it, which its own evidence tells, bounded.
func fileOf(f *sensorv1.File) *sensorv1.File {
	if f == nil {
		return nil
	}
	return &sensorv1.File{
		Path: alert.Cut(f.Path, maxName), Name: alert.Cut(f.Name, maxName), Inode: f.Inode, Device: f.Device,
		Filesystem: cutID(f.Filesystem), Mode: f.Mode, Uid: f.Uid, SizeBytes: f.SizeBytes, ChangeTime: f.ChangeTime,
		OverlayUpper: f.OverlayUpper, Memfd: f.Memfd, Deleted: f.Deleted, Overlay: f.Overlay, Shipped: f.Shipped,
	}
}

func addressOf(a *sensorv1.Address) *sensorv1.Address {
	if a == nil {
		return nil
	}
	return &sensorv1.Address{Family: cutID(a.Family), Ip: cutID(a.Ip), Port: a.Port, Loopback: a.Loopback}
}

// tellEvent is one line about an event that no rule speaks of. It names nothing that
// differs between two acts that are the same to a reader, such as pids.
func tellEvent(e *sensorv1.Event) string {
	program := e.GetProcess().GetProgram()
	if program == "" {
		program = e.GetProcess().GetComm()
	}
	if program == "" {
		program = "a program"
	}
	switch p := e.Payload.(type) {
	case *sensorv1.Event_Accept:
		return fmt.Sprintf("%s took a connection from %s on port %d", program, p.Accept.GetRemote().GetIp(), p.Accept.GetLocal().GetPort())
	case *sensorv1.Event_Connect:
		const inProgress = -115
		verb := "connected"
		if e.ResultKnown && e.Result < 0 && e.Result != inProgress {
			verb = "tried to connect"
		}
		return fmt.Sprintf("%s %s to %s port %d", program, verb, p.Connect.GetRemote().GetIp(), p.Connect.GetRemote().GetPort())
	case *sensorv1.Event_Exec:
		return program + " was run: " + alert.Cut(strings.Join(e.GetProcess().GetArgs(), " "), 400)
	case *sensorv1.Event_Open:
		verb := "read"
		if p.Open.GetFailed() {
			verb = "tried to read"
		}
		return program + " " + verb + " " + p.Open.GetFile().GetPath()
	}
	return program
}

// line is a text for a timeline.
func line(text string) string { return alert.Cut(oneLine(text), alert.MaxText) }

// oneLine takes out of a text what would make more than a line of it.
func oneLine(text string) string {
	control := func(r rune) bool { return r < ' ' || r == 0x7f || r == 0x2028 || r == 0x2029 }
	if !strings.ContainsFunc(text, control) {
		return text
	}
	return strings.Map(func(r rune) rune {
		if control(r) {
			return ' '
		}
		return r
	}, text)
}

func inTree(e *sensorv1.Event, reason string) bool { return slices.Contains(e.Tree, reason) }
