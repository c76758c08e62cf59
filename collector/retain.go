package main

import (
	"context"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/seawall-security/seawall/collector/alert"
	"github.com/seawall-security/seawall/collector/config"
	"github.com/seawall-security/seawall/collector/eventlog"
	"github.com/seawall-security/seawall/collector/store"
	"github.com/seawall-security/seawall/internal/obs"
)

const (
	// A log that fills holds agents back: room is made soon after it can be.
	trimEvery = 10 * time.Second
	// Alerts are kept for days.
	retainEvery = time.Hour
)

// retainer forgets what its bounds no longer cover.
type retainer struct {
	store *store.Store
	log   *eventlog.Log
	keep  config.EventLog
	rows  config.Retention
	// correlated is how far the log may be forgotten.
	correlated func() uint64
	now        func() time.Time
	logger     *zap.Logger

	state atomic.Pointer[eventlog.State] // the log's, when it was last looked at
}

// run forgets until ctx ends.
func (r *retainer) run(ctx context.Context) error {
	trim, retain := time.NewTicker(trimEvery), time.NewTicker(retainEvery)
	defer trim.Stop()
	defer retain.Stop()
	for {
		select {
		case <-trim.C:
			if err := r.trim(ctx); err != nil && ctx.Err() == nil {
				r.logger.Warn("trim event log", zap.Error(err))
			}
		case <-retain.C:
			r.retain(ctx)
		case <-ctx.Done():
			return nil
		}
	}
}

// trim forgets messages that were correlated and are too old or too much.
func (r *retainer) trim(ctx context.Context) error {
	state, err := r.log.State(ctx)
	if err != nil {
		return err
	}
	r.state.Store(&state)
	if state.Last < state.First || state.Last == 0 { // it is empty
		return nil
	}
	through, err := r.log.Before(ctx, r.now().Add(-r.keep.Keep))
	if err != nil {
		return err
	}
	// By the average message: what that misses by, the next time makes good.
	if excess := int64(state.Bytes) - r.keep.KeepBytes; excess > 0 {
		average := max(1, int64(state.Bytes)/int64(state.Last+1-state.First))
		through = max(through, state.First-1+uint64((excess+average-1)/average))
	}
	if through = min(through, r.correlated()); through < state.First {
		return nil
	}
	return r.log.Trim(ctx, through)
}

func (r *retainer) retain(ctx context.Context) {
	for _, one := range []struct {
		class store.Class
		bound config.Bound
	}{{alert.Alerts, r.rows.Alerts}, {alert.Revisions, r.rows.Revisions}} {
		removed, err := r.store.Retain(ctx, r.now(), one.class, store.Retention{Days: one.bound.Days, Bytes: one.bound.Bytes})
		switch {
		case err != nil && ctx.Err() == nil:
			r.logger.Warn("forget rows", zap.Error(err))
		case removed > 0:
			r.logger.Info("rows forgotten", zap.String(obs.FieldKind, one.class.Name), zap.Int64(obs.FieldCount, removed))
		}
	}
}
