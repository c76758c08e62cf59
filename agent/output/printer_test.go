package output

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"go.uber.org/zap"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/seawall-security/seawall/agent/queue"
	"github.com/seawall-security/seawall/internal/event"
	"github.com/seawall-security/seawall/internal/redact"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

func open(path string) *event.Event {
	return &event.Event{
		Header:  event.Header{Kind: event.KindFileOpen, Actor: event.Key{TGID: 7, Start: 1}, Comm: "cat"},
		Payload: &event.Open{File: event.File{Path: path}},
	}
}

// printed runs the printer over what is queued and returns its lines.
func printed(t *testing.T, p *Printer, out *bytes.Buffer) []string {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := p.Run(ctx); err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
}

// lostOf is how many records of a class were lost for a reason.
func lostOf(p *Printer, class, reason string) uint64 {
	for _, lost := range p.Lost() {
		if lost.Class == class && lost.Reason == reason {
			return lost.Count
		}
	}
	return 0
}

func TestEveryLineIsARecord(t *testing.T) {
	var out bytes.Buffer
	p := New(&out, Options{Log: zap.NewNop(), Events: true, AgentID: "agent", BootID: "boot", Node: "node"})
	lent := open("/a\nb\xff")
	p.Event(lent)
	lent.Payload.(*event.Open).File.Path = "overwritten"
	p.Detection(&sensorv1.Detection{Rule: "some-rule"})

	var records []*sensorv1.Record
	for _, line := range printed(t, p, &out) {
		r := &sensorv1.Record{}
		if err := protojson.Unmarshal([]byte(line), r); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if r.GetAgentId() != "agent" || r.GetBootId() != "boot" || r.GetNode() != "node" {
			t.Errorf("names of the sender: %s", line)
		}
		records = append(records, r)
	}
	if len(records) != 2 {
		t.Fatalf("%d records", len(records))
	}
	for _, r := range records {
		if ev := r.GetEvent(); ev != nil && (ev.GetOpen().GetFile().GetPath() != "/a\nb\\xff" || !ev.GetEscaped()) {
			t.Errorf("%v", ev)
		}
	}
}

func TestEventsAreNotPrintedUnlessAskedFor(t *testing.T) {
	var out bytes.Buffer
	p := New(&out, Options{Log: zap.NewNop()})
	p.Event(open("/a"))
	if lines := printed(t, p, &out); lines[0] != "" {
		t.Errorf("%q", lines)
	}
}

func TestWhatIsNotPrintedIsBookedAsAGap(t *testing.T) {
	var out bytes.Buffer
	p := New(&out, Options{Log: zap.NewNop(), Events: true})
	const over = 3
	for range queue.MaxEvents + over {
		p.Event(open("/a"))
	}
	for range queue.MaxDetections + 1 {
		p.Detection(&sensorv1.Detection{})
	}
	gaps := map[string]uint64{}
	events, detections := 0, 0
	for _, line := range printed(t, p, &out) {
		r := &sensorv1.Record{}
		if err := protojson.Unmarshal([]byte(line), r); err != nil {
			t.Fatal(err)
		}
		switch {
		case r.GetGap() != nil:
			gaps[r.GetGap().GetClass()] += r.GetGap().GetCount()
			if r.GetGap().GetSince() == nil || r.GetGap().GetUntil() == nil {
				t.Errorf("a gap without an interval: %s", line)
			}
		case r.GetEvent() != nil:
			events++
		default:
			detections++
		}
	}
	if events != queue.MaxEvents || detections != queue.MaxDetections || gaps["file_open"] != over || gaps["detection"] != 1 {
		t.Errorf("%d events, %d detections, gaps %v", events, detections, gaps)
	}
	if e, d := lostOf(p, "event", "events"), lostOf(p, "detection", "events"); e != over || d != 1 {
		t.Errorf("lost %d events, %d detections", e, d)
	}
}

// A loss for want of bytes has its own reason in the gap.
func TestGapSaysWhy(t *testing.T) {
	var out bytes.Buffer
	p := New(&out, Options{Log: zap.NewNop(), Events: true})
	for range 10 {
		ev := open("/a")
		ev.Payload.(*event.Open).File.Path = strings.Repeat("p", queue.MaxEventBytes/4)
		p.Event(ev)
	}
	p.Detection(&sensorv1.Detection{Rule: "\xff"})
	reasons := map[string]string{}
	for _, line := range printed(t, p, &out) {
		r := &sensorv1.Record{}
		if err := protojson.Unmarshal([]byte(line), r); err != nil {
			t.Fatal(err)
		}
		if g := r.GetGap(); g != nil {
			reasons[g.GetClass()] = g.GetReason()
		}
	}
	if reasons["file_open"] != say(queue.Much) || reasons["detection"] != say(queue.NotEncoded) {
		t.Errorf("%v", reasons)
	}
}

// Credentials are masked in every form of output, in events and in detections.
func TestCredentialsAreMasked(t *testing.T) {
	r, err := redact.New(make([]byte, redact.KeyBytes))
	if err != nil {
		t.Fatal(err)
	}
	const secret = "hunter2-and-more"
	for _, text := range []bool{false, true} {
		var out bytes.Buffer
		p := New(&out, Options{Log: zap.NewNop(), Events: true, Text: text, Redactor: r})
		ev := &event.Event{
			Header:  event.Header{Kind: event.KindProcessExec, Comm: "mysql"},
			Payload: &event.Exec{},
			Process: &event.Process{Comm: "mysql", Args: []string{"mysql", "--password=" + secret}},
		}
		p.Event(ev)
		p.Detection(&sensorv1.Detection{Rule: "r", Summary: "mysql --password=" + secret + " was run", Event: ev.Proto("boot")})
		lines := printed(t, p, &out)
		if len(lines) < 2 || strings.Contains(out.String(), secret) || strings.Count(out.String(), "[redacted:") < 2 {
			t.Errorf("text %t: %s", text, out.String())
		}
	}
}

func TestBrokenOutputEndsThePrinter(t *testing.T) {
	r, w := io.Pipe()
	r.Close()
	p := New(w, Options{Log: zap.NewNop()})
	p.Detection(&sensorv1.Detection{})
	if err := p.Run(t.Context()); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("%v", err)
	}
}

func TestTextForPeople(t *testing.T) {
	var out bytes.Buffer
	p := New(&out, Options{Log: zap.NewNop(), Text: true})
	p.Detection(&sensorv1.Detection{
		Rule: "web-server-spawned-shell", Severity: sensorv1.Severity_SEVERITY_HIGH, Summary: "php started sh: \x1b[2Jid",
		Event: &sensorv1.Event{
			Process:   &sensorv1.Process{Name: "sh", Pid: 12},
			Ancestors: []*sensorv1.Process{{Name: "php", Pid: 11}, {Name: "lighttpd", Pid: 10}},
			Container: &sensorv1.Container{Id: "abc", Name: "web", Image: "shop:1", Pod: &sensorv1.Pod{Name: "shop-1", Namespace: "store"}},
		},
	})
	text := strings.Join(printed(t, p, &out), "\n")
	for _, want := range []string{"HIGH", "web-server-spawned-shell", "lighttpd(10) → php(11) → sh(12)", "pod store/shop-1, container web, image shop:1", `\x1b[2Jid`} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in:\n%s", want, text)
		}
	}
	if strings.ContainsRune(text, '\x1b') {
		t.Error("text of the watched reaches the terminal as it is")
	}
}
