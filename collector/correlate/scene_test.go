package correlate

import (
	"fmt"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	alertv1 "github.com/seawall-security/seawall/proto/alert/v1"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

// noon is when scenes begin.
var noon = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

// scene makes events of one container: a web server, and what becomes of it.
type scene struct {
	container string
	sequence  uint64
}

// act is one event.
type act struct {
	at      time.Duration // after noon
	process string
	parent  string
	program string
	tree    []string
	rule    string
	tags    []string
	payload func(*sensorv1.Event)
}

var (
	servers = []string{"web-server"}
	below   = []string{"web"}
)

func (s *scene) record(a act) *sensorv1.Record {
	s.sequence++
	e := &sensorv1.Event{
		Sequence: s.sequence, Time: timestamppb.New(noon.Add(a.at)), Tree: a.tree,
		Process: &sensorv1.Process{Id: s.container + a.process, ParentId: s.container + a.parent, Program: a.program, Name: a.program, Exe: &sensorv1.File{Path: "/bin/" + a.program}},
		Container: &sensorv1.Container{Id: s.container, Name: "web", Image: "registry.example/shop:1", Pod: &sensorv1.Pod{
			Name: "shop-" + s.container, Namespace: "store"}},
	}
	if a.tree != nil {
		e.TreeRootId = s.container + "server"
	}
	if a.payload != nil {
		a.payload(e)
	}
	r := &sensorv1.Record{BootId: "boot", Node: "node-1"}
	if a.rule == "" {
		r.Body = &sensorv1.Record_Event{Event: e}
		return r
	}
	if a.process != "server" {
		e.Ancestors = []*sensorv1.Process{{Id: s.container + "server", Program: "nginx"}}
	}
	r.Body = &sensorv1.Record_Detection{Detection: &sensorv1.Detection{
		Id: fmt.Sprint(a.rule, s.container, s.sequence), Rule: a.rule, Title: a.rule, Tags: a.tags, Event: e,
		Severity: sensorv1.Severity_SEVERITY_MEDIUM, Summary: fmt.Sprint(a.program, " ", a.rule, " ", s.sequence),
	}}
	return r
}

func (s *scene) accept(at time.Duration, from string) *sensorv1.Record {
	return s.record(act{at: at, process: "server", program: "nginx", tree: servers, payload: func(e *sensorv1.Event) {
		e.Payload = &sensorv1.Event_Accept{Accept: &sensorv1.NetworkFlow{Local: &sensorv1.Address{Port: 80}, Remote: &sensorv1.Address{Ip: from}}}
	}})
}

// shell is what decides.
func (s *scene) shell(at time.Duration) *sensorv1.Record {
	return s.record(act{at: at, process: "shell", parent: "server", program: "sh", tree: below, rule: "web-server-spawned-shell", tags: []string{"web"}})
}

func (s *scene) script(at time.Duration) *sensorv1.Record {
	return s.record(act{at: at, process: "server", program: "nginx", tree: servers, rule: "webshell-file-created-by-server", tags: []string{"web"}})
}

func (s *scene) exec(at time.Duration, process, parent, args string) *sensorv1.Record {
	return s.record(act{at: at, process: process, parent: parent, program: "sh", tree: below, payload: func(e *sensorv1.Event) {
		e.Process.Args = []string{args}
		e.Payload = &sensorv1.Event_Exec{Exec: &sensorv1.ProcessExec{}}
	}})
}

func (s *scene) connect(at time.Duration, process, parent, to string, tree []string) *sensorv1.Record {
	return s.record(act{at: at, process: process, parent: parent, program: "curl", tree: tree, payload: func(e *sensorv1.Event) {
		e.Payload = &sensorv1.Event_Connect{Connect: &sensorv1.NetworkFlow{Remote: &sensorv1.Address{Ip: to, Port: 443}}}
	}})
}

// other is a detection outside of any tree.
func (s *scene) other(at time.Duration, rule string) *sensorv1.Record {
	return s.record(act{at: at, process: "job", parent: "init", program: "job", rule: rule})
}

func gapRecord(from, to time.Duration, n uint64) *sensorv1.Record {
	return &sensorv1.Record{BootId: "boot", Body: &sensorv1.Record_Gap{Gap: &sensorv1.Gap{
		Class: "file_open", Stage: "ring", Reason: "full", Since: timestamppb.New(noon.Add(from)), Until: timestamppb.New(noon.Add(to)), Count: n,
	}}}
}

// final is the alerts as they stand once all was told.
func final(t testing.TB, rs ...*sensorv1.Record) []*alertv1.Alert {
	t.Helper()
	return latest(play(t, logOf(t, rs)))
}

// texts is the timeline of an alert.
func texts(a *alertv1.Alert) (lines []string) {
	for _, e := range a.GetEvidence() {
		lines = append(lines, fmt.Sprintf("%s %s", e.Role, e.Text))
	}
	return lines
}

// plain leaves out of alerts what depends on how the facts came: which revision brought
// them, when it was made, and what differs between two recordings of one boot.
func plain(alerts []*alertv1.Alert) []*alertv1.Alert {
	var all []*alertv1.Alert
	for _, a := range alerts {
		a = proto.CloneOf(a)
		a.Revision, a.CreatedTime, a.StoredTime, a.DecidedTime = 0, nil, nil, nil
		for _, e := range a.Evidence {
			e.Revision = 0
		}
		for _, p := range a.Processes {
			p.StartTime = nil
		}
		all = append(all, a)
	}
	return all
}

// marked gives records of the recorded shop the marks that an agent gives them whose
// hooks saw the server start, or which found it running.
func marked(rs []*sensorv1.Record, server string) []*sensorv1.Record {
	var all []*sensorv1.Record
	for _, r := range rs {
		r = proto.CloneOf(r)
		e := eventOf(r)
		e.TreeRootId = server
		switch e.GetProcess().GetProgram() {
		case "lighttpd":
			e.Tree = []string{"web-server"}
		case "php-cgi8.2":
			e.Tree = []string{"web", "web-server"}
		default:
			e.Tree = []string{"web"}
		}
		all = append(all, r)
	}
	return all
}
