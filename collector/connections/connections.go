// Package connections bounds who may hold TCP connections to the collector, so that
// nobody uses up its descriptors or memory, and strangers never keep out those who enrolled.
//
// A connection is a stranger's until its handshake has shown a valid certificate. Strangers
// are few, in all and of one address, and may stay a minute and send what an enrolment
// takes. When they are too many, one that has been there for longer than any honest
// handshake takes gives way to the newcomer; is there none, the newcomer is turned away and
// comes again. Peers with a certificate have room of their own, which no stranger can take.
//
// A [Gate] gives a listener and credentials to the gRPC server, and listeners to others,
// which say by [Gate.Know] whose a connection is. All share the bounds. It may be used by
// many goroutines.
package connections

import (
	"container/list"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/credentials"

	"github.com/seawall-security/seawall/internal/tlsconf"
)

// Limits of open connections.
type Limits struct {
	// Strangers have no certificate, or not yet.
	Strangers int
	// StrangersPerAddress are those of one IPv4 address or IPv6 /64.
	StrangersPerAddress int
	// Peers have a valid certificate; PerPeer are of one of them.
	Peers   int
	PerPeer int
}

// DefaultLimits, and why: a node's handshake takes milliseconds, so 64 at once behind one
// router are thousands of nodes a minute. 16,384 is three times the nodes that correlation
// is made for. An agent has one connection and a second one as it reconnects; a SIEM has
// some tens.
var DefaultLimits = Limits{Strangers: 512, StrangersPerAddress: 64, Peers: 16384, PerPeer: 64}

const (
	// settle is above what an honest handshake takes, over a slow network too.
	settle = 2 * time.Second
	// strangerTime is for a handshake and one call of Enrolment, which agents give 30 s.
	strangerTime = time.Minute
	// strangerBytes is for a handshake with a chain of certificates, a service account
	// token of 16 KiB and a certificate request of 4 KiB.
	strangerBytes = 64 << 10
	// sendTimeout is how long what was sent may stay unacknowledged: gRPC sets it on
	// connections it made itself.
	sendTimeout = 20 * time.Second
	// ownDescriptors are for the event log, the store, sinks and the operator's server.
	ownDescriptors = 512
)

// Fit lowers Peers to what the process may open, or says that it is too little.
func (l Limits) Fit(descriptors uint64) (Limits, error) {
	rest := int64(min(descriptors, 1<<30)) - ownDescriptors - int64(l.Strangers)
	if rest < int64(l.Strangers) {
		return l, fmt.Errorf("%d file descriptors are too few: %d go to strangers' connections, %d to the collector itself, and peers need some", descriptors, l.Strangers, ownDescriptors)
	}
	l.Peers = min(l.Peers, int(rest))
	return l, nil
}

// Descriptors is how many files this process may have open.
func Descriptors() (uint64, error) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 0, fmt.Errorf("read limit of open files: %w", err)
	}
	return limit.Cur, nil
}

// Gate counts connections.
type Gate struct {
	limits   Limits
	now      func() time.Time
	lifetime time.Duration // of strangers
	refused  [reasons]atomic.Uint64

	mu        sync.Mutex // guards the rest
	strangers list.List  // of *conn, the oldest first
	addresses map[netip.Addr]int
	peers     int
	perPeer   map[string]int
}

// NewGate returns a gate with nobody in it.
func NewGate(limits Limits, now func() time.Time) *Gate {
	return &Gate{limits: limits, now: now, lifetime: strangerTime, addresses: make(map[netip.Addr]int), perPeer: make(map[string]int)}
}

// Listen returns a listener that turns connections away as it accepts them.
func (g *Gate) Listen(l net.Listener) net.Listener { return &listener{l, g, strangerBytes} }

// ListenBytes is Listen where a stranger may send so many bytes.
func (g *Gate) ListenBytes(l net.Listener, bytes int64) net.Listener { return &listener{l, g, bytes} }

type listener struct {
	net.Listener
	gate  *Gate
	bytes int64
}

func (l *listener) Accept() (net.Conn, error) {
	for {
		raw, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if c := l.gate.enter(raw, l.bytes); c != nil {
			return c, nil
		}
		_ = raw.Close() // it was not let in
	}
}

// conn is a connection that was let in.
type conn struct {
	net.Conn
	gate    *Gate
	address netip.Addr
	since   time.Time
	left    atomic.Int64 // bytes that a stranger may still send
	known   atomic.Bool
	late    *time.Timer // closes a stranger's

	// Guarded by the gate's mu.
	place *list.Element // among strangers; nil: it is none
	peer  string        // whose it is; empty: a stranger's
	gone  bool
}

// enter lets a connection in as a stranger's, or returns nil.
func (g *Gate) enter(raw net.Conn, bytes int64) *conn {
	limitSend(raw)
	c := &conn{Conn: raw, gate: g, address: network(raw.RemoteAddr()), since: g.now()}
	c.left.Store(bytes)
	g.mu.Lock()
	victim, reason, ok := g.room(c)
	if ok {
		if victim != nil {
			g.forget(victim)
		}
		c.place = g.strangers.PushBack(c)
		g.addresses[c.address]++
		c.late = time.AfterFunc(g.lifetime, func() { c.end(tooLong) })
	}
	g.mu.Unlock()
	if !ok {
		g.refused[reason].Add(1)
		return nil
	}
	if victim != nil {
		g.refused[evicted].Add(1)
		_ = victim.Close() // its server hears of it by the next read
	}
	return c
}

// room finds who has to go for a newcomer; nil and true: nobody. g.mu is held.
func (g *Gate) room(c *conn) (victim *conn, why reason, ok bool) {
	switch {
	case g.addresses[c.address] >= g.limits.StrangersPerAddress:
		for e := g.strangers.Front(); e != nil && victim == nil; e = e.Next() {
			if old := e.Value.(*conn); old.address == c.address {
				victim = old
			}
		}
		why = ofAddress
	case g.strangers.Len() >= g.limits.Strangers:
		victim, why = g.strangers.Front().Value.(*conn), ofStrangers
	default:
		return nil, 0, true
	}
	if victim == nil || c.since.Sub(victim.since) < settle {
		return nil, why, false
	}
	return victim, why, true
}

// Know makes a connection that one of the gate's listeners accepted a peer's, if there is
// room for it: its holder has shown who he is. Said again it changes nothing.
func (g *Gate) Know(raw net.Conn, peer string) error {
	c, ours := raw.(*conn)
	if !ours {
		return errors.New("the connection did not come by this gate")
	}
	if c.known.Load() {
		return nil
	}
	return g.know(c, peer)
}

// know makes a stranger's connection a peer's, if there is room for it.
func (g *Gate) know(c *conn, peer string) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case c.gone:
		return net.ErrClosed
	case c.place == nil:
		return nil // by another request on it
	case g.peers >= g.limits.Peers:
		g.refused[ofPeers].Add(1)
		return fmt.Errorf("%d connections are open, no more are taken", g.peers)
	case g.perPeer[peer] >= g.limits.PerPeer:
		g.refused[ofPeer].Add(1)
		return fmt.Errorf("%s has %d connections open, no more are taken", peer, g.perPeer[peer])
	}
	g.leave(c)
	c.peer = peer
	g.peers++
	g.perPeer[peer]++
	c.known.Store(true)
	return nil
}

// forget takes a connection off the books. g.mu is held.
func (g *Gate) forget(c *conn) {
	switch {
	case c.gone:
		return
	case c.place != nil:
		g.leave(c)
	default:
		g.peers--
		decrement(g.perPeer, c.peer)
	}
	c.gone = true
}

// leave takes a connection from the strangers. g.mu is held.
func (g *Gate) leave(c *conn) {
	g.strangers.Remove(c.place)
	c.place = nil
	decrement(g.addresses, c.address)
	c.late.Stop()
}

func decrement[K comparable](counts map[K]int, key K) {
	if counts[key]--; counts[key] == 0 {
		delete(counts, key)
	}
}

var errTooMuch = errors.New("more was sent without a certificate than an enrolment takes")

// Read bounds what a stranger may send.
func (c *conn) Read(b []byte) (int, error) {
	if c.known.Load() {
		return c.Conn.Read(b)
	}
	left := c.left.Load()
	if left <= 0 {
		c.end(tooMuch)
		return 0, errTooMuch
	}
	n, err := c.Conn.Read(b[:min(int64(len(b)), left)])
	c.left.Add(-int64(n))
	return n, err
}

// CloseWrite ends what is sent, so that a peer that was refused can read why before the
// connection goes; see package tlsconf.
func (c *conn) CloseWrite() error {
	half, ok := c.Conn.(interface{ CloseWrite() error })
	if !ok {
		return errors.ErrUnsupported
	}
	return half.CloseWrite()
}

// Close implements net.Conn.
func (c *conn) Close() error {
	c.gate.mu.Lock()
	c.gate.forget(c)
	c.gate.mu.Unlock()
	return c.Conn.Close()
}

// end closes a stranger's connection.
func (c *conn) end(why reason) {
	if c.known.Load() {
		return // just now
	}
	c.gate.refused[why].Add(1)
	_ = c.Close() // its server hears of it by the next read
}

// Credentials are a server's credentials that tell the gate whose a connection is.
func (g *Gate) Credentials(of credentials.TransportCredentials) credentials.TransportCredentials {
	return &knowing{of, g}
}

type knowing struct {
	credentials.TransportCredentials
	gate *Gate
}

func (k *knowing) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	secured, info, err := k.TransportCredentials.ServerHandshake(raw)
	if err != nil {
		return secured, info, err
	}
	peer, err := tlsconf.PeerOfConnection(info, tlsconf.Agent, tlsconf.Client)
	c, counted := raw.(*conn)
	if err != nil || !counted {
		return secured, info, nil // he has none: he stays a stranger
	}
	if err := k.gate.know(c, peer.Identity.String()); err != nil {
		return nil, nil, errors.Join(err, secured.Close())
	}
	return secured, info, nil
}

func (k *knowing) Clone() credentials.TransportCredentials {
	return &knowing{k.TransportCredentials.Clone(), k.gate}
}

// network is what one holder commonly has: an IPv4 address or an IPv6 /64.
func network(address net.Addr) netip.Addr {
	from, err := netip.ParseAddrPort(address.String())
	if err != nil {
		return netip.Addr{}
	}
	a := from.Addr().Unmap().WithZone("")
	if prefix, err := a.Prefix(64); a.Is6() && err == nil {
		return prefix.Addr()
	}
	return a
}

// limitSend has the kernel give up on a peer that takes nothing. Where it cannot, gRPC's
// pings find out.
func limitSend(raw net.Conn) {
	tcp, ok := raw.(*net.TCPConn)
	if !ok {
		return
	}
	if control, err := tcp.SyscallConn(); err == nil {
		_ = control.Control(func(fd uintptr) {
			_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(sendTimeout.Milliseconds()))
		})
	}
}
