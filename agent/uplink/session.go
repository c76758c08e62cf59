package uplink

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"
	"time"

	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/seawall-security/seawall/internal/obs"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

const (
	// welcomeTimeout is how long a collector may take to connect and to greet. It ends the
	// stream before ours first, so there may be something to wait for.
	welcomeTimeout = 30 * time.Second
	statusInterval = 10 * time.Second
	// maxAnswers bounds what waits to be answered; whoever asks faster waits.
	maxAnswers = 16
)

var (
	errSilent   = errors.New("the collector does not greet")
	errProtocol = errors.New("the collector broke the protocol")
)

type stream = grpc.BidiStreamingClient[sensorv1.FromAgent, sensorv1.ToAgent]

// session is one stream that was greeted.
type session struct {
	uplink      *Uplink
	stream      stream
	certificate *x509.Certificate // that the stream began with
	detections  *lane
	entries     *lane
	telemetry   *lane
	answers     chan *sensorv1.Applied
	orders      *orders
}

// serve opens a stream and uses it until it ends, which has always a reason.
func (u *Uplink) serve(ctx context.Context, client sensorv1.SensorClient) (err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	certificate := u.options.Enrolment.Certificate()
	silent := time.AfterFunc(welcomeTimeout, func() { cancel(errSilent) })
	defer silent.Stop()
	stream, err := client.Stream(ctx)
	if err != nil {
		return because(ctx, err)
	}
	welcome, err := u.greet(stream)
	if err != nil {
		return because(ctx, err)
	}
	if !silent.Stop() {
		return errSilent
	}

	s := &session{uplink: u, stream: stream, certificate: certificate, answers: make(chan *sensorv1.Applied, maxAnswers), orders: newOrders()}
	if s.detections, err = u.openLane(detections, sensorv1.Lane_LANE_DETECTIONS, welcome); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.detections.reader.Close()) }()
	if s.entries, err = u.openLane(entries, sensorv1.Lane_LANE_ENTRIES, welcome); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.entries.reader.Close()) }()
	if s.telemetry, err = u.openLane(telemetry, sensorv1.Lane_LANE_TELEMETRY, welcome); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.telemetry.reader.Close()) }()

	u.counts.connected.Store(true)
	defer u.counts.connected.Store(false)
	u.log.Info("connected", zap.String(obs.FieldAddress, u.options.Collector))
	var others sync.WaitGroup
	others.Go(func() { cancel(s.receive(ctx)) })
	others.Go(func() { s.obey(ctx) })
	others.Go(func() { cancel(s.detections.collect(ctx)) })
	others.Go(func() { cancel(s.entries.collect(ctx)) })
	others.Go(func() { cancel(s.telemetry.collect(ctx)) })
	err = s.send(ctx)
	cancel(err)
	others.Wait()
	return err
}

// because is why a stream failed, if it was for a reason of ours.
func because(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// greet says who we are and waits for the answer.
func (u *Uplink) greet(stream stream) (*sensorv1.Welcome, error) {
	hello := &sensorv1.Hello{
		BootId: u.options.BootID, Node: u.options.Node, MachineId: u.options.MachineID,
		Version: u.options.Version, Kernel: u.options.Kernel, Architecture: runtime.GOARCH,
	}
	for _, h := range u.options.Hooks() {
		hello.Hooks = append(hello.Hooks, &sensorv1.Hook{Name: h.Name, Rung: h.Rung, Confirmed: h.Confirmed, Reason: h.Reason})
	}
	// An error of Send says only that there is no stream any more: Recv says why.
	if err := stream.Send(&sensorv1.FromAgent{Body: &sensorv1.FromAgent_Hello{Hello: hello}}); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	m, err := stream.Recv()
	if err != nil {
		return nil, err
	}
	welcome := m.GetWelcome()
	if welcome == nil {
		return nil, fmt.Errorf("%w: its first message is no Welcome", errProtocol)
	}
	return welcome, nil
}

// send is the only one that sends. Detections go first, entries next.
func (s *session) send(ctx context.Context) error {
	status := time.NewTicker(statusInterval)
	defer status.Stop()
	if err := s.say(ctx, &sensorv1.FromAgent{Body: &sensorv1.FromAgent_Status{Status: s.uplink.status()}}); err != nil {
		return err
	}
	for {
		var m *sensorv1.FromAgent
		select {
		case items := <-s.detections.batches:
			m = s.detections.sending(items)
		default:
			select {
			case items := <-s.entries.batches:
				m = s.entries.sending(items)
			default:
				select {
				case items := <-s.detections.batches:
					m = s.detections.sending(items)
				case items := <-s.entries.batches:
					m = s.entries.sending(items)
				case items := <-s.telemetry.batches:
					m = s.telemetry.sending(items)
				case applied := <-s.answers:
					m = &sensorv1.FromAgent{Body: &sensorv1.FromAgent_Applied{Applied: applied}}
				case <-status.C:
					if s.uplink.options.Enrolment.Certificate() != s.certificate {
						return errRenewed
					}
					m = &sensorv1.FromAgent{Body: &sensorv1.FromAgent_Status{Status: s.uplink.status()}}
				case <-ctx.Done():
					return context.Cause(ctx)
				}
			}
		}
		if err := s.say(ctx, m); err != nil {
			return err
		}
	}
}

func (s *session) say(ctx context.Context, m *sensorv1.FromAgent) error {
	if b := m.GetBatch(); b != nil {
		now := s.uplink.options.Now()
		b.Sent, b.BootToWall = timestamppb.New(now), durationpb.New(time.Duration(now.UnixNano())-sinceBoot())
	}
	err := s.stream.Send(m)
	if errors.Is(err, io.EOF) {
		<-ctx.Done() // receive knows why
		return context.Cause(ctx)
	}
	if err != nil {
		return because(ctx, err)
	}
	return nil
}

// receive takes what comes down until the stream ends.
func (s *session) receive(ctx context.Context) error {
	for {
		m, err := s.stream.Recv()
		if errors.Is(err, io.EOF) {
			return errors.New("the collector ended the stream")
		}
		if err != nil {
			return err
		}
		applied, err := s.take(m)
		if err != nil {
			return err
		}
		if applied == nil {
			continue
		}
		select {
		case s.answers <- applied:
		case <-ctx.Done():
			return nil
		}
	}
}

// status is how the agent is now.
func (u *Uplink) status() *sensorv1.AgentStatus {
	now, stats := u.options.Now(), u.spool.Stats()
	m := &sensorv1.AgentStatus{
		Time: timestamppb.New(now), SpoolBytes: uint64(stats.Bytes), OldestWaiting: durationpb.New(oldest(stats, now)),
		SettingsVersion: u.settings.Load().said.GetVersion(),
	}
	if u.options.Bundles != nil {
		m.BundleVersion, m.BundleSerial = u.options.Bundles.InForce()
	}
	for _, l := range u.options.Ledger() {
		m.Ledger = append(m.Ledger, &sensorv1.LedgerLine{
			Class: l.Class, Produced: l.Produced, Delivered: l.Delivered, Filtered: l.Filtered, Dropped: l.Dropped,
		})
	}
	return m
}
