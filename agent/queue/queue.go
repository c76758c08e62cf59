package queue

import (
	"sync"
	"sync/atomic"

	"google.golang.org/protobuf/proto"

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
	// As many as usually fit in the bytes, at some 2 KiB each.
	MaxEvents     = 8192
	MaxEventBytes = 16 << 20
)

// Queue holds what waits. PutEvent and PutDetection are for one goroutine, all that takes
// for another; Len may be called by any.
type Queue struct {
	events     chan *event.Event
	detections chan []byte  // in wire form, which can be measured
	encoded    atomic.Int64 // what detections take

	mu     sync.Mutex
	weight event.Weight // of events: those in the channel, and the one in the taker's hands
}

// New returns an empty queue.
func New() *Queue {
	return &Queue{events: make(chan *event.Event, MaxEvents), detections: make(chan []byte, MaxDetections)}
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
func (q *Queue) PutDetection(d *sensorv1.Detection) (Reason, bool) {
	encoded, err := proto.Marshal(d)
	if err != nil {
		return NotEncoded, false
	}
	if len(q.detections) == cap(q.detections) {
		return Many, false
	}
	if q.encoded.Load()+taken(encoded) > MaxDetectionBytes {
		return Much, false
	}
	q.encoded.Add(taken(encoded))
	q.detections <- encoded
	return 0, true
}

// Detections gives what waits, in order, each for one call of Decode.
func (q *Queue) Detections() <-chan []byte { return q.detections }

// taken is what an encoded detection takes: objects are rounded up by as much as a fifth.
func taken(encoded []byte) int64 { return int64(len(encoded) + len(encoded)/4) }

// Decode makes a detection of what was taken out.
func (q *Queue) Decode(encoded []byte) (*sensorv1.Detection, error) {
	q.encoded.Add(-taken(encoded))
	d := &sensorv1.Detection{}
	return d, proto.Unmarshal(encoded, d)
}

// Len is how many events and detections wait.
func (q *Queue) Len() (events, detections int) { return len(q.events), len(q.detections) }

// Empty reports whether nothing waits.
func (q *Queue) Empty() bool { return len(q.detections) == 0 && len(q.events) == 0 }
