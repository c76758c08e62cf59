package eventlog

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sort"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"
)

// MaxMessageBytes bounds a message: JetStream's own limit is 1 MiB, batches of
// agents have at most half of it.
const MaxMessageBytes = 1 << 20

const (
	// DefaultMaxBytes is the log's share of the disk.
	DefaultMaxBytes = 8 << 30
	streamName      = "SEAWALL"
	startTimeout    = 30 * time.Second
	// publishTimeout is how long a disk may take before an append counts as failed.
	publishTimeout = 30 * time.Second
)

// ErrFull says that the log has no room: try again later.
var ErrFull = errors.New("event log is full")

// Options say where the log is and how large it may be.
type Options struct {
	Dir string
	// MaxBytes bounds the log; 0: DefaultMaxBytes.
	MaxBytes int64
	Log      *zap.Logger
}

// Log is the event log. Close ends it.
type Log struct {
	server *server.Server
	conn   *nats.Conn
	js     jetstream.JetStream
	stream jetstream.Stream
}

// Open starts the log and waits until it may be used.
func Open(ctx context.Context, o Options) (_ *Log, err error) {
	if o.MaxBytes == 0 {
		o.MaxBytes = DefaultMaxBytes
	}
	l := &Log{}
	defer func() {
		if err != nil {
			l.Close()
		}
	}()
	l.server, err = server.NewServer(&server.Options{
		ServerName: "seawall-collector", DontListen: true, NoSigs: true,
		JetStream: true, StoreDir: filepath.Clean(o.Dir), SyncAlways: true,
		// Room for the stream's own bookkeeping beside its messages.
		JetStreamMaxStore: o.MaxBytes + o.MaxBytes/8 + 64<<20, JetStreamMaxMemory: 64 << 20,
		MaxPayload: MaxMessageBytes + 64<<10, // headers
	})
	if err != nil {
		return nil, fmt.Errorf("open event log in %s: %w", o.Dir, err)
	}
	l.server.SetLogger(adapter{o.Log}, false, false)
	l.server.Start()
	if !l.server.ReadyForConnections(startTimeout) {
		return nil, fmt.Errorf("open event log in %s: not ready after %s", o.Dir, startTimeout)
	}
	if !l.server.JetStreamEnabled() {
		return nil, fmt.Errorf("open event log in %s: JetStream did not start; the log says why", o.Dir)
	}
	if l.conn, err = nats.Connect("", nats.InProcessServer(l.server), nats.Name("collector"), nats.MaxReconnects(-1)); err != nil {
		return nil, fmt.Errorf("connect to the event log: %w", err)
	}
	if l.js, err = jetstream.New(l.conn, jetstream.WithDefaultTimeout(publishTimeout)); err != nil {
		return nil, fmt.Errorf("connect to the event log: %w", err)
	}
	l.stream, err = l.js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{
		Name: streamName, Description: "what agents sent, and the collector's clock",
		Subjects: []string{subjectRoot + ".>"}, Storage: jetstream.FileStorage, Retention: jetstream.LimitsPolicy,
		Discard: jetstream.DiscardNew, MaxBytes: o.MaxBytes, MaxMsgSize: MaxMessageBytes + 64<<10,
		Compression: jetstream.S2Compression, Replicas: 1, DenyDelete: true,
		// High-water marks tell duplicates, for longer than any window.
		Duplicates: 100 * time.Millisecond,
	})
	if err != nil {
		return nil, fmt.Errorf("open event log in %s: %w", o.Dir, err)
	}
	return l, nil
}

// Append writes a message and returns its position once it is on disk.
func (l *Log) Append(ctx context.Context, to Subject, data []byte) (position uint64, err error) {
	if len(data) > MaxMessageBytes {
		return 0, fmt.Errorf("append to event log: message has %d bytes, more than %d", len(data), MaxMessageBytes)
	}
	ack, err := l.js.Publish(ctx, to.name(), data, jetstream.WithExpectStream(streamName))
	if err != nil {
		return 0, fmt.Errorf("append to event log: %w", classify(err))
	}
	return ack.Sequence, nil
}

// classify finds the refusal that means "later" among JetStream's errors.
func classify(err error) error {
	var api *jetstream.APIError
	if !errors.As(err, &api) {
		return err
	}
	switch api.Description {
	case server.ErrMaxBytes.Error(), server.ErrMaxMsgs.Error():
		return ErrFull
	}
	if api.ErrorCode == jetstream.ErrorCode(server.JSInsufficientResourcesErr) ||
		api.ErrorCode == jetstream.ErrorCode(server.JSStorageResourcesExceededErr) {
		return ErrFull
	}
	return err
}

// Trim forgets messages up to the position, included: they have been read.
func (l *Log) Trim(ctx context.Context, through uint64) error {
	if err := l.stream.Purge(ctx, jetstream.WithPurgeSequence(through+1)); err != nil {
		return fmt.Errorf("trim event log: %w", err)
	}
	return nil
}

// State is what the log holds.
type State struct {
	First, Last uint64 // positions; Last < First: empty
	FirstTime   time.Time
	Bytes       uint64
	MaxBytes    int64
}

// State asks the log.
func (l *Log) State(ctx context.Context) (State, error) {
	info, err := l.stream.Info(ctx)
	if err != nil {
		return State{}, fmt.Errorf("ask event log: %w", err)
	}
	return State{
		First: info.State.FirstSeq, Last: info.State.LastSeq, FirstTime: info.State.FirstTime,
		Bytes: info.State.Bytes, MaxBytes: info.Config.MaxBytes,
	}, nil
}

// Before is the last position that was stored before a time; one less than the first
// that is held: none was. Where the clock was set back it is near that.
func (l *Log) Before(ctx context.Context, t time.Time) (uint64, error) {
	state, err := l.State(ctx)
	if err != nil {
		return 0, err
	}
	held := int(state.Last + 1 - state.First)
	if state.Last == 0 || held <= 0 {
		return state.Last, nil
	}
	var failed error
	older := sort.Search(held, func(i int) bool {
		if failed != nil {
			return true
		}
		m, err := l.stream.GetMsg(ctx, state.First+uint64(i))
		if err != nil {
			failed = err
			return true
		}
		return !m.Time.Before(t)
	})
	if failed != nil {
		return 0, fmt.Errorf("search event log: %w", failed)
	}
	return state.First - 1 + uint64(older), nil
}

// Close ends the log; what was appended is on disk already.
func (l *Log) Close() {
	if l.conn != nil {
		l.conn.Close()
	}
	if l.server != nil {
		l.server.Shutdown()
		l.server.WaitForShutdown()
	}
}
