package uplink

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seawall-security/seawall/agent/queue"
	"github.com/seawall-security/seawall/internal/event"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

// gapsSaid are the gaps that arrived, oldest end first. Callers hold the mutex.
func (c *collector) gapsSaid() (said []*sensorv1.Gap) {
	for _, r := range c.items {
		if g := r.GetGap(); g != nil {
			said = append(said, g)
		}
	}
	slices.SortFunc(said, func(a, b *sensorv1.Gap) int { return a.Until.AsTime().Compare(b.Until.AsTime()) })
	return said
}

// What happened while the agent did not run is one gap: from when the run before saw its
// last to when this one sees its first, whatever else the run before said and lost.
func TestDowntimeIsOneGap(t *testing.T) {
	c := newCollector(t)
	c.listenAnywhere()
	o := c.options()
	// What stops waits for as long as it takes until all is acknowledged.
	o.Wait = func(ctx context.Context, _ time.Duration) error { <-ctx.Done(); return ctx.Err() }
	began := time.Now().Add(-time.Hour)
	at := func(minutes int) time.Time { return began.Add(time.Duration(minutes) * time.Minute) }
	life := func(from, to int, end bool, want ...string) {
		t.Helper()
		u := openUplink(t, o)
		u.Watching(at(from))
		stop := run(t, u)
		e := entryOf("sh", at(to).String())
		e.Wall = at(to - 1)
		u.Event(e)
		c.until(func() bool {
			return slices.ContainsFunc(c.entriesOf()[sensorv1.Lane_LANE_ENTRIES], func(args string) bool { return strings.HasSuffix(args, at(to).String()) })
		})
		if end {
			u.Unwatched(at(to))
		}
		stop()
		c.mu.Lock()
		defer c.mu.Unlock()
		var got []string
		for _, g := range c.gapsSaid() {
			since := "nobody knows"
			if g.Since != nil {
				since = g.Since.AsTime().Sub(began).String()
			}
			got = append(got, strings.Join([]string{g.Class, g.Stage, since, g.Until.AsTime().Sub(began).String()}, " "))
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
	}
	life(1, 5, true, "all agent nobody knows 1m0s")
	life(7, 9, true, "all agent nobody knows 1m0s", "all agent 5m0s 7m0s")
	// A run that could not say when it ended: its last record is of minute 13.
	life(10, 14, false, "all agent nobody knows 1m0s", "all agent 5m0s 7m0s", "all agent 9m0s 10m0s")
	life(20, 25, true, "all agent nobody knows 1m0s", "all agent 5m0s 7m0s", "all agent 9m0s 10m0s", "all agent 13m0s 20m0s")
	// A clock that was set back makes no gap that ends before it begins.
	life(24, 26, true, "all agent nobody knows 1m0s", "all agent 5m0s 7m0s", "all agent 9m0s 10m0s", "all agent 13m0s 20m0s", "all agent 24m0s 24m0s")
}

// A storm of misses is one gap a second that has all their times and counts, the first at once.
func TestStormOfMissesIsOneGap(t *testing.T) {
	c := newCollector(t)
	c.listenAnywhere()
	o := c.options()
	var now atomic.Int64
	start := time.Now()
	now.Store(start.UnixNano())
	o.Now = func() time.Time { return time.Unix(0, now.Load()) }
	u := openUplink(t, o)
	defer run(t, u)()
	nameless, led := Miss{queue.Entries, "nameless"}, Miss{event.KindNetworkConnect, "many"}
	missed := func(what Miss, n int) { u.Missed(what, start.Add(time.Duration(n)), start.Add(time.Duration(n)+1)) }
	counts := func() map[string]uint64 {
		_, gaps := c.seen()
		return gaps
	}
	missed(nameless, 1000)
	c.until(func() bool { return counts()["entry"] == 1 })
	for n := range 500 {
		missed(nameless, 2000-n)
		missed(led, n)
		u.Event(open("/wakes the writer"))
	}
	c.until(func() bool { records, _ := c.seen(); return records["/wakes the writer"] == 500 })
	c.mu.Lock()
	if n := len(c.gapsSaid()); n != 1 {
		t.Errorf("%d gaps within a second", n)
	}
	c.mu.Unlock()
	now.Add(int64(missInterval))
	u.Event(open("/wakes the writer"))
	c.until(func() bool { return counts()["entry"] == 501 && counts()["network_connect"] == 500 })
	c.until(func() bool {
		for _, g := range c.gapsSaid() {
			since, until := g.Since.AsTime().Sub(start), g.Until.AsTime().Sub(start)
			if g.Class == "entry" && g.Count == 500 && (since != 1501 || until != 2001) || g.Class == "network_connect" && (since != 0 || until != 500) {
				t.Errorf("%v from %v to %v", g, since, until)
			}
		}
		return len(c.gapsSaid()) == 3
	})
}

// A gap covers what it is of: the event's own time, not only when its loss was booked. An
// event may wait in the pen for as long as the pen lets it.
func TestLossesHaveTheTimeOfWhatWasLost(t *testing.T) {
	c := newCollector(t)
	u := openUplink(t, c.options())
	at := time.Now().Add(-9 * time.Second)
	put := func() {
		for range queue.MaxEntries + 1 {
			u.Event(entryOf("sh"))
		}
	}
	put()
	late := entryOf("sh", "late")
	late.Wall = at
	u.Event(late)
	for range queue.MaxEvents + 1 {
		ev := open("/late")
		ev.Wall = at.Add(-time.Second)
		u.Event(ev)
	}
	defer run(t, u)()
	c.listen()
	covered := func(class string, at time.Time) bool {
		return slices.ContainsFunc(c.gapsSaid(), func(g *sensorv1.Gap) bool {
			return g.Class == class && !g.Since.AsTime().After(at) && !g.Until.AsTime().Before(at)
		})
	}
	c.until(func() bool { return covered("entry", at) && covered("file_open", at.Add(-time.Second)) })
}

// While nobody can tell whether the kernel lost execs, it may have; how many is told when
// it can be told.
func TestExecsThatNobodyCanCountAreTold(t *testing.T) {
	c := newCollector(t)
	c.listenAnywhere()
	o := c.options()
	var broken atomic.Bool
	broken.Store(true)
	o.LostExecs = func() (uint64, error) {
		if broken.Load() {
			return 0, errors.New("no such map")
		}
		return 4, nil
	}
	before := time.Now()
	u := openUplink(t, o)
	defer run(t, u)()
	var first *sensorv1.Gap
	c.until(func() bool {
		for _, g := range c.gapsSaid() {
			if first = g; g.Class != "process_exec" || g.Count != 0 || g.Since.AsTime().Before(before) || g.Until.AsTime().Before(g.Since.AsTime()) {
				t.Errorf("%v", g)
			}
		}
		return first != nil
	})
	broken.Store(false)
	c.until(func() bool {
		return slices.ContainsFunc(c.gapsSaid(), func(g *sensorv1.Gap) bool { return g.Count == 4 && !g.Since.AsTime().After(first.Since.AsTime()) })
	})
}
