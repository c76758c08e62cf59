package uplink

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

// older is what a collector of two lanes does with batches: it refuses other lanes, and takes
// for a repeat what does not rise above the last item of that lane and boot.
type older struct {
	c       *collector // whose mutex guards what follows
	marks   map[item]uint64
	taken   []string // arguments of entries, and paths
	repeats int
}

func (o *older) behave(_ int, b *sensorv1.Batch, send func(*sensorv1.ToAgent) error) error {
	if b.Lane != sensorv1.Lane_LANE_DETECTIONS && b.Lane != sensorv1.Lane_LANE_TELEMETRY {
		return status.Errorf(codes.InvalidArgument, "batch of lane %d", b.Lane)
	}
	o.c.mu.Lock()
	defer o.c.mu.Unlock()
	defer o.c.changed.Broadcast()
	for n, i := range b.Items {
		if n > 0 && i.BootId == b.Items[n-1].BootId && i.Sequence <= b.Items[n-1].Sequence || i.BootId == "" || len(i.BootId) > 64 {
			return status.Errorf(codes.InvalidArgument, "item %d: %s %d", n, i.BootId, i.Sequence)
		}
		mark := item{b.Lane, i.BootId, 0}
		if i.Sequence <= o.marks[mark] {
			o.repeats++
			continue
		}
		o.marks[mark] = i.Sequence
		o.taken = append(o.taken, said(i))
	}
	return send(ackOf(b))
}

// said is what an item is about.
func said(i *sensorv1.Item) string {
	r := recordOf(i.Record)
	switch e := r.GetEvent(); {
	case e.GetEntry():
		return strings.Join(e.GetSession().GetArgs(), " ")
	case e != nil:
		return e.GetOpen().GetFile().GetPath()
	}
	return r.GetDetection().GetRule()
}

// An older collector gets entries all the same, each once and none taken for another event,
// over streams that break and an upgrade of the collector.
func TestCollectorOfTwoLanesGetsEntries(t *testing.T) {
	c := newCollector(t)
	two := &older{c: c, marks: map[item]uint64{}}
	c.welcome = &sensorv1.Welcome{}
	c.behave = two.behave
	c.listenAnywhere()
	o := c.options()
	o.BootID = "5f0e7a52-55c4-4e0c-a3a2-3b3a4f4a7b11"
	// What stops waits for as long as it takes until all is acknowledged.
	o.Wait = func(ctx context.Context, _ time.Duration) error { <-ctx.Done(); return ctx.Err() }
	u := openUplink(t, o)
	var want []string
	say := func(from, to int) {
		for n := from; n < to; n++ {
			entry, path, rule := fmt.Sprint("sh ", n), fmt.Sprint("/", n), fmt.Sprint("rule ", n)
			u.Event(entryOf("sh", fmt.Sprint(n)))
			u.Event(open(path))
			u.Detection(&sensorv1.Detection{Rule: rule})
			want = append(want, entry, path, rule)
		}
	}
	say(0, 50)
	stop := run(t, u)
	all := func() bool { return len(two.taken) >= len(want) }
	c.until(all)
	say(50, 100)
	c.until(all)
	c.mu.Lock()
	slices.Sort(want)
	slices.Sort(two.taken)
	if diff := cmp.Diff(want, two.taken); diff != "" || two.repeats > 0 {
		t.Errorf("%d taken for repeats\n-want +got:\n%s", two.repeats, diff)
	}
	c.mu.Unlock()
	stop()
	c.mu.Lock()
	if c.streams != 1 {
		t.Errorf("%d streams: the collector has ended some", c.streams)
	}
	first := len(c.items)
	c.mu.Unlock()
	if first != len(want) {
		t.Errorf("%d items for %d records", first, len(want))
	}

	// The collector is upgraded: entries have their lane, and nothing comes again.
	c.mu.Lock()
	c.welcome, c.behave = &sensorv1.Welcome{Lanes: []sensorv1.Lane{1, 2, 3}}, acks
	c.mu.Unlock()
	u = openUplink(t, o)
	if n := u.waiting(); n != 0 {
		t.Errorf("%d records wait although all were acknowledged", n)
	}
	defer run(t, u)()
	u.Event(entryOf("sh", "new"))
	c.until(func() bool { return len(c.entriesOf()[sensorv1.Lane_LANE_ENTRIES]) == 1 })
	c.until(func() bool { return len(c.items) == first+1 })
}

// What a collector has already, by its Welcome, is not sent to it again: a guest's row is
// not its host's.
func TestGuestsHaveTheirOwnPositions(t *testing.T) {
	c := newCollector(t)
	o := c.options()
	u := openUplink(t, o)
	for n := range 4 {
		u.Event(entryOf("sh", fmt.Sprint(n)))
		u.Event(open(fmt.Sprint("/", n)))
	}
	spoolAll(t, u)
	c.welcome = &sensorv1.Welcome{Positions: []*sensorv1.Position{
		{Lane: sensorv1.Lane_LANE_TELEMETRY, BootId: o.BootID, Sequence: u.first + 2},
		{Lane: sensorv1.Lane_LANE_TELEMETRY, BootId: o.BootID + guestBoot, Sequence: u.first},
	}}
	defer run(t, u)()
	c.listen()
	c.until(func() bool {
		records, _ := c.seen()
		return len(c.entriesOf()[sensorv1.Lane_LANE_TELEMETRY]) == 3 && records["/3"] == 1
	})
	c.until(func() bool {
		if len(c.items) != 4 {
			t.Errorf("%d items: %v", len(c.items), c.entriesOf())
		}
		return true
	})
}
