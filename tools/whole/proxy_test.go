package whole

import (
	"context"
	"net"
	"sync"
	"testing"
	"time"
)

// proxy is the network between two processes.
type proxy struct {
	listener net.Listener
	running  sync.WaitGroup

	mu     sync.Mutex
	target string
	links  map[*link]bool
	cut    bool          // connections are refused
	silent chan struct{} // not nil: nothing goes through until it is closed
	delay  time.Duration // of every piece
}

// link is one connection, with both its ends.
type link struct {
	near, far *net.TCPConn
	lost      bool // nothing goes through any more, and nobody is told
}

func newProxy(t testing.TB) *proxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{listener: listener, links: map[*link]bool{}}
	p.running.Go(p.accept)
	t.Cleanup(p.close)
	return p
}

func (p *proxy) address() string { return p.listener.Addr().String() }

func (p *proxy) close() {
	p.listener.Close()
	p.cutOff(true)
	p.resume()
	p.running.Wait()
}

// leadTo has coming connections go there.
func (p *proxy) leadTo(target string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.target = target
}

// cutOff resets all connections and refuses others, or takes them again.
func (p *proxy) cutOff(cut bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut = cut
	if cut {
		for l := range p.links {
			l.reset()
		}
	}
}

// silence lets nothing through until resume: connections stand, and say nothing.
func (p *proxy) silence() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.silent == nil {
		p.silent = make(chan struct{})
	}
}

func (p *proxy) resume() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.silent != nil {
		close(p.silent)
		p.silent = nil
	}
}

// slow delays every piece from now on.
func (p *proxy) slow(by time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.delay = by
}

// lose forgets all connections, as a router does that was started anew: both ends go on
// sending, are confirmed, and hear nothing.
func (p *proxy) lose() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.links {
		l.lost = true
	}
}

func (l *link) reset() {
	for _, end := range []*net.TCPConn{l.near, l.far} {
		_ = end.SetLinger(0) // closed already
		end.Close()
	}
}

func (p *proxy) accept() {
	for {
		conn, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.running.Go(func() { p.connect(conn.(*net.TCPConn)) })
	}
}

func (p *proxy) connect(near *net.TCPConn) {
	p.pass()
	p.mu.Lock()
	target, cut := p.target, p.cut
	p.mu.Unlock()
	var far net.Conn
	var err error
	if !cut {
		dialer := net.Dialer{Timeout: 5 * time.Second}
		far, err = dialer.DialContext(context.Background(), "tcp", target)
	}
	if cut || err != nil {
		_ = near.SetLinger(0)
		near.Close()
		return
	}
	l := &link{near: near, far: far.(*net.TCPConn)}
	p.mu.Lock()
	p.links[l] = true
	if p.cut {
		l.reset()
	}
	p.mu.Unlock()
	var both sync.WaitGroup
	both.Go(func() { p.pump(l, l.near, l.far) })
	both.Go(func() { p.pump(l, l.far, l.near) })
	both.Wait()
	near.Close()
	far.Close()
	p.mu.Lock()
	delete(p.links, l)
	p.mu.Unlock()
}

// pump moves bytes one way until an end closes.
func (p *proxy) pump(l *link, from, to *net.TCPConn) {
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		delay := p.pass()
		p.mu.Lock()
		lost := l.lost
		p.mu.Unlock()
		if lost && err == nil {
			continue
		}
		if lost { // the other end is not told
			return
		}
		if n > 0 {
			if delay > 0 {
				time.Sleep(delay)
			}
			if _, err := to.Write(buffer[:n]); err != nil {
				from.Close()
				return
			}
		}
		if err != nil {
			to.Close()
			return
		}
	}
}

// pass waits while nothing goes through.
func (p *proxy) pass() time.Duration {
	for {
		p.mu.Lock()
		silent, delay := p.silent, p.delay
		p.mu.Unlock()
		if silent == nil {
			return delay
		}
		<-silent
	}
}
