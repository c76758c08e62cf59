package uplink

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"syscall"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"

	"github.com/seawall-security/seawall/internal/obs"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

const (
	// Attempts: the first soon, as collectors restart in seconds; then with patience.
	backoffMin = time.Second
	backoffMax = time.Minute
	// steady is how long a stream must have stood for the next attempt to come soon again:
	// two agents with one identity end each other's streams, and that must not be a storm.
	steady = time.Minute
	// deadPeer is how long a collector's host may leave bytes unanswered. A status every
	// ten seconds sees to it that there are some; where the collector takes none, TCP asks.
	deadPeer = time.Minute
	// A load balancer on the way may confirm bytes that nobody will get any more: it takes
	// the collector itself to answer. The two together are deadPeer.
	pingAfter, pingTimeout = 40 * time.Second, 20 * time.Second
	// maxMessage bounds what comes down: a bundle has at most 2 MiB.
	maxMessage = 4 << 20
)

// errRenewed ends a stream so that the next one shows a new certificate.
var errRenewed = errors.New("the certificate was renewed")

// keepSending begins streams until ctx ends. The one that stands then may go on until
// sending ends.
func (u *Uplink) keepSending(ctx, sending context.Context) {
	if u.options.Begin != nil {
		select {
		case <-u.options.Begin:
		case <-ctx.Done():
			return
		}
	}
	backoff := backoffMin
	for attempt := 0; ; attempt++ {
		select {
		case <-u.options.Enrolment.Ready():
		case <-ctx.Done():
			return
		}
		if attempt > 0 {
			u.counts.reconnects.Add(1)
		}
		began := u.options.Now()
		err := u.connect(sending)
		switch {
		case ctx.Err() != nil:
			return
		case errors.Is(err, errRenewed):
			u.log.Info("connecting anew", zap.Error(err))
			continue
		case u.options.Now().Sub(began) >= steady:
			backoff = backoffMin
		}
		// Half of it to one and a half.
		wait := time.Duration(float64(backoff) * (0.5 + u.options.Random()))
		backoff = min(2*backoff, backoffMax)
		u.log.Warn("no stream to the collector: records wait in the spool", zap.Error(err), zap.Duration("next", wait),
			zap.String(obs.FieldAddress, u.options.Collector))
		if u.options.Wait(ctx, wait) != nil {
			return
		}
	}
}

// connect runs one stream.
func (u *Uplink) connect(ctx context.Context) error {
	if err := u.useKey(); err != nil {
		return err
	}
	client, conn, err := u.dial(u.options.Enrolment.TLS())
	if err != nil {
		return err
	}
	return errors.Join(u.serve(ctx, client), conn.Close())
}

// dial makes a connection of its own for each stream: the newest certificate, and
// whatever address the name has now.
func (u *Uplink) dial(config *tls.Config) (sensorv1.SensorClient, io.Closer, error) {
	if u.options.dial != nil {
		return u.options.dial()
	}
	dialer := &net.Dialer{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		return errors.Join(c.Control(func(fd uintptr) {
			err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(deadPeer.Milliseconds()))
		}), err)
	}}
	conn, err := grpc.NewClient(u.options.Collector,
		grpc.WithTransportCredentials(credentials.NewTLS(config)),
		grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
			return dialer.DialContext(ctx, "tcp", address)
		}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: pingAfter, Timeout: pingTimeout}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage)),
		grpc.WithDisableServiceConfig()) // the name service has no say
	if err != nil {
		return nil, nil, err
	}
	return sensorv1.NewSensorClient(conn), conn, nil
}

// sinceBoot is CLOCK_BOOTTIME.
func sinceBoot() time.Duration {
	var now unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &now) // fails for no clock that Linux has
	return time.Duration(now.Nano())
}
