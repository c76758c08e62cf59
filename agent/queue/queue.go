package queue

import (
	"sync"

	"github.com/seawall-security/seawall/internal/event"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

// Bounds of what waits. Whoever is watched must not choose how much memory the agent
// takes: an event keeps its process and all its ancestors alive, each with up to 8 KiB
// of argv, and a detection with 16 of them takes half a MiB.
const (
	// Some seconds of a node under attack.
	MaxDetections     = 4096
	MaxDetectionBytes = 16 << 20
	// Some 100 s of exec probes on 100 pods every 10 s, which no storm of events may push out.
	MaxEntries    = 1024
	MaxEntryBytes = 4 << 20
	// As many as usually fit in the bytes, at some 2 KiB each.
	MaxEvents     = 8192
	MaxEventBytes = 16 << 20
)

// Queue holds what waits. What puts is for one goroutine, all that takes for another; Len
// may be called by any.
type Queue struct {
	events              chan *event.Event
	detections, entries encoded

	mu     sync.Mutex
	weight event.Weight // of events: those in the channel, and the one in the taker's hands
}

// New returns an empty queue.
func New() *Queue {
	return &Queue{
		events:     make(chan *event.Event, MaxEvents),
		detections: encoded{records: make(chan []byte, MaxDetections), max: MaxDetectionBytes},
		entries:    encoded{records: make(chan []byte, MaxEntries), max: MaxEntryBytes},
	}
}

// PutEvent takes a copy of an event, or says why not.
func (q *Queue) PutEvent(ev *event.Event) (Reason, bool) {
	if len(q.events) == cap(q.events) { // only this goroutine adds
		return Many, false
	}
	if !q.weigh(ev) {
		return Much, false
	}
	q.events <- ev.Clone()
	return 0, true
}

// weigh counts an event if there is room for it.
func (q *Queue) weigh(ev *event.Event) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.weight.Add(ev)
	if q.weight.Bytes() <= MaxEventBytes {
		return true
	}
	q.weight.Remove(ev)
	return false
}

// Events gives what waits, in order. Whoever took one calls Done when it needs it no more.
func (q *Queue) Events() <-chan *event.Event { return q.events }

// Done gives back what an event that was taken out weighed.
func (q *Queue) Done(ev *event.Event) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.weight.Remove(ev)
}

// PutDetection takes a copy of a detection, or says why not.
func (q *Queue) PutDetection(d *sensorv1.Detection) (Reason, bool) { return q.detections.put(d) }

// Detections gives what waits, in order, each for one call of Decode.
func (q *Queue) Detections() <-chan []byte { return q.detections.records }

// Decode makes a detection of what was taken out.
func (q *Queue) Decode(record []byte) (*sensorv1.Detection, error) {
	d := &sensorv1.Detection{}
	return d, q.detections.take(record, d)
}

// PutEntry takes a copy of an event that is an entry into a container, or says why not.
func (q *Queue) PutEntry(e *sensorv1.Event) (Reason, bool) { return q.entries.put(e) }

// Entries gives what waits, in order, each for one call of DecodeEntry.
func (q *Queue) Entries() <-chan []byte { return q.entries.records }

// DecodeEntry makes an event of what was taken out.
func (q *Queue) DecodeEntry(record []byte) (*sensorv1.Event, error) {
	e := &sensorv1.Event{}
	return e, q.entries.take(record, e)
}

// Len is how many events, detections and entries wait.
func (q *Queue) Len() (events, detections, entries int) {
	return len(q.events), len(q.detections.records), len(q.entries.records)
}

// Empty reports whether nothing waits.
func (q *Queue) Empty() bool {
	events, detections, entries := q.Len()
	return events+detections+entries == 0
}
