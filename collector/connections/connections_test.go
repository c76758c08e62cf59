package connections

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// Who ends a refused connection half-closes it first, so that the peer reads why.
var _ interface{ CloseWrite() error } = (*conn)(nil)

// world is a gate on loopback. What is accepted is read until it ends.
type world struct {
	*testing.T
	gate    *Gate
	address string
	came    chan *conn // each that was let in
	ended   chan error // why the reading of one ended
	mu      sync.Mutex
	time    time.Time
}

func (w *world) now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.time
}

func (w *world) advance(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.time = w.time.Add(d)
}

func newWorld(t *testing.T, limits Limits, lifetime time.Duration) *world {
	t.Helper()
	w := &world{T: t, time: time.Unix(1e9, 0), came: make(chan *conn, 1000), ended: make(chan error, 1000)}
	w.gate = NewGate(limits, w.now)
	w.gate.lifetime = lifetime
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w.address = inner.Addr().String()
	l := w.gate.Listen(inner)
	var reading sync.WaitGroup
	reading.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			w.came <- c.(*conn)
			reading.Go(func() {
				_, err := io.Copy(io.Discard, c)
				c.Close()
				w.ended <- err
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		w.gate.mu.Lock()
		var open []*conn
		for e := w.gate.strangers.Front(); e != nil; e = e.Next() {
			open = append(open, e.Value.(*conn))
		}
		w.gate.mu.Unlock()
		for _, c := range open {
			c.Close()
		}
	})
	return w
}

// dial opens a connection from an address of this host.
func (w *world) dial(from string) net.Conn {
	w.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	c, err := d.DialContext(w.Context(), "tcp", w.address)
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() { c.Close() })
	return c
}

// in opens one that is let in.
func (w *world) in(from string) (*conn, net.Conn) {
	w.Helper()
	c := w.dial(from)
	return <-w.came, c
}

// wantEnd expects that the other side closes a connection, and says nothing.
func (w *world) wantEnd(c net.Conn) {
	w.Helper()
	if err := c.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		w.Fatal(err)
	}
	var deadline net.Error
	if n, err := c.Read(make([]byte, 1)); n != 0 || err == nil || errors.As(err, &deadline) && deadline.Timeout() {
		w.Errorf("it is open: %d bytes, %v", n, err)
	}
}

// wantCounts compares what the metrics say.
func (w *world) wantCounts(strangers, peers int, refused string) {
	w.Helper()
	want := fmt.Sprintf(`
# HELP seawall_collector_connections Open connections; strangers have shown no valid certificate, or not yet.
# TYPE seawall_collector_connections gauge
seawall_collector_connections{kind="stranger"} %d
seawall_collector_connections{kind="peer"} %d
`, strangers, peers)
	registry := prometheus.NewRegistry()
	registry.MustRegister(w.gate)
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want), "seawall_collector_connections"); err != nil {
		w.Error(err)
	}
	got := ""
	for i := range w.gate.refused {
		if n := w.gate.refused[i].Load(); n > 0 {
			got += fmt.Sprintf("%s=%d ", words[i], n)
		}
	}
	if got = strings.TrimSpace(got); got != refused {
		w.Errorf("turned away %q, want %q", got, refused)
	}
}

var few = Limits{Strangers: 8, StrangersPerAddress: 4, Peers: 3, PerPeer: 2}

func TestOneAddressHasItsShare(t *testing.T) {
	w := newWorld(t, few, time.Hour)
	var first net.Conn
	for i := range 4 {
		_, c := w.in("127.0.0.2")
		if i == 0 {
			first = c
		}
	}
	for range 30 { // a second later nobody is old: newcomers of that address go
		w.wantEnd(w.dial("127.0.0.2"))
	}
	w.wantCounts(4, 0, "address=30")
	w.in("127.0.0.3") // others come in
	w.wantCounts(5, 0, "address=30")

	// Who sits there for longer than a handshake takes makes room for whoever comes next.
	w.advance(settle)
	w.in("127.0.0.2")
	w.wantEnd(first)
	w.wantCounts(5, 0, "address=30 evicted=1")
}

func TestAllAddressesTogetherHaveTheirShare(t *testing.T) {
	w := newWorld(t, few, time.Hour)
	_, oldest := w.in("127.0.0.2")
	for i := range 7 {
		w.in(fmt.Sprintf("127.0.0.%d", 3+i))
	}
	w.wantEnd(w.dial("127.0.0.50"))
	w.wantCounts(8, 0, "strangers=1")
	w.advance(settle)
	w.in("127.0.0.50")
	w.wantEnd(oldest)
	w.wantCounts(8, 0, "strangers=1 evicted=1")
}

func TestPeersHaveRoomOfTheirOwn(t *testing.T) {
	w := newWorld(t, few, time.Hour)
	know := func(peer string) (*conn, error) {
		t.Helper()
		c, _ := w.in("127.0.0.2")
		return c, w.gate.know(c, peer)
	}
	one, err := know("a")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := know("a"); err != nil {
		t.Fatal(err)
	}
	third, err := know("a")
	if err == nil || !strings.Contains(err.Error(), "a has 2 connections open") {
		t.Errorf("a third one: %v", err)
	}
	third.Close()
	if _, err := know("b"); err != nil {
		t.Fatal(err)
	}
	fourth, err := know("c")
	if err == nil || !strings.Contains(err.Error(), "3 connections are open") {
		t.Errorf("a fourth one: %v", err)
	}
	fourth.Close()
	for range 4 {
		w.in("127.0.0.2") // they do not count as strangers of that address any more
	}
	w.wantCounts(4, 3, "peers=1 peer=1")
	one.Close()
	one.Close()
	w.wantCounts(4, 2, "peers=1 peer=1")
	next, _ := w.in("127.0.0.3")
	if err := w.gate.know(next, "a"); err != nil {
		t.Errorf("after one of its two has gone: %v", err)
	}
}

func TestStrangersGoAfterTheirTime(t *testing.T) {
	w := newWorld(t, few, time.Millisecond)
	_, c := w.in("127.0.0.2")
	w.wantEnd(c)
	if err := <-w.ended; err == nil {
		t.Error("it ended by itself")
	}
	w.wantCounts(0, 0, "time=1")
}

func TestStrangersSendNoMoreThanAnEnrolment(t *testing.T) {
	w := newWorld(t, few, time.Hour)
	_, c := w.in("127.0.0.2")
	if _, err := c.Write(make([]byte, strangerBytes+1)); err != nil {
		t.Fatal(err)
	}
	if err := <-w.ended; !errors.Is(err, errTooMuch) {
		t.Errorf("ended with %v", err)
	}
	w.wantCounts(0, 0, "bytes=1")

	// A peer sends what it likes.
	peer, c := w.in("127.0.0.2")
	if err := w.gate.know(peer, "a"); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write(make([]byte, 4*strangerBytes)); err != nil {
		t.Fatal(err)
	}
	c.Close()
	if err := <-w.ended; err != nil {
		t.Errorf("ended with %v", err)
	}
	w.wantCounts(0, 0, "bytes=1")
}

// A server that is not gRPC's says itself who is known, and how much a stranger may send.
func TestServersOfOthers(t *testing.T) {
	w := newWorld(t, few, time.Hour)
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := w.gate.ListenBytes(inner, 3*strangerBytes)
	t.Cleanup(func() { l.Close() })
	send := func(known bool, bytes int) (read int64, err error) {
		t.Helper()
		from, err := net.Dial("tcp", inner.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer from.Close()
		c, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		for range 3 { // of several requests
			if known && w.gate.Know(c, "api server") != nil {
				t.Error("it is not let in")
			}
		}
		if known {
			w.wantCounts(0, 1, "bytes=1")
		}
		go func() {
			_, _ = from.Write(make([]byte, bytes)) // it may be cut off
			_ = from.(*net.TCPConn).CloseWrite()
		}()
		return io.Copy(io.Discard, c)
	}
	if read, err := send(false, 2*strangerBytes); err != nil || read != 2*strangerBytes {
		t.Errorf("%d bytes, %v", read, err)
	}
	if read, err := send(false, 4*strangerBytes); !errors.Is(err, errTooMuch) || read != 3*strangerBytes {
		t.Errorf("%d bytes, %v", read, err)
	}
	if read, err := send(true, 9*strangerBytes); err != nil || read != 9*strangerBytes {
		t.Errorf("%d bytes, %v", read, err)
	}
	w.wantCounts(0, 0, "bytes=1")
	foreign, other := net.Pipe()
	defer foreign.Close()
	defer other.Close()
	if err := w.gate.Know(foreign, "a"); err == nil {
		t.Error("a connection of nobody's is known")
	}
}

func TestFit(t *testing.T) {
	limits, err := DefaultLimits.Fit(1 << 20)
	if err != nil || limits != DefaultLimits {
		t.Errorf("many files: %v, %v", limits, err)
	}
	if limits, err = DefaultLimits.Fit(4096); err != nil || limits.Peers != 4096-512-512 {
		t.Errorf("some files: %v, %v", limits, err)
	}
	if _, err = DefaultLimits.Fit(1024); err == nil {
		t.Error("few files are enough")
	}
	if n, err := Descriptors(); err != nil || n == 0 {
		t.Errorf("%d, %v", n, err)
	}
}
