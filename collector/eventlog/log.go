package eventlog

import (
	"context"
	"errors"
	"fmt"
	"sort"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats-server/v2/server"
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

// ErrFull says that the log takes nothing now, because it or its disk has no room: try
// again later.
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
	options Options
	journal atomic.Pointer[journal] // nil while it cannot be opened
	stop    context.CancelFunc
	done    chan struct{} // closed when tend has ended
}

// Open starts the log and waits until it may be used.
func Open(ctx context.Context, o Options) (*Log, error) {
	if o.MaxBytes == 0 {
		o.MaxBytes = DefaultMaxBytes
	}
	j, err := openJournal(ctx, o)
	if err != nil {
		return nil, err
	}
	l := &Log{options: o, done: make(chan struct{})}
	l.journal.Store(j)
	tending, stop := context.WithCancel(context.WithoutCancel(ctx))
	l.stop = stop
	go func() {
		defer close(l.done)
		l.tend(tending)
	}()
	return l, nil
}

// Append writes a message and returns its position once it is on disk.
func (l *Log) Append(ctx context.Context, to Subject, data []byte) (position uint64, err error) {
	if len(data) > MaxMessageBytes {
		return 0, fmt.Errorf("append to event log: message has %d bytes, more than %d", len(data), MaxMessageBytes)
	}
	j := l.journal.Load()
	if j == nil {
		return 0, fmt.Errorf("append to event log: it cannot be opened: %w", ErrFull)
	}
	ack, err := j.js.Publish(ctx, to.name(), data, jetstream.WithExpectStream(streamName))
	switch {
	case err == nil:
		return ack.Sequence, nil
	case ctx.Err() == nil && j.failed.Load():
		return 0, fmt.Errorf("append to event log: it is opened anew: %w", ErrFull)
	}
	return 0, fmt.Errorf("append to event log: %w", classify(err))
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
	stream, err := l.stream()
	if err != nil {
		return fmt.Errorf("trim event log: %w", err)
	}
	if err := stream.Purge(ctx, jetstream.WithPurgeSequence(through+1)); err != nil {
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
	stream, err := l.stream()
	if err != nil {
		return State{}, fmt.Errorf("ask event log: %w", err)
	}
	info, err := stream.Info(ctx)
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
	stream, err := l.stream()
	if err != nil {
		return 0, fmt.Errorf("search event log: %w", err)
	}
	var failed error
	older := sort.Search(held, func(i int) bool {
		if failed != nil {
			return true
		}
		m, err := stream.GetMsg(ctx, state.First+uint64(i))
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

// stream is the one that is open now.
func (l *Log) stream() (jetstream.Stream, error) {
	if j := l.journal.Load(); j != nil {
		return j.stream, nil
	}
	return nil, errNotOpen
}

// Close ends the log; what was appended is on disk already.
func (l *Log) Close() {
	l.stop()
	<-l.done
	if j := l.journal.Swap(nil); j != nil {
		j.close()
	}
}
