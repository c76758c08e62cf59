package sink

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Limits and defaults of [SyslogOptions].
const (
	// minDatagram is what every receiver takes (RFC 5426); less is refused as an option.
	minDatagram = 480
	// DefaultDatagramBytes is what receivers should take over UDP.
	DefaultDatagramBytes = 2048
	maxDatagram          = 65507 // over IPv4
	// DefaultSyslogBytes bounds a message over TCP and TLS: what common receivers take.
	DefaultSyslogBytes   = 8192
	maxSyslogBytes       = 16 << 20
	DefaultSyslogTimeout = 10 * time.Second

	defaultFacility = 13 // log audit
)

// Transports of syslog.
const (
	SyslogTLS = "tls" // RFC 5425
	SyslogTCP = "tcp" // RFC 6587, octet counting
	SyslogUDP = "udp" // RFC 5426: nobody says whether anything arrives
)

// SyslogOptions of a syslog sink; zero values stand for the defaults.
type SyslogOptions struct {
	Transport string
	Address   string // host:port
	// TLS is for [SyslogTLS]; the server's name is the address's unless it says another.
	TLS *tls.Config
	// Facility is 0 to 23; nil: 13, log audit.
	Facility *int
	// Hostname is whom the messages are from: the collector's host.
	Hostname string
	// Text is what a message says behind its structured data; nil: [Summary].
	Text Format
	// MaxBytes of a message. A longer text is cut; where it is not the summary, it is
	// replaced by the summary, since half a document says nothing.
	MaxBytes int
	// Timeout is for each of dialling and a batch.
	Timeout time.Duration
}

// Syslog is a [Sink] that sends messages of RFC 5424.
//
// Syslog has no acknowledgements. Over TCP and TLS a batch counts as delivered when the
// receiver's kernel has confirmed all its bytes: what that host then loses by itself, it
// loses. Over UDP it counts when it was sent.
type Syslog struct {
	o    SyslogOptions
	conn *syslogConn
}

// syslogConn is a connection and whether the other end has closed it.
type syslogConn struct {
	net.Conn
	tcp    *net.TCPConn // nil: UDP
	closed chan struct{}
	reader sync.WaitGroup
}

// NewSyslog returns a sink; it connects with the first batch.
func NewSyslog(o SyslogOptions) (*Syslog, error) {
	limit, most := DefaultSyslogBytes, maxSyslogBytes
	switch o.Transport {
	case SyslogTLS, SyslogTCP:
	case SyslogUDP:
		limit, most = DefaultDatagramBytes, maxDatagram
	default:
		return nil, fmt.Errorf("syslog sink: transport %q is none of tls, tcp and udp", o.Transport)
	}
	host, _, err := net.SplitHostPort(o.Address)
	if err != nil {
		return nil, fmt.Errorf("syslog sink: %w", err)
	}
	if o.MaxBytes = or(o.MaxBytes, limit); o.MaxBytes < minDatagram || o.MaxBytes > most {
		return nil, fmt.Errorf("syslog sink: messages of %d bytes: want %d to %d", o.MaxBytes, minDatagram, most)
	}
	if o.Facility == nil {
		facility := defaultFacility
		o.Facility = &facility
	}
	if *o.Facility < 0 || *o.Facility > 23 {
		return nil, fmt.Errorf("syslog sink: facility %d: want 0 to 23", *o.Facility)
	}
	if o.TLS = o.TLS.Clone(); o.TLS == nil {
		o.TLS = &tls.Config{}
	}
	o.TLS.ServerName = or(o.TLS.ServerName, host)
	o.TLS.MinVersion = max(o.TLS.MinVersion, tls.VersionTLS12)
	o.Timeout = or(o.Timeout, DefaultSyslogTimeout)
	return &Syslog{o: o}, nil
}

// Deliver implements [Sink].
func (s *Syslog) Deliver(ctx context.Context, batch []Revision) error {
	frames, err := s.frames(batch)
	if err != nil {
		return err
	}
	if err := s.connect(ctx); err != nil {
		return fmt.Errorf("connect to syslog: %w", err)
	}
	if err := s.send(ctx, frames); err != nil {
		// What of it arrived is not known, and half a frame spoils those behind it.
		return errors.Join(fmt.Errorf("send to syslog: %w", err), s.Close())
	}
	return nil
}

// Close implements [Sink].
func (s *Syslog) Close() error {
	if s.conn == nil {
		return nil
	}
	conn := s.conn
	s.conn = nil
	err := conn.Close()
	conn.reader.Wait()
	if errors.Is(err, net.ErrClosed) || errors.Is(err, unix.EPIPE) || errors.Is(err, unix.ECONNRESET) || errors.Is(err, os.ErrDeadlineExceeded) {
		return nil // TLS cannot say goodbye to one who is gone
	}
	return err
}

// frames are what is written at once: one per message over UDP, all in one over TCP.
func (s *Syslog) frames(batch []Revision) (frames [][]byte, err error) {
	var stream []byte
	for _, r := range batch {
		m, err := s.message(r)
		if err != nil {
			return nil, &RefusedError{Reason: err.Error()}
		}
		if s.o.Transport == SyslogUDP {
			frames = append(frames, m)
			continue
		}
		stream = strconv.AppendInt(stream, int64(len(m)), 10)
		stream = append(stream, ' ')
		stream = append(stream, m...)
	}
	if stream != nil {
		frames = append(frames, stream)
	}
	return frames, nil
}

func (s *Syslog) message(r Revision) ([]byte, error) {
	a := r.Alert
	m := syslogMessage{
		facility: *s.o.Facility, severity: syslogSeverity(a.GetSeverity()),
		hostname: s.o.Hostname, app: "seawall", msgID: a.GetKind(), params: syslogParams(a, r.Position),
	}
	if a.GetStoredTime().IsValid() {
		m.time = a.GetStoredTime().AsTime()
	}
	var err error
	if s.o.Text != nil {
		if m.text, err = s.o.Text(nil, r); err != nil {
			return nil, err
		}
		if whole := m.append(nil, maxSyslogBytes); len(whole) <= s.o.MaxBytes {
			return whole, nil
		}
		m.params = append([]syslogParam{{"form", "summary"}}, m.params...)
	}
	if m.text, err = Summary(nil, r); err != nil {
		return nil, err
	}
	return m.append(nil, s.o.MaxBytes), nil
}

// connect keeps the connection there is, unless the other end has closed it.
func (s *Syslog) connect(ctx context.Context) error {
	if s.conn != nil {
		select {
		case <-s.conn.closed:
			if err := s.Close(); err != nil {
				return err
			}
		default:
			return nil
		}
	}
	ctx, cancel := context.WithTimeout(ctx, s.o.Timeout)
	defer cancel()
	network := "tcp"
	if s.o.Transport == SyslogUDP {
		network = "udp"
	}
	conn, err := new(net.Dialer).DialContext(ctx, network, s.o.Address)
	if err != nil {
		return err
	}
	c := &syslogConn{Conn: conn, closed: make(chan struct{})}
	c.tcp, _ = conn.(*net.TCPConn)
	if s.o.Transport == SyslogTLS {
		secured := tls.Client(conn, s.o.TLS)
		if err := secured.HandshakeContext(ctx); err != nil {
			return errors.Join(err, conn.Close())
		}
		c.Conn = secured
	}
	if c.tcp != nil {
		c.reader.Go(c.watch)
	}
	s.conn = c
	return nil
}

// watch notices the other end's goodbye, which would otherwise come only with the batch
// that it swallows. It ends with the connection. Receivers of syslog say nothing; one
// that does is not listened to.
func (c *syslogConn) watch() {
	defer close(c.closed)
	var ignored [512]byte
	for {
		if _, err := c.Read(ignored[:]); err != nil {
			return
		}
	}
}

func (s *Syslog) send(ctx context.Context, frames [][]byte) error {
	deadline := time.Now().Add(s.o.Timeout)
	if err := s.conn.SetWriteDeadline(deadline); err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { _ = s.conn.SetWriteDeadline(time.Unix(1, 0)) })() // wakes Write
	for _, frame := range frames {
		if _, err := s.conn.Write(frame); err != nil {
			return err
		}
	}
	if s.conn.tcp == nil {
		return nil
	}
	return s.conn.confirmed(ctx, deadline)
}

// confirmInterval is how often the kernel is asked; a round trip is seldom shorter.
const confirmInterval = 2 * time.Millisecond

// confirmed waits until the other end's kernel has confirmed all that was sent.
func (c *syslogConn) confirmed(ctx context.Context, deadline time.Time) error {
	raw, err := c.tcp.SyscallConn()
	if err != nil {
		return err
	}
	ticker := time.NewTicker(confirmInterval)
	defer ticker.Stop()
	for {
		var left int
		var asked error
		if err := raw.Control(func(fd uintptr) { left, asked = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ) }); err != nil {
			return err
		}
		switch {
		case asked != nil:
			return asked
		case left == 0:
			return c.alive()
		case time.Now().After(deadline):
			return fmt.Errorf("the receiver has not confirmed %d bytes in time", left)
		}
		select {
		case <-c.closed:
			return errors.New("the receiver closed the connection")
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
	}
}

// alive tells a queue that is empty because all was confirmed from one that a reset emptied.
func (c *syslogConn) alive() error {
	select {
	case <-c.closed:
		return errors.New("the receiver closed the connection")
	default:
	}
	raw, err := c.tcp.SyscallConn()
	if err != nil {
		return err
	}
	var info *unix.TCPInfo
	var asked error
	if err := raw.Control(func(fd uintptr) { info, asked = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO) }); err != nil {
		return err
	}
	if asked != nil {
		return asked
	}
	if info.State != unix.BPF_TCP_ESTABLISHED {
		return errors.New("the receiver closed the connection")
	}
	return nil
}
