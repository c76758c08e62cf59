package output

import (
	"bytes"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"

	"go.uber.org/zap"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/seawall-security/seawall/internal/event"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

// heap is how many bytes are alive.
func heap() int64 {
	runtime.GC()
	runtime.GC() // what the first one's finalizers let go
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// bulky is a process with 8 KiB of argv and a path of 4 KiB, all its own.
func bulky(n int, parent *event.Process, words int) *event.Process {
	args := event.Words(strings.Repeat(strings.Repeat("x", 8192/words-1)+"\x00", words))
	p := &event.Process{
		ID: fmt.Sprintf("%032d", n), Key: event.Key{TGID: uint32(n), Start: 1}, Parent: parent, Comm: fmt.Sprint(n),
		Args: args, ArgsBytes: 8192,
	}
	p.Exe.Path = "/" + strings.Repeat("d", 4095)
	return p
}

// line is a process with so many bulky ancestors.
func line(n, ancestors, words int) *event.Process {
	var p *event.Process
	for range ancestors + 1 {
		p = bulky(n, p, words)
	}
	return p
}

// A flood of events that are as large as can be made must not take more memory than the
// queue says, whatever makes them large; and each that is refused is booked.
func TestFloodOfEventsIsBoundedInMemory(t *testing.T) {
	path := "/" + strings.Repeat("p", 4095)
	for name, test := range map[string]struct {
		flood int
		make  func(n int) *event.Event
	}{
		"a process of its own each": {1500, func(n int) *event.Event {
			ev := open(path)
			ev.Process = bulky(n, nil, 8)
			return ev
		}},
		"many words": {300, func(n int) *event.Event {
			ev := open(path)
			ev.Process = bulky(n, nil, 4096)
			return ev
		}},
		"ancestors": {40, func(n int) *event.Event {
			ev := open("/a")
			ev.Process = line(n, 64, 8)
			return ev
		}},
		"programs before, and children": {250, func(n int) *event.Event {
			if n%2 == 0 {
				return &event.Event{Header: event.Header{Kind: event.KindProcessFork},
					Payload: &event.Fork{ChildProcess: line(n, 8, 8)}}
			}
			x := &event.Exec{Before: line(n, 8, 8)}
			x.File.Path, x.Args, x.CWD = path, strings.Repeat("x", 8191)+"\x00", path
			return &event.Event{Header: event.Header{Kind: event.KindProcessExec}, Payload: x}
		}},
		"sessions": {300, func(n int) *event.Event {
			ev := open("/a")
			ev.Session = &event.Session{Args: bulky(n, nil, 4096).Args}
			return ev
		}},
		"writers": {1500, func(n int) *event.Event {
			ev := open(path)
			ev.Payload.(*event.Open).File.Origin = &event.Origin{Process: bulky(n, nil, 8)}
			return ev
		}},
		"containers": {6000, func(n int) *event.Event {
			ev := open("/a")
			ev.Container = &event.Container{ID: fmt.Sprint(n), Labels: map[string]string{"a": strings.Repeat("v", 4000)}}
			return ev
		}},
		"small": {10000, func(int) *event.Event { return open("/a") }},
	} {
		t.Run(name, func(t *testing.T) {
			p := New(io.Discard, Options{Log: zap.NewNop(), Events: true})
			before := heap()
			for n := range test.flood {
				p.Event(test.make(n))
			}
			if held := heap() - before; held > queuedEventBytes {
				t.Errorf("%d bytes are held, not %d", held, queuedEventBytes)
			} else {
				t.Logf("%d events: %d bytes held, %d counted", len(p.queue.events), held, p.queue.weight.Bytes())
			}
			queued := uint64(len(p.queue.events))
			if lost := lostOf(p, "event", "events") + lostOf(p, "event", "bytes"); queued+lost != uint64(test.flood) {
				t.Errorf("%d queued and %d booked as lost, of %d", queued, lost, test.flood)
			}
			if name != "small" && (lostOf(p, "event", "bytes") == 0 || queued < 2) {
				t.Errorf("%d queued, none refused for its size", queued)
			}
			printed(t, p, &bytes.Buffer{})
			if left := p.queue.weight.Bytes(); left != 0 {
				t.Errorf("%d bytes are counted when all is printed", left)
			}
		})
	}
}

func TestDetectionsAreBoundedInMemory(t *testing.T) {
	p := New(io.Discard, Options{Log: zap.NewNop()})
	before := heap()
	const flood = 120
	for n := range flood {
		ev := open("/etc/shadow")
		ev.Process = line(n, 16, 8)
		p.Detection(&sensorv1.Detection{Rule: "r", Event: ev.ProtoWithAncestors("boot")})
	}
	if held := heap() - before; held > queuedDetectionBytes {
		t.Errorf("%d bytes are held, not %d", held, queuedDetectionBytes)
	}
	queued := uint64(len(p.queue.detections))
	if lost := lostOf(p, "detection", "bytes"); lost == 0 || queued+lost != flood {
		t.Errorf("%d queued, %d booked as lost, of %d", queued, lost, flood)
	}
	printed(t, p, &bytes.Buffer{})
	if held := p.queue.encoded.Load(); held != 0 {
		t.Errorf("%d bytes are counted when all is printed", held)
	}
}

// A loss for want of bytes has its own reason in the gap.
func TestGapSaysWhy(t *testing.T) {
	var out bytes.Buffer
	p := New(&out, Options{Log: zap.NewNop(), Events: true})
	for n := range 10 {
		ev := open("/a")
		ev.Process = line(n, 64, 4096)
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
	if reasons["file_open"] != muchWaits.String() || reasons["detection"] != notEncoded.String() {
		t.Errorf("%v", reasons)
	}
}

// What a printed event costs the reader's goroutine.
func BenchmarkEvent(b *testing.B) {
	for _, ancestors := range []int{0, 8, 64} {
		b.Run(fmt.Sprintf("%d ancestors", ancestors), func(b *testing.B) {
			p := New(io.Discard, Options{Log: zap.NewNop(), Events: true})
			ev := open("/usr/lib/x86_64-linux-gnu/libc.so.6")
			ev.Process = line(1, ancestors, 8)
			b.ReportAllocs()
			for b.Loop() {
				p.Event(ev)
				p.queue.printed(<-p.queue.events)
			}
		})
	}
}

func BenchmarkDetection(b *testing.B) {
	p := New(io.Discard, Options{Log: zap.NewNop()})
	ev := open("/etc/shadow")
	ev.Process = &event.Process{Comm: "cat", Args: []string{"cat", "/etc/shadow"}, ArgsBytes: 16}
	for range 8 {
		ev.Process = &event.Process{Comm: "sh", Args: []string{"sh", "-c", "cat /etc/shadow"}, Parent: ev.Process}
	}

	message := &sensorv1.Detection{Rule: "r", Event: ev.ProtoWithAncestors("boot")}
	b.ReportAllocs()
	for b.Loop() {
		p.Detection(message)
		p.queue.encoded.Add(-taken(<-p.queue.detections))
	}
}
