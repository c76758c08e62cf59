package output

import (
	"sync"
	"sync/atomic"

	"google.golang.org/protobuf/proto"

	"github.com/seawall-security/seawall/internal/event"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

// Bounds of what waits to be printed. Whoever is watched must not choose how much memory
// the agent takes: an event keeps its process and all its ancestors alive, each with up
// to 8 KiB of argv, and a detection with 16 of them takes half a MiB.
const (
	// Some seconds of a node under attack.
	queuedDetections     = 4096
	queuedDetectionBytes = 16 << 20
	// As many as usually fit in the bytes, at some 2 KiB each.
	queuedEvents     = 8192
	queuedEventBytes = 16 << 20
)

// queue holds what waits. One goroutine puts, another takes.
type queue struct {
	events     chan *event.Event
	detections chan []byte  // in wire form, which can be measured
	encoded    atomic.Int64 // what detections take

	mu     sync.Mutex
	weight event.Weight // of events: those in the channel, and the one being printed
}

func newQueue() *queue {
	return &queue{events: make(chan *event.Event, queuedEvents), detections: make(chan []byte, queuedDetections)}
}

// putEvent takes a copy of an event, or says why not.
func (q *queue) putEvent(ev *event.Event) (reason, bool) {
	if len(q.events) == cap(q.events) { // only this goroutine adds
		return manyWait, false
	}
	if !q.weigh(ev) {
		return muchWaits, false
	}
	q.events <- ev.Clone()
	return 0, true
}

// weigh counts an event if there is room for it.
func (q *queue) weigh(ev *event.Event) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.weight.Add(ev)
	if q.weight.Bytes() <= queuedEventBytes {
		return true
	}
	q.weight.Remove(ev)
	return false
}

// printed gives back what an event that was taken out weighed.
func (q *queue) printed(ev *event.Event) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.weight.Remove(ev)
}

func (q *queue) putDetection(d *sensorv1.Detection) (reason, bool) {
	encoded, err := proto.Marshal(d)
	if err != nil {
		return notEncoded, false
	}
	if len(q.detections) == cap(q.detections) {
		return manyWait, false
	}
	if q.encoded.Load()+taken(encoded) > queuedDetectionBytes {
		return muchWaits, false
	}
	q.encoded.Add(taken(encoded))
	q.detections <- encoded
	return 0, true
}

// taken is what an encoded detection takes: objects are rounded up by as much as a fifth.
func taken(encoded []byte) int64 { return int64(len(encoded) + len(encoded)/4) }

// decode makes a detection of what was taken out.
func (q *queue) decode(encoded []byte) (*sensorv1.Detection, error) {
	q.encoded.Add(-taken(encoded))
	d := &sensorv1.Detection{}
	return d, proto.Unmarshal(encoded, d)
}

func (q *queue) empty() bool { return len(q.detections) == 0 && len(q.events) == 0 }
