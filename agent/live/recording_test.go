package live

import (
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/seawall-security/seawall/internal/event"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

// patience bounds every wait: for a machine whose cores are all taken by others.
const patience = 30 * time.Second

// recording is a sink that keeps everything, and lets tests wait for it.
type recording struct {
	mu         sync.Mutex
	events     []*event.Event
	detections []*sensorv1.Detection
	news       chan struct{} // closed and renewed by every event
}

func newRecording() *recording { return &recording{news: make(chan struct{})} }

func (r *recording) Event(ev *event.Event) {
	kept := ev.Clone()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, kept)
	close(r.news)
	r.news = make(chan struct{})
}

func (r *recording) Detection(d *sensorv1.Detection) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.detections = append(r.detections, d)
}

// since returns the events from a place on, and a channel that closes with the next.
func (r *recording) since(place int) ([]*event.Event, <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.events[place:], r.news
}

// all returns the events so far that match.
func (r *recording) all(match func(*event.Event) bool) (found []*event.Event) {
	events, _ := r.since(0)
	for _, ev := range events {
		if match(ev) {
			found = append(found, ev)
		}
	}
	return found
}

// await returns the first event that matches, from the beginning of the recording.
func (r *recording) await(t testing.TB, what string, match func(*event.Event) bool) *event.Event {
	t.Helper()
	limit := time.After(patience)
	for place := 0; ; {
		events, news := r.since(place)
		for _, ev := range events {
			if match(ev) {
				return ev
			}
		}
		place += len(events)
		select {
		case <-news:
		case <-limit:
			t.Fatalf("no event came: %s (%d others did)", what, place)
		}
	}
}

// Matches.

func execBy(pid uint32) func(*event.Event) bool {
	return func(ev *event.Event) bool { return ev.Kind == event.KindProcessExec && ev.Actor.TGID == pid }
}

func execOf(args ...string) func(*event.Event) bool {
	return func(ev *event.Event) bool {
		return ev.Kind == event.KindProcessExec && slices.Equal(ev.Process.Args, args)
	}
}

func exitOf(k event.Key) func(*event.Event) bool {
	return func(ev *event.Event) bool { return ev.Kind == event.KindProcessExit && ev.Actor == k }
}

func openOf(path string) func(*event.Event) bool {
	return func(ev *event.Event) bool {
		open, ok := ev.Payload.(*event.Open)
		return ok && open.File.Path == path
	}
}
