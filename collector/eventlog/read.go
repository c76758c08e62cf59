package eventlog

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Message is one of the log. Data is the handler's only until it returns.
type Message struct {
	Position uint64
	Subject  Subject
	// Stored is when the collector took it; verdicts depend on ticks, not on this.
	Stored time.Time
	Data   []byte
}

// ErrTrimmed says that messages were forgotten before they were read.
var ErrTrimmed = errors.New("event log was trimmed behind the reader's position")

// ErrLost says that the log is another one than was read: its positions begin anew.
var ErrLost = errors.New("event log was lost or replaced")

// Reaches says why the log cannot be read from behind a position: ErrLost or ErrTrimmed.
func (l *Log) Reaches(ctx context.Context, after uint64) error {
	state, err := l.State(ctx)
	if err != nil {
		return err
	}
	if after > state.Last {
		return fmt.Errorf("read event log behind %d, which ends at %d: %w", after, state.Last, ErrLost)
	}
	if state.First > after+1 {
		return fmt.Errorf("read event log behind %d, which begins at %d: %w", after, state.First, ErrTrimmed)
	}
	return nil
}

// Read calls handle for every message behind the position, in order, and for those
// that come, until ctx ends or handle fails; it returns that error. A message is
// handled once; one that handle refused is where the next Read has to begin.
func (l *Log) Read(ctx context.Context, after uint64, handle func(Message) error) error {
	if err := l.Reaches(ctx, after); err != nil {
		return err
	}
	j := l.journal.Load()
	if j == nil {
		return fmt.Errorf("read event log: %w", errNotOpen)
	}
	consumer, err := j.js.OrderedConsumer(ctx, streamName, jetstream.OrderedConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: after + 1,
	})
	if err != nil {
		return fmt.Errorf("read event log: %w", err)
	}
	messages, err := consumer.Messages(jetstream.PullMaxMessages(256))
	if err != nil {
		return fmt.Errorf("read event log: %w", err)
	}
	defer messages.Stop()
	for {
		m, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return fmt.Errorf("read event log: %w", err)
		}
		meta, err := m.Metadata()
		if err != nil {
			return fmt.Errorf("read event log: %w", err)
		}
		if meta.Sequence.Stream <= after {
			continue // the consumer was made anew and began too early
		}
		if meta.Sequence.Stream != after+1 {
			return fmt.Errorf("read event log: position %d follows %d: %w", meta.Sequence.Stream, after, ErrTrimmed)
		}
		subject, err := parseSubject(m.Subject())
		if err != nil {
			return err
		}
		if err := handle(Message{Position: meta.Sequence.Stream, Subject: subject, Stored: meta.Timestamp, Data: m.Data()}); err != nil {
			return err
		}
		after = meta.Sequence.Stream
	}
}

// Recent calls handle for the messages of one subject that were stored within a time before
// the last of them, in order; there may be none.
func (l *Log) Recent(ctx context.Context, of Subject, back time.Duration, handle func(Message) error) error {
	j := l.journal.Load()
	if j == nil {
		return fmt.Errorf("read event log: %w", errNotOpen)
	}
	last, err := j.stream.GetLastMsgForSubject(ctx, of.name())
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
		return nil
	case err != nil:
		return fmt.Errorf("read event log: %w", err)
	}
	from := last.Time.Add(-back)
	consumer, err := j.js.OrderedConsumer(ctx, streamName, jetstream.OrderedConsumerConfig{
		FilterSubjects: []string{of.name()}, DeliverPolicy: jetstream.DeliverByStartTimePolicy, OptStartTime: &from,
	})
	if err != nil {
		return fmt.Errorf("read event log: %w", err)
	}
	messages, err := consumer.Messages(jetstream.PullMaxMessages(256))
	if err != nil {
		return fmt.Errorf("read event log: %w", err)
	}
	defer messages.Stop()
	for after := uint64(0); after < last.Sequence; {
		m, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			return fmt.Errorf("read event log: %w", errors.Join(ctx.Err(), err))
		}
		meta, err := m.Metadata()
		if err != nil {
			return fmt.Errorf("read event log: %w", err)
		}
		if meta.Sequence.Stream <= after {
			continue // the consumer was made anew and began too early
		}
		after = meta.Sequence.Stream
		if err := handle(Message{Position: after, Subject: of, Stored: meta.Timestamp, Data: m.Data()}); err != nil {
			return err
		}
	}
	return nil
}
