package sink

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"

	alertv1 "github.com/seawall-security/seawall/proto/alert/v1"
)

// Source is the store as a sink reads it; collector/siem says more of these methods.
type Source interface {
	// Revisions visits up to limit revisions behind a position that pass the filter, in
	// order, and returns the position up to which it has looked; that it stays where it
	// was means that there are no more. missed is how many positions behind after are
	// forgotten already. visit's error ends the reading and is returned.
	Revisions(ctx context.Context, after uint64, filter *alertv1.Filter, limit int,
		visit func(position uint64, alert *alertv1.Alert) error) (through, missed uint64, err error)
	// Wait returns once there is a revision behind the position, or with ctx's error.
	Wait(ctx context.Context, after uint64) error
	// Last is the position of the newest revision.
	Last(ctx context.Context) (uint64, error)
	// Cursor and MoveCursor keep the positions of sinks under [CursorOwner].
	Cursor(ctx context.Context, owner, name string) (position uint64, known bool, err error)
	MoveCursor(ctx context.Context, owner, name string, position uint64) error
}

// CursorOwner is whose the cursors of sinks are; no client can have this name.
const CursorOwner = "/sink"

// Defaults of [Options].
const (
	DefaultBatchRevisions  = 64
	DefaultBatchBytes      = 1 << 20
	DefaultMinBackoff      = time.Second
	DefaultMaxBackoff      = 5 * time.Minute
	DefaultTries           = 3
	DefaultDeclines        = 6
	DefaultAttemptTimeout  = time.Minute
	DefaultStopGrace       = 5 * time.Second
	DefaultDeadLetterBytes = 16 << 20
)

// Options of a delivery; zero values stand for the defaults.
type Options struct {
	// Name is the sink's in metrics, logs and the store: with another one it begins anew.
	Name   string
	Sink   Sink
	Source Source
	// Filter passes what goes to this sink; nil: everything.
	Filter *alertv1.Filter
	// FromNow has a new sink begin with what comes; else it gets all that is stored.
	FromNow bool
	// DeadLetterPath is the file of what was given up, DeadLetterBytes its bound. When it
	// is full the sink waits: nothing is dropped.
	DeadLetterPath  string
	DeadLetterBytes int64

	// BatchRevisions and BatchBytes bound a batch; a larger revision goes alone.
	BatchRevisions, BatchBytes int
	// MinBackoff and MaxBackoff bound the pauses between attempts.
	MinBackoff, MaxBackoff time.Duration
	// Tries is how often a single revision is refused before it is given up.
	Tries int
	// Declines is how often a single revision is declined, while others are taken, before
	// it is given up.
	Declines int
	// AttemptTimeout ends one that a sink does not end.
	AttemptTimeout time.Duration
	// StopGrace is what an attempt under way gets at the end: cut off, it would be repeated.
	StopGrace time.Duration

	Log     *zap.Logger
	Metrics prometheus.Registerer
}

var sinkName = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,62}$`)

// CheckName says what is wrong with a sink's name.
func CheckName(name string) error {
	if !sinkName.MatchString(name) {
		return fmt.Errorf("sink name %.80q: want 1 to 63 of a-z, 0-9, _ and -, the first a letter or digit", name)
	}
	return nil
}

// Delivery runs one sink.
type Delivery struct {
	o        Options
	dead     deadLetters
	backoff  backoff
	metrics  *metrics
	position uint64 // all before and here was delivered, given up or filtered
	saved    uint64 // the store knows of this one

	declining bool           // the receiver answers, and does not take what it gets
	sifted    map[uint64]int // behind position: how often declined while others were taken, or settled
}

// New returns a delivery; Run delivers. The sink is the delivery's from now on.
func New(o Options) (*Delivery, error) {
	if err := CheckName(o.Name); err != nil {
		return nil, err
	}
	o.DeadLetterBytes = or(o.DeadLetterBytes, DefaultDeadLetterBytes)
	o.BatchRevisions = or(o.BatchRevisions, DefaultBatchRevisions)
	o.BatchBytes = or(o.BatchBytes, DefaultBatchBytes)
	o.MinBackoff = or(o.MinBackoff, DefaultMinBackoff)
	o.MaxBackoff = max(or(o.MaxBackoff, DefaultMaxBackoff), o.MinBackoff)
	o.Tries = or(o.Tries, DefaultTries)
	o.Declines = or(o.Declines, DefaultDeclines)
	o.AttemptTimeout = or(o.AttemptTimeout, DefaultAttemptTimeout)
	o.StopGrace = or(o.StopGrace, DefaultStopGrace)
	o.Log = o.Log.With(zap.String("sink", o.Name))
	return &Delivery{
		o:       o,
		dead:    deadLetters{path: o.DeadLetterPath, maxBytes: o.DeadLetterBytes},
		backoff: backoff{min: o.MinBackoff, max: o.MaxBackoff},
		metrics: newMetrics(o.Metrics, o.Name),
		sifted:  make(map[uint64]int),
	}, nil
}

// Run delivers until ctx ends: then an attempt under way may still end well, the
// position is saved and the sink closed. Nothing else ends it.
func (d *Delivery) Run(ctx context.Context) error {
	for !d.begin(ctx) {
		if ctx.Err() != nil {
			return d.o.Sink.Close()
		}
	}
	d.o.Log.Info("sink started", zap.Uint64("position", d.position))
	for ctx.Err() == nil {
		d.step(ctx)
	}
	err := d.save(context.WithoutCancel(ctx))
	d.o.Log.Info("sink stopped", zap.Uint64("position", d.position))
	return errors.Join(err, d.o.Sink.Close())
}

// begin finds the position; false: not yet.
func (d *Delivery) begin(ctx context.Context) bool {
	position, known, err := d.o.Source.Cursor(ctx, CursorOwner, d.o.Name)
	if err == nil && !known && d.o.FromNow {
		if position, err = d.o.Source.Last(ctx); err == nil { // what comes before the first batch counts, too
			err = d.o.Source.MoveCursor(ctx, CursorOwner, d.o.Name, position)
		}
	}
	if err != nil {
		d.storeFailed(ctx, "read position of sink", err)
		return false
	}
	d.backoff.reset()
	d.saved = position
	d.reached(position)
	return true
}

// step reads and delivers one batch, or waits for it.
func (d *Delivery) step(ctx context.Context) {
	batch, through, err := d.read(ctx)
	if err != nil {
		d.storeFailed(ctx, "read revisions", err)
		return
	}
	if len(batch) > 0 {
		d.metrics.waitingFor(batch[0])
		if !d.deliver(ctx, batch) {
			return // stopping
		}
	}
	everything := through == d.position && len(batch) == 0
	if through > d.position {
		d.reached(through)
	}
	if err := d.save(ctx); err != nil {
		d.storeFailed(ctx, "save position of sink", err)
		return
	}
	if everything {
		d.metrics.waiting.Store(0)
		if err := d.o.Source.Wait(ctx, d.position); err != nil {
			d.storeFailed(ctx, "wait for revisions", err)
			return
		}
	}
	d.backoff.reset()
}

var errBatchFull = errors.New("batch is full")

func (d *Delivery) read(ctx context.Context) (batch []Revision, through uint64, err error) {
	bytes := 0
	through, missed, err := d.o.Source.Revisions(ctx, d.position, d.o.Filter, d.o.BatchRevisions+len(d.sifted), func(position uint64, a *alertv1.Alert) error {
		if d.sifted[position] == settled {
			return nil
		}
		n := proto.Size(a)
		if len(batch) > 0 && bytes+n > d.o.BatchBytes {
			return errBatchFull
		}
		bytes += n
		batch = append(batch, Revision{Position: position, Alert: a})
		return nil
	})
	if missed > 0 {
		d.metrics.missed.Add(float64(missed))
		d.o.Log.Error("sink reads too late", zap.Uint64("after", d.position), zap.Uint64("forgotten", missed))
	}
	if errors.Is(err, errBatchFull) {
		return batch, batch[len(batch)-1].Position, nil
	}
	return batch, through, err
}

// deliver returns once each of the batch was acknowledged or given up; false: stopping, or
// the batch is to be read again with what has come behind it.
func (d *Delivery) deliver(ctx context.Context, batch []Revision) bool {
	declines := 0
	if d.declining { // for some time
		declines = d.o.Tries - 1
	} else {
		d.backoff.reset()
	}
	for refusals := 0; ctx.Err() == nil; {
		err := d.attempt(ctx, batch)
		var refused *RefusedError
		var declined *DeclinedError
		switch {
		case err == nil:
			d.metrics.tell(batch)
			d.done(ctx, batch[len(batch)-1].Position)
			return true
		case errors.As(err, &refused) && len(batch) > 1:
			half := len(batch) / 2
			d.metrics.retried.Inc()
			return d.deliver(ctx, batch[:half]) && d.deliver(ctx, batch[half:])
		case errors.As(err, &refused):
			if refusals++; refusals >= d.o.Tries {
				if err = d.giveUp(batch[0], refused.Reason, refusals); err == nil {
					d.done(ctx, batch[0].Position)
					return true
				}
			}
		}
		d.metrics.retried.Inc()
		if errors.As(err, &declined) {
			declines++
		}
		if declines >= d.o.Tries && len(batch) > 1 {
			return d.sift(ctx, batch)
		}
		d.o.Log.Warn("deliver", zap.Int("revisions", len(batch)), zap.Uint64("position", d.position), zap.Error(err))
		if !d.backoff.pause(ctx, err) {
			return false
		}
		if declines >= d.o.Tries {
			d.declining = true
			return false
		}
	}
	return false
}

// attempt outlives ctx by StopGrace.
func (d *Delivery) attempt(ctx context.Context, batch []Revision) error {
	try, cancel := context.WithTimeout(context.WithoutCancel(ctx), d.o.AttemptTimeout)
	defer cancel()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(d.o.StopGrace, cancel) })()
	return d.o.Sink.Deliver(try, batch)
}

func (d *Delivery) giveUp(r Revision, reason string, tries int) error {
	l := deadLetter{
		Time: time.Now().UTC(), Sink: d.o.Name, Position: r.Position,
		ID: r.Alert.GetId(), Revision: r.Alert.GetRevision(), Tries: tries, Reason: reason,
	}
	if alert, err := JSON(nil, r); err == nil {
		l.Alert = alert
	}
	if err := d.dead.add(l); err != nil {
		return err
	}
	d.o.Log.Error("revision given up", zap.String("alert", l.ID), zap.Uint32("revision", l.Revision), zap.String("reason", l.Reason))
	d.metrics.dead.Inc()
	return nil
}

func (d *Delivery) reached(position uint64) {
	d.position, d.declining = position, false
	maps.DeleteFunc(d.sifted, func(at uint64, _ int) bool { return at <= position })
	d.metrics.position.Store(position)
}

// done remembers at once: what comes before a crash is repeated after it. Where that
// fails, step does it again.
func (d *Delivery) done(ctx context.Context, position uint64) {
	d.reached(position)
	if err := d.save(ctx); err != nil && ctx.Err() == nil {
		d.o.Log.Warn("sink goes on unsaved", zap.Error(err))
	}
}

func (d *Delivery) save(ctx context.Context) error {
	if d.position == d.saved {
		return nil
	}
	if err := d.o.Source.MoveCursor(ctx, CursorOwner, d.o.Name, d.position); err != nil {
		return fmt.Errorf("save position of sink %s: %w", d.o.Name, err)
	}
	d.saved = d.position
	return nil
}

func (d *Delivery) storeFailed(ctx context.Context, what string, err error) {
	if ctx.Err() != nil {
		return
	}
	d.o.Log.Error(what, zap.Error(err))
	d.backoff.pause(ctx, nil)
}
