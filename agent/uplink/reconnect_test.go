package uplink

import (
	"context"
	"errors"
	"io"
	"math"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/seawall-security/seawall/internal/tlsconf"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

// near is a collector without a network: it greets, and then does what it is told to.
type near struct {
	grpc.ClientStream
	ctx     context.Context
	greeted bool
	then    func(context.Context) error // what ends the stream
}

func (n *near) Stream(ctx context.Context, _ ...grpc.CallOption) (grpc.BidiStreamingClient[sensorv1.FromAgent, sensorv1.ToAgent], error) {
	return &near{ctx: ctx, then: n.then}, nil
}
func (n *near) Close() error                   { return nil }
func (n *near) Send(*sensorv1.FromAgent) error { return nil }
func (n *near) Recv() (*sensorv1.ToAgent, error) {
	if !n.greeted {
		n.greeted = true
		return &sensorv1.ToAgent{Body: &sensorv1.ToAgent_Welcome{Welcome: &sensorv1.Welcome{}}}, nil
	}
	return nil, n.then(n.ctx)
}

func (o *Options) connectTo(n *near) {
	o.dial = func() (sensorv1.SensorClient, io.Closer, error) { return n, n, nil }
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// Streams that end leave nothing behind, however many.
func TestReconnectsAreBounded(t *testing.T) {
	const streams, warm = 10_000, 100
	o := newCollector(t).options()
	o.connectTo(&near{then: func(context.Context) error { return status.Error(codes.Unavailable, "stopping") }})
	ctx, cancel := context.WithCancel(t.Context())
	var waits, goroutines int
	var before, after int64
	o.Wait = func(context.Context, time.Duration) error {
		switch waits++; waits {
		case warm:
			before, goroutines = heap(), runtime.NumGoroutine()
		case streams:
			after = heap()
			if n := runtime.NumGoroutine(); n > goroutines {
				t.Errorf("%d goroutines, %d after the first hundred streams", n, goroutines)
			}
			cancel()
		}
		return ctx.Err()
	}
	u := openUplink(t, o)
	feed(u, "/waits", 100)
	u.Run(ctx)
	if err := u.Close(); err != nil {
		t.Fatal(err)
	}
	if grown := after - before; grown > 256<<10 {
		t.Errorf("%d bytes more after %d streams", grown, streams)
	}
	if n := u.counts.reconnects.Load(); n != streams-1 {
		t.Errorf("%d reconnects", n)
	}
}

// The same over real connections.
func TestConnectionsAreBounded(t *testing.T) {
	const streams, warm = 200, 20
	c := newCollector(t)
	c.listenAnywhere()
	c.behave = func(int, *sensorv1.Batch, func(*sensorv1.ToAgent) error) error { return errors.New("ends") }
	o := c.options()
	ctx, cancel := context.WithCancel(t.Context())
	var waits, goroutines int
	o.Wait = func(context.Context, time.Duration) error {
		switch waits++; waits {
		case warm:
			goroutines = runtime.NumGoroutine()
		case streams:
			if n := runtime.NumGoroutine(); n > goroutines+20 { // some are on their way out
				t.Errorf("%d goroutines, %d after the first streams", n, goroutines)
			}
			cancel()
		}
		return ctx.Err()
	}
	u := openUplink(t, o)
	feed(u, "/waits", 100)
	u.Run(ctx)
	if err := u.Close(); err != nil {
		t.Fatal(err)
	}
}

// Attempts become rarer, with chance in them, up to a minute and a half, and soon again
// after a stream that stood.
func TestBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stood := time.Duration(0)
		o := newCollector(t).options()
		o.connectTo(&near{then: func(ctx context.Context) error {
			select {
			case <-time.After(stood):
			case <-ctx.Done():
			}
			return status.Error(codes.Aborted, "a newer stream of this agent has taken over")
		}})
		ctx, cancel := context.WithCancel(t.Context())
		var waits []float64
		o.Random = func() float64 { return 0.999 }
		o.Wait = func(_ context.Context, d time.Duration) error {
			waits = append(waits, math.Round(d.Seconds()*2)/2)
			switch len(waits) {
			case 8:
				stood = steady
			case 9:
				cancel()
			}
			return ctx.Err()
		}
		u := openUplink(t, o)
		u.Run(ctx)
		if err := u.Close(); err != nil {
			t.Fatal(err)
		}
		want := []float64{1.5, 3, 6, 12, 24, 48, 90, 90, 1.5}
		for i := range want {
			if i >= len(waits) || waits[i] != want[i] {
				t.Fatalf("waits %v, want %v", waits, want)
			}
		}
	})
}

// A new certificate is shown soon, on a new stream, without a pause; a collector that
// does not greet is given up.
func TestRenewedCertificateAndSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCollector(t)
		o := c.options()
		o.connectTo(&near{then: func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }})
		ctx, cancel := context.WithCancel(t.Context())
		o.Wait = func(context.Context, time.Duration) error { t.Error("waits"); return context.Canceled }
		u := openUplink(t, o)
		ended := make(chan struct{})
		go func() { defer close(ended); u.Run(ctx) }()
		time.Sleep(time.Hour) // of the bubble's time
		if n := u.counts.reconnects.Load(); n != 0 || !u.counts.connected.Load() {
			t.Errorf("%d reconnects", n)
		}
		o.Enrolment.(*enrolment).source.Set(c.ca.material(t, agentURI))
		time.Sleep(statusInterval + time.Second)
		if n := u.counts.reconnects.Load(); n != 1 || !u.counts.connected.Load() {
			t.Errorf("%d reconnects after the certificate was renewed", n)
		}
		cancel()
		<-ended
		if u.counts.connected.Load() {
			t.Error("connected after the end")
		}

		silent := &near{greeted: true, then: func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }}
		began := time.Now()
		err := u.serve(t.Context(), mute{silent})
		if !errors.Is(err, errSilent) || time.Since(began) != welcomeTimeout {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		if err := u.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

// Nobody is greeted before there is something to say of the hooks.
func TestBegin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newCollector(t).options()
		o.connectTo(&near{then: func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }})
		begin := make(chan struct{})
		o.Begin = begin
		u := openUplink(t, o)
		stop := run(t, u)
		time.Sleep(time.Hour) // of the bubble's time
		if u.counts.connected.Load() {
			t.Error("connected before")
		}
		close(begin)
		time.Sleep(time.Second)
		if !u.counts.connected.Load() {
			t.Error("not connected")
		}
		stop()
	})
}

// mute never greets.
type mute struct{ *near }

func (m mute) Stream(ctx context.Context, _ ...grpc.CallOption) (grpc.BidiStreamingClient[sensorv1.FromAgent, sensorv1.ToAgent], error) {
	return &near{ctx: ctx, greeted: true, then: m.then}, nil
}

// A server that is no collector of ours gets nothing.
func TestForeignCollector(t *testing.T) {
	c := newCollector(t)
	c.listenAnywhere()
	o := c.options()
	o.Enrolment.(*enrolment).source = tlsconf.NewSource(newAuthority(t).material(t, agentURI))
	ctx, cancel := context.WithCancel(t.Context())
	o.Wait = func(context.Context, time.Duration) error { cancel(); return ctx.Err() }
	u := openUplink(t, o)
	feed(u, "/secret", 10)
	u.Run(ctx)
	if err := u.Close(); err != nil {
		t.Fatal(err)
	}
	c.until(func() bool {
		if c.streams != 0 || len(c.items) != 0 {
			t.Errorf("%d streams, %d items", c.streams, len(c.items))
		}
		return true
	})
}

// TestLatencyIsObservedOnce: of each detection, when it first goes; not of gaps and events,
// and not again over streams that end.
func TestLatencyIsObservedOnce(t *testing.T) {
	o := newCollector(t).options()
	now := time.Now()
	o.Now = func() time.Time { return now }
	ctx, cancel := context.WithCancel(t.Context())
	streams := 0
	o.Wait = func(ctx context.Context, _ time.Duration) error {
		if streams++; streams == 3 {
			cancel()
		}
		return ctx.Err()
	}
	var u *Uplink
	o.connectTo(&near{then: func(context.Context) error {
		for u.counts.detections.sent.Load() <= uint64(streams) { // again in each stream
			runtime.Gosched()
		}
		return status.Error(codes.Unavailable, "stopping")
	}})
	u = openUplink(t, o)
	u.Event(open("/event"))
	u.Detection(&sensorv1.Detection{Rule: "r", Event: &sensorv1.Event{Time: timestamppb.New(now.Add(-90 * time.Second))}})
	spoolAll(t, u)
	u.Run(ctx)
	if err := u.Close(); err != nil {
		t.Fatal(err)
	}
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(u.counts.latency)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	h := families[0].GetMetric()[0].GetHistogram()
	if n, sum := h.GetSampleCount(), h.GetSampleSum(); n != 1 || sum < 89.99 || sum > 90.01 {
		t.Errorf("over %d streams %d detections took %v s", streams, n, sum)
	}
}
