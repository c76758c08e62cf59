package ingest

import (
	"context"
	"errors"
	"io"
	"time"

	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/seawall-security/seawall/collector/eventlog"
	collectorv1 "github.com/seawall-security/seawall/proto/collector/v1"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

const (
	// helloTimeout is how long a stream may wait with its first message.
	helloTimeout = 10 * time.Second
	// fullWait is between two tries to append to a full log.
	fullWait = time.Second
)

var (
	errReplaced = status.Error(codes.Aborted, "a newer stream of this agent has taken over")
	errStopping = status.Error(codes.Unavailable, "the collector is stopping")
)

// Log is the event log.
type Log interface {
	Append(ctx context.Context, to eventlog.Subject, data []byte) (position uint64, err error)
}

// Agents keeps what agents say of themselves. Its methods may be called by many
// goroutines and must not block for long.
type Agents interface {
	// Seen notes a stream that begins.
	Seen(ctx context.Context, p Peer, hello *sensorv1.Hello, at time.Time) error
	// Status notes how an agent is.
	Status(ctx context.Context, p Peer, status *sensorv1.AgentStatus, at time.Time) error
	// Applied notes what became of a bundle or settings.
	Applied(ctx context.Context, p Peer, applied *sensorv1.Applied) error
	// BundleOf is the serial of the bundle that the agent last said it has; 0: none.
	BundleOf(ctx context.Context, p Peer) (serial uint64, err error)
}

// Options are what the server needs.
type Options struct {
	Log    Log
	Agents Agents
	// Identify tells the agent of a stream by its certificate; its error is of
	// package status.
	Identify func(context.Context) (Peer, error)
	// Bundle is the one that agents are to have; nil: there is none. Whenever that
	// changes, Offer is called.
	Bundle func() *Bundle
	// Settings go to every agent that comes; nil: each keeps its own.
	Settings *sensorv1.Settings
	Now      func() time.Time
	Logger   *zap.Logger
}

// Server implements sensorv1.SensorServer. It may be used by many goroutines.
type Server struct {
	sensorv1.UnsafeSensorServer // a method that is missing does not compile
	options                     Options
	sessions                    sessions
	counts                      counts
	stopping                    <-chan struct{}
}

// New returns a server, to be registered with a grpc.Server.
// Its streams end when ctx does; agents come back later.
func New(ctx context.Context, o Options) *Server {
	return &Server{options: o, sessions: sessions{of: make(map[Peer]*session)}, stopping: ctx.Done()}
}

// Stream implements sensorv1.SensorServer.
func (s *Server) Stream(stream grpc.BidiStreamingServer[sensorv1.FromAgent, sensorv1.ToAgent]) error {
	ctx, cancel := context.WithCancelCause(stream.Context())
	defer cancel(nil)
	peer, err := s.options.Identify(ctx)
	if err != nil {
		return err
	}
	incoming := receive(ctx, stream)
	hello, err := greet(ctx, incoming)
	if err != nil {
		return err
	}
	log := s.options.Logger.With(zap.String("agent", peer.AgentID))
	if peer.Node != "" && peer.Node != hello.Node {
		// Alerts name the node that was enrolled: a node that was taken over could pose as another.
		log.Warn("agent calls its node by another name than when it enrolled", zap.String("node", peer.Node), zap.String("called", hello.Node))
		hello.Node = peer.Node
	}
	log = log.With(zap.String("node", hello.Node))
	session := &session{peer: peer, node: hello.Node, cancel: cancel, ended: make(chan struct{}), offered: make(chan struct{}, 1)}
	if err := s.sessions.begin(ctx, session); err != nil {
		close(session.ended)
		return endOf(err)
	}
	log.Info("agent connected", zap.String("version", hello.Version), zap.String("kernel", hello.Kernel))
	served := make(chan error, 1)
	go func() { // ends with the stream
		defer s.sessions.end(session)
		served <- s.serve(ctx, stream, session, hello, incoming, log)
	}()
	select {
	case err = <-served:
	case <-ctx.Done():
		// It may wait in Send for an agent that does not read: only our return wakes it.
		err = endOf(context.Cause(ctx))
	}
	log.Info("agent disconnected", zap.Error(err))
	return err
}

// received is a message, or how the stream ended.
type received struct {
	message *sensorv1.FromAgent
	err     error
}

// receive reads a stream ahead by one message, so that whoever waits for the next
// can also wait for other things. Its goroutine ends with the stream.
func receive(ctx context.Context, stream grpc.BidiStreamingServer[sensorv1.FromAgent, sensorv1.ToAgent]) <-chan received {
	out := make(chan received)
	go func() {
		for {
			message, err := stream.Recv()
			if n := proto.Size(message); err == nil && n > maxMessageSize { // gRPC's own bound is that of the largest service
				err = status.Errorf(codes.ResourceExhausted, "a message of %d bytes, more than %d", n, maxMessageSize)
			}
			select {
			case out <- received{message, err}:
			case <-ctx.Done():
				return
			}
			if err != nil {
				return
			}
		}
	}()
	return out
}

// greet waits for the first message.
func greet(ctx context.Context, incoming <-chan received) (*sensorv1.Hello, error) {
	wait := time.NewTimer(helloTimeout)
	defer wait.Stop()
	select {
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-wait.C:
		return nil, status.Errorf(codes.DeadlineExceeded, "no Hello within %s", helloTimeout)
	case r := <-incoming:
		if r.err != nil {
			return nil, r.err
		}
		hello := r.message.GetHello()
		if hello == nil {
			return nil, status.Error(codes.InvalidArgument, "the first message is no Hello")
		}
		if len(hello.Node) > maxNameBytes || len(hello.BootId) > maxBootIDBytes || hello.BootId == "" {
			return nil, status.Error(codes.InvalidArgument, "Hello has no boot id, or names that are too long")
		}
		return hello, nil
	}
}

// serve answers until the stream ends.
func (s *Server) serve(ctx context.Context, stream grpc.BidiStreamingServer[sensorv1.FromAgent, sensorv1.ToAgent], session *session,
	hello *sensorv1.Hello, incoming <-chan received, log *zap.Logger,
) error {
	if err := s.options.Agents.Seen(ctx, session.peer, hello, s.options.Now()); err != nil {
		return unavailable(ctx, "note the agent", err, log)
	}
	welcome := &sensorv1.Welcome{Time: timestamppb.New(s.options.Now()), Lanes: lanes}
	if err := stream.Send(&sensorv1.ToAgent{Body: &sensorv1.ToAgent_Welcome{Welcome: welcome}}); err != nil {
		return err
	}
	var err error
	if session.has, err = s.options.Agents.BundleOf(ctx, session.peer); err != nil {
		return unavailable(ctx, "find what the agent has", err, log)
	}
	if s.options.Settings != nil {
		if err := stream.Send(&sensorv1.ToAgent{Body: &sensorv1.ToAgent_Settings{Settings: s.options.Settings}}); err != nil {
			return err
		}
	}
	for {
		if err := s.bring(stream, session, log); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-s.stopping:
			return errStopping
		case <-session.offered:
		case r := <-incoming:
			if errors.Is(r.err, io.EOF) {
				return nil
			}
			if r.err != nil {
				return r.err
			}
			ack, err := s.take(ctx, session, r.message, log)
			if err != nil {
				return err
			}
			if ack == nil {
				continue
			}
			if err := stream.Send(&sensorv1.ToAgent{Body: &sensorv1.ToAgent_Ack{Ack: ack}}); err != nil {
				return err
			}
		}
	}
}

// endOf is the status for the cause of a context's end: ours has one, the client's has none.
func endOf(cause error) error {
	if _, ok := status.FromError(cause); ok {
		return cause
	}
	return status.FromContextError(cause).Err()
}

// unavailable is for errors of what is behind us: their text is the log's, not an agent's.
// What failed because the stream has ended says why that was.
func unavailable(ctx context.Context, what string, err error, log *zap.Logger) error {
	if cause := context.Cause(ctx); cause != nil {
		return endOf(cause)
	}
	log.Error(what, zap.Error(err))
	return status.Error(codes.Unavailable, what+": the collector failed; its log says why")
}

// take handles one message and returns what is to be acknowledged.
func (s *Server) take(ctx context.Context, session *session, m *sensorv1.FromAgent, log *zap.Logger) (*sensorv1.Ack, error) {
	var err error
	switch body := m.Body.(type) {
	case *sensorv1.FromAgent_Batch:
		if err := check(body.Batch); err != nil {
			s.counts.refusedBatches.Add(1)
			return nil, status.Error(codes.InvalidArgument, err.Error())
		}
		return s.store(ctx, session, body.Batch, log)
	case *sensorv1.FromAgent_Status:
		session.has = body.Status.GetBundleSerial()
		err = s.options.Agents.Status(ctx, session.peer, body.Status, s.options.Now())
	case *sensorv1.FromAgent_Applied:
		err = s.options.Agents.Applied(ctx, session.peer, body.Applied)
	case *sensorv1.FromAgent_Hello:
		return nil, status.Error(codes.InvalidArgument, "a second Hello")
	default:
		s.counts.unknownMessages.Add(1) // of a newer agent
	}
	if err != nil {
		log.Warn("what the agent said of itself is not kept", zap.Error(err))
	}
	return nil, nil
}

// store appends a batch to the log, waiting for room, and returns its end.
func (s *Server) store(ctx context.Context, session *session, b *sensorv1.Batch, log *zap.Logger) (*sensorv1.Ack, error) {
	now := s.options.Now()
	envelopes, bad := session.split(b, now)
	if len(bad) > 0 {
		s.counts.badItems.Add(uint64(len(bad)))
		log.Warn("items are no records: they are booked as lost", zap.Int("items", len(bad)),
			zap.Uint64("first_sequence", bad[0].Sequence), zap.Int("first_bytes", len(bad[0].Record)))
	}
	for shard, e := range envelopes {
		if e == nil {
			continue
		}
		data, err := proto.Marshal(&collectorv1.LogMessage{Body: &collectorv1.LogMessage_Envelope{Envelope: e}})
		if err != nil {
			return nil, status.Errorf(codes.Internal, "encode for the event log: %v", err)
		}
		if err := s.append(ctx, eventlog.Subject{Cluster: session.peer.Cluster, Shard: shard}, data, log); err != nil {
			return nil, err
		}
	}
	last := b.Items[len(b.Items)-1]
	s.counts.batches.Add(1)
	s.counts.items.Add(uint64(len(b.Items)))
	return &sensorv1.Ack{Position: &sensorv1.Position{Lane: b.Lane, BootId: last.BootId, Sequence: last.Sequence}}, nil
}

// append tries until the log has room or the stream ends.
func (s *Server) append(ctx context.Context, to eventlog.Subject, data []byte, log *zap.Logger) error {
	for waited := false; ; waited = true {
		_, err := s.options.Log.Append(ctx, to, data)
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case !errors.Is(err, eventlog.ErrFull):
			return status.Error(codes.Unavailable, err.Error())
		}
		if !waited {
			log.Warn("event log is full: the agent is held back")
		}
		s.counts.fullWaits.Add(1)
		wait := time.NewTimer(fullWait)
		select {
		case <-wait.C:
		case <-s.stopping:
			wait.Stop()
			return errStopping
		case <-ctx.Done():
			wait.Stop()
			return context.Cause(ctx)
		}
	}
}
