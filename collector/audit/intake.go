package audit

import (
	"context"
	"fmt"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/seawall-security/seawall/internal/audit"
	auditv1 "github.com/seawall-security/seawall/proto/audit/v1"
	collectorv1 "github.com/seawall-security/seawall/proto/collector/v1"
)

// maxMessageBytes bounds a message: the log takes 1 MiB. Bodies of at most
// [audit.MaxBodyBytes] leave room for the rest of one event.
const maxMessageBytes = 960 << 10

// Log is where events go. Append returns when the message is on disk; its error is
// temporary.
type Log interface {
	Append(ctx context.Context, message []byte) error
}

// Intake hands on what sources bring. It may be used by several goroutines.
type Intake struct {
	cluster  string
	log      Log
	redactor *audit.Redactor
	health   *Health
	now      func() time.Time
	turn     chan struct{} // has one: two sources that bring the same at once do not both store it

	mu   sync.Mutex // guards seen; held with nothing else
	seen *recent
}

// NewIntake returns the intake for one cluster's events. What it takes it books with health.
func NewIntake(cluster string, log Log, redactor *audit.Redactor, health *Health, now func() time.Time) *Intake {
	i := &Intake{cluster: cluster, log: log, redactor: redactor, health: health, now: now, turn: make(chan struct{}, 1), seen: newRecent(Remembered)}
	i.turn <- struct{}{}
	return i
}

// Taken says what became of events.
type Taken struct {
	New, Repeated int
	// TooLarge are those of the new ones of which only the beginning could be kept: all but
	// their bodies was too long.
	TooLarge int
}

// Take puts those of the events on disk that are new; events are changed by it. server names
// the API server that sent them, if the source has several. After an error some may be
// there: who brings all of them again leaves no hole.
func (i *Intake) Take(ctx context.Context, source, server string, events []*auditv1.Event) (taken Taken, err error) {
	received, skipped := i.now(), 0
	fresh := i.fresh(events)
	for at, e := range events {
		isNew := at-skipped < len(fresh) && fresh[at-skipped] == e
		if !isNew {
			skipped++
		}
		// What is not stored again is shown to who looks for a probe, or told if it has no end.
		if isNew || isProbe(e) || e.Stage == auditv1.Stage_STAGE_RECEIVED {
			// A body that cannot be read is left out, and the event says how large it was.
			_ = i.redactor.Event(e)
		}
	}
	select {
	case <-i.turn:
		defer func() { i.turn <- struct{}{} }()
	case <-ctx.Done():
		return Taken{}, ctx.Err()
	}
	if taken, err = i.store(ctx, &collectorv1.AuditBatch{Cluster: i.cluster, Source: source, Server: server, Received: timestamppb.New(received)}, i.fresh(fresh)); err != nil {
		return taken, err
	}
	taken.Repeated = len(events) - taken.New
	i.health.taken(source, server, received, taken, events)
	return taken, nil
}

// store puts events on disk, in batches like the one it is given. It is its caller's turn.
func (i *Intake) store(ctx context.Context, batch *collectorv1.AuditBatch, fresh []*auditv1.Event) (taken Taken, err error) {
	for len(fresh) > 0 {
		batch.Events = nil
		n, tooLarge := i.fill(batch, fresh)
		message, err := proto.Marshal(&collectorv1.LogMessage{Body: &collectorv1.LogMessage_Audit{Audit: batch}})
		if err != nil {
			return taken, fmt.Errorf("encode audit events: %w", err)
		}
		if len(batch.Events) > 0 {
			if err := i.log.Append(ctx, message); err != nil {
				return taken, err
			}
		}
		i.remember(fresh[:n])
		taken.New, taken.TooLarge, fresh = taken.New+len(batch.Events), taken.TooLarge+tooLarge, fresh[n:]
	}
	return taken, nil
}

// fill takes the first of the events into a batch, as many as fit into a message.
func (i *Intake) fill(batch *collectorv1.AuditBatch, events []*auditv1.Event) (n, tooLarge int) {
	bytes := 0
	for _, e := range events {
		size := proto.Size(e) + 16 // its tag and length, and a part of the batch's own
		if size > maxMessageBytes {
			reduce(e)
			size = proto.Size(e) + 16
			tooLarge++
		}
		if bytes += size; bytes > maxMessageBytes {
			return n, tooLarge
		}
		batch.Events = append(batch.Events, e)
		n++
	}
	return n, tooLarge
}

// fresh are those that were not taken yet, each once.
func (i *Intake) fresh(events []*auditv1.Event) []*auditv1.Event {
	i.mu.Lock()
	defer i.mu.Unlock()
	out := make([]*auditv1.Event, 0, len(events))
	within := make(map[uint64]struct{}, len(events))
	for _, e := range events {
		key := i.seen.key(e)
		_, twice := within[key]
		if within[key] = struct{}{}; !twice && !i.seen.contains(key) {
			out = append(out, e)
		}
	}
	return out
}

func (i *Intake) remember(events []*auditv1.Event) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, e := range events {
		i.seen.add(i.seen.key(e))
	}
}
