package uplink

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

// parting is the last wait of an uplink, in a test's hands.
type parting struct {
	begun chan struct{} // closed by the uplink
	over  chan struct{} // closed by the test
}

func (o *Options) holdParting() parting {
	p := parting{begun: make(chan struct{}), over: make(chan struct{})}
	o.Random = func() float64 { return 0.25 } // no other wait is as long
	o.Wait = func(ctx context.Context, d time.Duration) error {
		if d == partingTime {
			close(p.begun)
			select {
			case <-p.over:
			case <-ctx.Done():
			}
		}
		return ctx.Err()
	}
	return p
}

// feedMany says more than may be in flight.
func feedMany(u *Uplink) (events int, path string) {
	const many, size = 1000, 4000 // some eight batches
	path = "/" + strings.Repeat("p", size)
	for range many {
		u.Event(open(path))
	}
	u.Detection(&sensorv1.Detection{Rule: "last"})
	return many, path
}

// left is how much the next start finds.
func left(t *testing.T, o Options) uint64 {
	t.Helper()
	u := openUplink(t, o)
	defer u.Close()
	return u.waiting()
}

// What waits as the agent is stopped goes up on the stream that stands, and is not sent
// again by the next start.
func TestStopSendsWhatWaits(t *testing.T) {
	c := newCollector(t)
	c.listenAnywhere()
	o := c.options()
	p := o.holdParting()
	c.behave = func(_ int, b *sensorv1.Batch, send func(*sensorv1.ToAgent) error) error {
		<-p.begun // it is slow until then
		return send(ackOf(b))
	}
	u := openUplink(t, o)
	stop := run(t, u)
	events, path := feedMany(u)
	c.until(func() bool { return c.batches > 0 })
	stop()
	records, gaps := c.seen()
	if records[path] != events || records["last"] != 1 || len(gaps) != 0 || c.repeats != 0 || c.streams != 1 {
		t.Errorf("%d events and %d detections, lost %v, %d again, %d streams", records[path], records["last"], gaps, c.repeats, c.streams)
	}
	if n := left(t, o); n != 0 {
		t.Errorf("%d records are sent again", n)
	}
}

// A collector that acknowledges nothing holds the agent up for so long, and no more.
func TestStopIsBounded(t *testing.T) {
	c := newCollector(t)
	c.listenAnywhere()
	c.behave = func(int, *sensorv1.Batch, func(*sensorv1.ToAgent) error) error { return nil }
	o := c.options()
	p := o.holdParting()
	u := openUplink(t, o)
	events, _ := feedMany(u)
	stop := run(t, u)
	c.until(func() bool { return c.batches > 0 })
	go func() { <-p.begun; close(p.over) }()
	stop()
	if n := left(t, o); n != uint64(events)+1 {
		t.Errorf("%d of %d records are kept", n, events+1)
	}
}

// A collector that goes while the agent ends is not waited for, nor asked again.
func TestStopEndsWithTheStream(t *testing.T) {
	c := newCollector(t)
	c.listenAnywhere()
	o := c.options()
	p := o.holdParting()
	c.behave = func(int, *sensorv1.Batch, func(*sensorv1.ToAgent) error) error {
		<-p.begun
		return errors.New("the collector is stopping")
	}
	u := openUplink(t, o)
	events, _ := feedMany(u)
	stop := run(t, u)
	c.until(func() bool { return c.batches > 0 })
	stop() // nobody closes p.over
	if c.streams != 1 {
		t.Errorf("%d streams", c.streams)
	}
	if n := left(t, o); n != uint64(events)+1 {
		t.Errorf("%d of %d records are kept", n, events+1)
	}
}

// Without a stream there is nothing to wait for; the same where everything has arrived.
func TestStopAtOnce(t *testing.T) {
	for _, away := range []bool{true, false} {
		c := newCollector(t)
		if !away {
			c.listenAnywhere()
		}
		o := c.options()
		p := o.holdParting()
		u := openUplink(t, o)
		names := feed(u, "/", 100)
		stop := run(t, u)
		if !away {
			c.until(func() bool { return c.arrived(names) })
			for u.waiting() > 0 {
				<-u.acked
			}
		}
		stop()
		select {
		case <-p.begun:
			t.Errorf("away %t: it waits", away)
		default:
		}
	}
}
