package queue

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/seawall-security/seawall/internal/event"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

func open(path string) *event.Event {
	return &event.Event{
		Header:  event.Header{Kind: event.KindFileOpen, Actor: event.Key{TGID: 7, Start: 1}, Comm: "cat"},
		Payload: &event.Open{File: event.File{Path: path}},
	}
}

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
			var many, much bool
			q, lost := New(), uint64(0)
			before := heap()
			for n := range test.flood {
				if why, ok := q.PutEvent(test.make(n)); !ok {
					lost++
					many = many || why == Many
					much = much || why == Much
				}
			}
			if held := heap() - before; held > MaxEventBytes {
				t.Errorf("%d bytes are held, not %d", held, MaxEventBytes)
			} else {
				t.Logf("%d events: %d bytes held, %d counted", len(q.events), held, q.weight.Bytes())
			}
			queued := uint64(len(q.events))
			if queued+lost != uint64(test.flood) {
				t.Errorf("%d queued and %d booked as lost, of %d", queued, lost, test.flood)
			}
			if many != (name == "small") || much == many || queued < 2 {
				t.Errorf("%d queued, refused for their number: %t, for their size: %t", queued, many, much)
			}
			for len(q.events) > 0 {
				q.Done(<-q.Events())
			}
			if left := q.weight.Bytes(); left != 0 {
				t.Errorf("%d bytes are counted when all is taken", left)
			}
		})
	}
}

func TestDetectionsAreBoundedInMemory(t *testing.T) {
	q, lost := New(), uint64(0)
	before := heap()
	const flood = 120
	for n := range flood {
		ev := open("/etc/shadow")
		ev.Process = line(n, 16, 8)
		if why, ok := q.PutDetection(&sensorv1.Detection{Rule: "r", Event: ev.ProtoWithAncestors("boot")}); !ok && why == Much {
			lost++
		}
	}
	if held := heap() - before; held > MaxDetectionBytes {
		t.Errorf("%d bytes are held, not %d", held, MaxDetectionBytes)
	}
	queued := uint64(len(q.Detections()))
	if lost == 0 || queued+lost != flood {
		t.Errorf("%d queued, %d booked as lost, of %d", queued, lost, flood)
	}
	for len(q.Detections()) > 0 {
		if _, err := q.Decode(<-q.Detections()); err != nil {
			t.Fatal(err)
		}
	}
	if held := q.detections.bytes.Load(); held != 0 {
		t.Errorf("%d bytes are counted when all is taken", held)
	}
}

// What a queued event costs the reader's goroutine.
func BenchmarkEvent(b *testing.B) {
	for _, ancestors := range []int{0, 8, 64} {
		b.Run(fmt.Sprintf("%d ancestors", ancestors), func(b *testing.B) {
			q := New()
			ev := open("/usr/lib/x86_64-linux-gnu/libc.so.6")
			ev.Process = line(1, ancestors, 8)
			b.ReportAllocs()
			for b.Loop() {
				q.PutEvent(ev)
				q.Done(<-q.events)
			}
		})
	}
}

func BenchmarkDetection(b *testing.B) {
	q := New()
	ev := open("/etc/shadow")
	ev.Process = &event.Process{Comm: "cat", Args: []string{"cat", "/etc/shadow"}, ArgsBytes: 16}
	for range 8 {
		ev.Process = &event.Process{Comm: "sh", Args: []string{"sh", "-c", "cat /etc/shadow"}, Parent: ev.Process}
	}

	message := &sensorv1.Detection{Rule: "r", Event: ev.ProtoWithAncestors("boot")}
	b.ReportAllocs()
	for b.Loop() {
		q.PutDetection(message)
		q.detections.bytes.Add(-taken(<-q.Detections()))
	}
}
