package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"github.com/seawall-security/seawall/collector/correlate"
	"github.com/seawall-security/seawall/collector/eventlog"
	"github.com/seawall-security/seawall/internal/obs"
	"github.com/seawall-security/seawall/internal/rule/auditrule"
)

const (
	// A transaction costs a flush of the disk, so what is there goes in together, as far
	// as others who wait to write can bear it.
	batchMessages = 256
	// queueBytes bounds what was read ahead of correlation: messages of up to 1 MiB.
	queueBytes = 16 << 20
	// retryAfter is between two attempts when log or store fail.
	retryAfter = time.Second
)

// follower has the correlator read the event log. It ends with the context given to run.
type follower struct {
	log        *eventlog.Log
	correlator *correlate.Correlator
	ready      *obs.Condition
	logger     *zap.Logger
	judge      *judge         // nil: no audit rules are run
	used       *auditrule.Set // by the correlator

	position atomic.Uint64 // correlated
	waits    atomic.Bool   // something waits for ticks
	stats    atomic.Pointer[correlate.Stats]
}

func newFollower(ctx context.Context, log *eventlog.Log, correlator *correlate.Correlator, ready *obs.Condition, logger *zap.Logger) (*follower, error) {
	f := &follower{log: log, correlator: correlator, ready: ready, logger: logger.Named("correlate")}
	position, err := correlator.Position(ctx)
	if err != nil {
		return nil, err
	}
	// Before anything is taken: a log that begins anew and grows past the position would
	// be read from the middle.
	if err := log.Reaches(ctx, position); err != nil {
		return nil, misfit(err)
	}
	f.reached(position)
	return f, nil
}

// misfit adds to an error of a log that does not belong to the store what can be done.
func misfit(err error) error {
	if errors.Is(err, eventlog.ErrLost) || errors.Is(err, eventlog.ErrTrimmed) {
		return fmt.Errorf("%w: event log and store of the data folder belong together: restore both from one backup; "+
			"if there is none, seawall-collector log abandon goes on without what is lost, and says so in an alert", err)
	}
	return err
}

func (f *follower) reached(position uint64) {
	stats := f.correlator.Stats()
	f.stats.Store(&stats)
	f.waits.Store(f.correlator.Waits())
	f.position.Store(position)
}

// run reads until ctx ends; a transaction under way ends well. What fails is tried again
// from the stored position, but for a log that does not belong to it.
func (f *follower) run(ctx context.Context) error {
	for {
		err := f.pass(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if errors.Is(err, eventlog.ErrLost) || errors.Is(err, eventlog.ErrTrimmed) {
			return misfit(err)
		}
		f.ready.Fail(err.Error())
		f.logger.Error("correlate", zap.Error(err))
		retry := time.NewTimer(retryAfter)
		select {
		case <-retry.C:
		case <-ctx.Done():
			retry.Stop()
			return nil
		}
	}
}

// pass reads from the stored position until something fails.
func (f *follower) pass(ctx context.Context) error {
	position, err := f.correlator.Position(ctx)
	if err != nil {
		return err
	}
	queue, room := make(chan correlate.Message, batchMessages), semaphore.NewWeighted(queueBytes)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		return f.log.Read(ctx, position, func(m eventlog.Message) error {
			if err := room.Acquire(ctx, int64(len(m.Data))); err != nil {
				return err
			}
			select {
			case queue <- correlate.Message{Position: m.Position, Shard: m.Subject.Shard, Data: slices.Clone(m.Data)}:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	})
	group.Go(func() error { return f.apply(ctx, queue, room) })
	return group.Wait()
}

// apply takes in what is there, all in one transaction, and waits only for the first.
func (f *follower) apply(ctx context.Context, queue <-chan correlate.Message, room *semaphore.Weighted) error {
	f.ready.Hold()
	batch := make([]correlate.Message, 0, batchMessages)
	for {
		select {
		case m := <-queue:
			batch = append(batch[:0], m)
		case <-ctx.Done():
			return ctx.Err()
		}
		for more := true; more && len(batch) < batchMessages; {
			select {
			case m := <-queue:
				batch = append(batch, m)
			default:
				more = false
			}
		}
		if err := f.take(context.WithoutCancel(ctx), batch); err != nil {
			return err
		}
		f.reached(batch[len(batch)-1].Position)
		for i := range batch {
			room.Release(int64(len(batch[i].Data)))
		}
		clear(batch)
	}
}

// useRules has the correlator go by the rules that are in force now.
func (f *follower) useRules(ctx context.Context) error {
	if f.judge == nil {
		return nil
	}
	set := f.judge.set.Load()
	if set == f.used {
		return nil
	}
	if err := f.correlator.UseRules(ctx, set, &f.judge.excepted); err != nil {
		return err
	}
	f.used = set
	return nil
}

// take has messages taken in. If they are refused, each is tried alone, and the ones that
// are at fault are passed over: said, counted and booked, but no obstacle for the others.
func (f *follower) take(ctx context.Context, batch []correlate.Message) error {
	if err := f.useRules(ctx); err != nil {
		return err
	}
	err := f.correlator.Apply(ctx, batch...)
	if !errors.Is(err, correlate.ErrRefused) {
		return err
	}
	for _, m := range batch {
		err := f.correlator.Apply(ctx, m)
		if errors.Is(err, correlate.ErrRefused) {
			f.logger.Error("a message of the event log is passed over", zap.Uint64("position", m.Position), zap.Error(err))
			err = f.correlator.Skip(ctx, m)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
