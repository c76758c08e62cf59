package uplink

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seawall-security/seawall/agent/queue"
	"github.com/seawall-security/seawall/internal/event"
	"github.com/seawall-security/seawall/internal/spool"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

// entryOf is the first event of a session.
func entryOf(args ...string) *event.Event {
	k := event.Key{TGID: 7, Start: 1}
	p := &event.Process{ID: "p", Key: k, Name: "sh", Args: args, ArgsBytes: uint32(len(strings.Join(args, " ")))}
	return &event.Event{
		Header:  event.Header{Kind: event.KindProcessExec, Actor: k, Wall: time.Now()},
		Payload: &event.Exec{Entered: true}, Process: p, Entry: true,
		Session: &event.Session{ID: "s", Root: k, RootID: "p", ContainerID: "c", Args: args},
	}
}

// entriesOf are the arguments of entries that arrived, by lane. Callers hold the mutex.
func (c *collector) entriesOf() map[sensorv1.Lane][]string {
	found := map[sensorv1.Lane][]string{}
	for i, r := range c.items {
		if e := r.GetEvent(); e.GetEntry() {
			found[i.lane] = append(found[i.lane], strings.Join(e.GetSession().GetArgs(), " "))
		}
	}
	return found
}

// Who came into a container goes up whatever else does, once, in a lane of its own.
func TestEntriesGoUpAlways(t *testing.T) {
	for _, mode := range []Telemetry{None, Trees, All} {
		t.Run(string(mode), func(t *testing.T) {
			c := newCollector(t)
			o := c.options()
			o.Telemetry = mode
			u := openUplink(t, o)
			defer run(t, u)()
			c.listen()
			u.Event(entryOf("sh", "-c", "id"))
			u.Event(open("/other"))
			u.Detection(&sensorv1.Detection{Rule: "r"})
			want := []string{"r"}
			if mode == All {
				want = append(want, "/other")
			}
			c.until(func() bool { return c.arrived(want) && len(c.entriesOf()) > 0 })
			c.until(func() bool {
				got := map[sensorv1.Lane][]string{sensorv1.Lane_LANE_ENTRIES: {"sh -c id"}}
				if diff := cmp.Diff(got, c.entriesOf()); diff != "" {
					t.Error(diff)
				}
				if records, _ := c.seen(); mode != All && records["/other"] > 0 {
					t.Error("an event of no tree went up")
				}
				return true
			})
		})
	}
}

// A storm of events, which the queue and then the spool have no room for, costs no entry.
func TestStormCostsNoEntry(t *testing.T) {
	c := newCollector(t)
	o := c.options()
	o.MaxBytes, o.segmentBytes = 4<<20, 64<<10
	u := openUplink(t, o)
	u.Event(entryOf("before"))
	for range 2 {
		for n := range queue.MaxEvents + 100 {
			u.Event(open(fmt.Sprintf("/storm/%d/%s", n, strings.Repeat("x", 300))))
		}
		u.Event(entryOf("while"))
		spoolAll(t, u)
	}
	stats := u.spool.Stats()
	for _, l := range stats.Lanes {
		if dropped := l.Dropped[spool.Evicted]; (dropped > 0) != (l.Lane == telemetry) {
			t.Errorf("%s has dropped %d records", l.Lane, dropped)
		}
	}
	defer run(t, u)()
	c.listen()
	c.until(func() bool { return len(c.entriesOf()[sensorv1.Lane_LANE_ENTRIES]) == 3 })
}

// Entries that are lost are told of as such.
func TestLostEntriesAreTold(t *testing.T) {
	c := newCollector(t)
	u := openUplink(t, c.options())
	const over = 5
	for range queue.MaxEntries + over {
		u.Event(entryOf("sh"))
	}
	large := make([]string, 40)
	for i := range large {
		large[i] = strings.Repeat("x", 100<<10)
	}
	spoolAll(t, u)
	u.Event(entryOf(large...)) // more than what entries may take
	defer run(t, u)()
	c.listen()
	c.until(func() bool {
		_, gaps := c.seen()
		return gaps["entry"] == over+1
	})
	c.until(func() bool {
		if n := len(c.entriesOf()[sensorv1.Lane_LANE_ENTRIES]); n > queue.MaxEntries {
			t.Errorf("%d entries arrived", n)
		}
		return len(c.entriesOf()[sensorv1.Lane_LANE_ENTRIES]) == queue.MaxEntries
	})
}

// Of an entry that the spool drops the collector knows what it was.
func TestDroppedEntriesAreTold(t *testing.T) {
	c := newCollector(t)
	o := c.options()
	o.MaxBytes, o.segmentBytes = 1<<20, 64<<10
	u := openUplink(t, o)
	const all = 1000
	for range all {
		u.Event(entryOf(strings.Repeat("x", 4000)))
	}
	spoolAll(t, u)
	defer run(t, u)()
	c.listen()
	c.until(func() bool {
		_, gaps := c.seen()
		return gaps["entry"] > 0 && gaps["entry"]+uint64(len(c.entriesOf()[sensorv1.Lane_LANE_ENTRIES])) == all
	})
}

// An exec that the kernel could not tell of may have been an entry.
func TestExecsThatTheKernelLostAreTold(t *testing.T) {
	var lost atomic.Uint64
	c := newCollector(t)
	o := c.options()
	o.LostExecs = func() (uint64, error) { return lost.Load(), nil }
	began := time.Now()
	lost.Store(3) // by the time it is asked for first
	u := openUplink(t, o)
	defer run(t, u)()
	c.listen()
	told := func(n uint64) func() bool {
		return func() bool {
			_, gaps := c.seen()
			return gaps["process_exec"] == n
		}
	}
	c.until(told(3))
	lost.Store(10)
	c.until(told(10))
	c.until(func() bool {
		for _, r := range c.items {
			g := r.GetGap()
			if g == nil {
				continue
			}
			since, until := g.GetSince().AsTime(), g.GetUntil().AsTime()
			if g.GetStage() != "kernel" || since.Before(began) || !until.After(since) || until.After(time.Now()) {
				t.Errorf("%v", g)
			}
		}
		return true
	})
}
