package event

import (
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

// MaxAncestors bounds the ancestors a detection embeds.
const MaxAncestors = 16

// Proto converts the event to the schema. The message owns its text: it stays
// valid when a lent event does not. If any text is not UTF-8, all text of the
// message is escaped (see [Escape]) and the message says so.
func (e *Event) Proto(bootID string) *sensorv1.Event { return e.convert(bootID, 0) }

// ProtoWithAncestors is Proto with up to [MaxAncestors] ancestors of the
// process: the form that detections embed.
func (e *Event) ProtoWithAncestors(bootID string) *sensorv1.Event {
	return e.convert(bootID, MaxAncestors)
}

func (e *Event) convert(bootID string, ancestors int) *sensorv1.Event {
	c := converter{bootID: bootID, now: e.Time}
	m := c.event(e, ancestors)
	if c.dirty {
		c.escape = true
		m = c.event(e, ancestors)
		m.Escaped = true
	}
	return m
}

// Proto converts the process by itself, without the age of its file's origin,
// which is counted from an event. It reports whether the text is escaped.
func (p *Process) Proto(bootID string) (m *sensorv1.Process, escaped bool) {
	c := converter{bootID: bootID}
	m = c.process(p)
	if c.dirty {
		c.escape = true
		m = c.process(p)
	}
	return m, c.escape
}

// Proto converts the container by itself and reports whether its text is escaped.
func (c *Container) Proto() (m *sensorv1.Container, escaped bool) {
	var conv converter
	m = conv.container(c)
	if conv.dirty {
		conv.escape = true
		m = conv.container(c)
	}
	return m, conv.escape
}

// converter carries what one conversion needs everywhere. The first run finds
// out whether any text needs escaping, which is rare; only then is there a second.
type converter struct {
	bootID string
	now    Boot // kernel time of the event; 0: none
	escape bool
	dirty  bool // some text was not UTF-8
}

func (c *converter) text(s string) string {
	if c.escape {
		return Escape(s)
	}
	c.dirty = c.dirty || !utf8.ValidString(s)
	return s
}

// lent converts text that may be a view into a ring record.
func (c *converter) lent(s string) string { return strings.Clone(c.text(s)) }

func (c *converter) words(words []string) []string {
	words = slices.Clone(words)
	for i, w := range words {
		words[i] = c.text(w)
	}
	return words
}

// timestamp is nil for the zero time and for one the schema cannot carry.
func timestamp(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	if m := timestamppb.New(t); m.IsValid() {
		return m
	}
	return nil
}

func (c *converter) event(e *Event, ancestors int) *sensorv1.Event {
	m := &sensorv1.Event{
		Sequence:      e.Sequence,
		Kind:          sensorv1.Kind(e.Kind),
		Time:          timestamp(e.Wall),
		BootTimeNs:    uint64(e.Time),
		Cpu:           e.CPU,
		CpuSequence:   e.CPUSequence,
		Tid:           e.TID,
		Uid:           e.UID,
		Euid:          e.EUID,
		Gid:           e.GID,
		UserMemory:    e.Flags.Has(UserMemory),
		Compat:        e.Flags.Has(Compat),
		ResultKnown:   e.Flags.Has(HasResult),
		PathTruncated: e.Flags.Has(PathTruncated),
		SelfTest:      e.Flags.Has(SelfTest),
		Tree:          e.Tree.Names(),
		TreeRootId:    e.TreeRoot(),
		Entry:         e.Entry,
	}
	if m.ResultKnown {
		m.Result = e.Result
	}
	if e.Process != nil {
		m.Process = c.process(e.Process)
		for a := range e.Process.Ancestors {
			if len(m.Ancestors) == ancestors {
				break
			}
			m.Ancestors = append(m.Ancestors, c.process(a))
		}
	} else {
		m.Process = c.stranger(e.Actor, e.Parent)
		m.Process.Comm = c.lent(e.Comm)
	}
	if e.Container != nil {
		m.Container = c.container(e.Container)
	}
	if e.Session != nil {
		m.Session = c.session(e.Session)
	}
	if e.EnteredContainer != nil {
		m.EnteredContainer = c.container(e.EnteredContainer)
	}
	c.payload(m, e)
	return m
}

// payload fills the oneof. A payload shared by two kinds goes where the kind says.
func (c *converter) payload(m *sensorv1.Event, e *Event) {
	switch p := e.Payload.(type) {
	case *Fork:
		m.Payload = &sensorv1.Event_Fork{Fork: c.fork(p)}
	case *Exec:
		exec := &sensorv1.ProcessExec{Entered: p.Entered, Init: p.Init, Secure: p.Secure}
		if p.Before != nil {
			exec.Before = c.process(p.Before)
		}
		m.Payload = &sensorv1.Event_Exec{Exec: exec}
	case *Exit:
		m.Payload = &sensorv1.Event_Exit{Exit: &sensorv1.ProcessExit{Code: p.Code, Signal: p.Signal}}
	case *Namespace:
		m.Payload = &sensorv1.Event_Namespace{Namespace: &sensorv1.ProcessNamespace{
			Before:     namespaces(p.Before),
			After:      namespaces(p.After),
			Changed:    p.Changed(),
			JoinedHost: p.JoinedHost(),
		}}
	case *Open:
		m.Payload = &sensorv1.Event_Open{Open: &sensorv1.FileOpen{
			File:     c.file(&p.File),
			Flags:    p.Flags,
			Write:    p.Write,
			Read:     p.Read,
			Created:  p.Created,
			Truncate: p.Truncate,
			Failed:   p.Failed,
		}}
	case *Rename:
		path := c.lent(p.NewPath)
		m.Payload = &sensorv1.Event_Rename{Rename: &sensorv1.FileRename{
			File: c.file(&p.File), NewPath: path, NewName: BaseName(path),
		}}
	case *Unlink:
		m.Payload = &sensorv1.Event_Unlink{Unlink: &sensorv1.FileUnlink{File: c.file(&p.File)}}
	case *Chmod:
		m.Payload = &sensorv1.Event_Chmod{Chmod: &sensorv1.FileChmod{
			File: c.file(&p.File), Mode: p.Mode, Executable: p.Executable(),
		}}
	case *Flow:
		if e.Kind == KindNetworkAccept {
			m.Payload = &sensorv1.Event_Accept{Accept: c.flow(p)}
		} else {
			m.Payload = &sensorv1.Event_Connect{Connect: c.flow(p)}
		}
	case *Memory:
		if e.Kind == KindMemoryMap {
			m.Payload = &sensorv1.Event_Map{Map: c.memory(p)}
		} else {
			m.Payload = &sensorv1.Event_Protect{Protect: c.memory(p)}
		}
	case *Cgroup:
		change := &sensorv1.CgroupChange{Id: p.ID, Path: c.lent(p.Path)}
		if e.Kind == KindCgroupRemove {
			m.Payload = &sensorv1.Event_CgroupRemove{CgroupRemove: change}
		} else {
			m.Payload = &sensorv1.Event_CgroupCreate{CgroupCreate: change}
		}
	}
}

func (c *converter) fork(p *Fork) *sensorv1.ProcessFork {
	if p.ChildProcess != nil {
		return &sensorv1.ProcessFork{Child: c.process(p.ChildProcess)}
	}
	child := c.stranger(p.Child, p.ChildParent)
	child.NsPid = p.ChildNSPID
	if p.ChildPIDNS != 0 {
		child.Namespaces = &sensorv1.Namespaces{Pid: p.ChildPIDNS}
	}
	return &sensorv1.ProcessFork{Child: child}
}

func (c *converter) flow(p *Flow) *sensorv1.NetworkFlow {
	return &sensorv1.NetworkFlow{
		Local:    address(p.Local),
		Remote:   address(p.Remote),
		Type:     SocketTypeName(p.Type),
		Protocol: p.Protocol,
		Path:     c.lent(p.Path),
	}
}

func (c *converter) memory(p *Memory) *sensorv1.MemoryChange {
	m := &sensorv1.MemoryChange{
		Address:         p.Address,
		LengthBytes:     p.Length,
		After:           protection(p.After),
		BeforeUnknown:   p.BeforeUnknown,
		Region:          p.Region.String(),
		MapFlags:        p.MapFlags,
		WriteToExecute:  p.WriteToExecute(),
		WriteAndExecute: p.WriteAndExecute(),
	}
	if !p.BeforeUnknown {
		m.Before = protection(p.Before)
	}
	if p.File != (File{}) {
		m.File = c.file(&p.File)
	}
	return m
}

func protection(p Protection) *sensorv1.Protection {
	return &sensorv1.Protection{Read: p&ProtRead != 0, Write: p&ProtWrite != 0, Execute: p&ProtExec != 0}
}

// age is the time from then to the event, nil where there is none to count to.
// The two may be of different processors, so it is never negative.
func (c *converter) age(then Boot) *durationpb.Duration {
	if c.now == 0 {
		return nil
	}
	if then > c.now {
		return durationpb.New(0)
	}
	return durationpb.New(time.Duration(min(uint64(c.now-then), 1<<63-1)))
}
