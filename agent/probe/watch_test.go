package probe

import (
	"sync"
	"testing"
	"time"

	"github.com/seawall-security/seawall/agent/decode"
	"github.com/seawall-security/seawall/bpf"
	"github.com/seawall-security/seawall/internal/event"
)

// patience bounds the wait for an event that has to come, on a host whose cores are taken.
const patience = 30 * time.Second

// watch is a sensor whose events are decoded and kept. A record that cannot be
// decoded fails the test.
type watch struct {
	*Sensor
	mu      sync.Mutex
	events  []*event.Event
	changed chan struct{} // closed and renewed with each event
}

func newWatch(t *testing.T, ceiling Rung) *watch {
	t.Helper()
	w := &watch{changed: make(chan struct{})}
	// Room for every open of a crowd.
	w.Sensor = open(t, func(o *Options) { o.Ceiling, o.BulkBytes = ceiling, 32<<20 })
	var d decode.Decoder
	read(t, w.Sensor, func(_ Ring, record []byte) {
		ev, err := d.Decode(record)
		if err != nil {
			t.Errorf("bad record: %v: %x", err, record[:min(len(record), 256)])
			return
		}
		if ev.Flags.Has(event.SelfTest) {
			return
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		w.events = append(w.events, ev.Clone())
		close(w.changed)
		w.changed = make(chan struct{})
	})
	// LSM programs may attach and never run; of the other rungs this is known elsewhere.
	if ceiling == "" {
		if err := w.Confirm(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

// admit says what is let through from now on, until the part of the test ends.
func (w *watch) admit(t *testing.T, change func(*bpf.LayoutRunControl)) {
	t.Helper()
	if err := w.maps.update(change); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.maps.update(func(c *bpf.LayoutRunControl) { c.Any, c.Unfiltered = 0, 0 }); err != nil {
			t.Error(err)
		}
	})
}

// find waits for the first event that is wanted.
func (w *watch) find(t *testing.T, what string, wanted func(*event.Event) bool) *event.Event {
	t.Helper()
	deadline := time.After(patience)
	for seen := 0; ; {
		w.mu.Lock()
		fresh, changed := w.events[seen:], w.changed
		w.mu.Unlock()
		seen += len(fresh)
		for _, ev := range fresh {
			if wanted(ev) {
				return ev
			}
		}
		select {
		case <-changed:
		case <-deadline:
			t.Fatalf("%s never came", what)
		}
	}
}

// until returns the events of a kind that a process had when it ended: an end is
// delivered after everything that led to it.
func (w *watch) until(t *testing.T, pid uint32, kind event.Kind) (all []*event.Event) {
	t.Helper()
	end := w.find(t, "the end of a process", func(ev *event.Event) bool {
		return ev.Kind == event.KindProcessExit && ev.Actor.TGID == pid
	})
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, ev := range w.events {
		if ev.Kind == kind && ev.Actor == end.Actor {
			all = append(all, ev)
		}
	}
	return all
}

// rung tells where a hook is attached.
func (w *watch) rung(hook string) Rung {
	for _, h := range w.Hooks() {
		if h.Hook == hook {
			return h.Rung
		}
	}
	return RungNone
}
