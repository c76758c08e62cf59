package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"go.uber.org/zap"

	"github.com/seawall-security/seawall/collector/alert"
	"github.com/seawall-security/seawall/collector/config"
	"github.com/seawall-security/seawall/collector/correlate"
	"github.com/seawall-security/seawall/collector/eventlog"
	"github.com/seawall-security/seawall/collector/store"
)

var errBelongTogether = errors.New("event log and store belong together: there is nothing to abandon")

// abandonLog has correlation go on with the event log there is, although it is not the one
// that the store was made of, or lacks a part: it was lost, or one of the two restored from
// a backup. The collector must not run meanwhile.
func abandonLog(ctx context.Context, c config.Config, now func() time.Time, out io.Writer) (err error) {
	release, err := hold(c.DataDir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, release()) }()
	s, err := store.Open(ctx, storePath(c))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	log, err := eventlog.Open(ctx, eventlog.Options{Dir: eventLogPath(c), MaxBytes: c.EventLog.MaxBytes, Log: zap.NewNop()})
	if err != nil {
		return err
	}
	defer log.Close()
	correlator, err := correlate.Open(ctx, s, alert.NewBook(s), correlate.DefaultLimits)
	if err != nil {
		return err
	}
	position, err := correlator.Position(ctx)
	if err != nil {
		return err
	}
	misfit := log.Reaches(ctx, position)
	state, err := log.State(ctx)
	if err != nil {
		return err
	}
	// All that is there is read: what was taken in before is known as such.
	hole := correlate.Hole{Cluster: c.Cluster, Position: state.Last, Until: now()}
	if state.First > 0 && state.First <= state.Last {
		hole.Position = state.First - 1
	}
	switch {
	case misfit == nil:
		return errBelongTogether
	case errors.Is(misfit, eventlog.ErrTrimmed):
		hole.Messages = hole.Position - position
		if state.First <= state.Last {
			hole.Until = state.FirstTime
		}
	case !errors.Is(misfit, eventlog.ErrLost):
		return misfit
	}
	told, err := correlator.Abandon(ctx, hole)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "%v\nabandoned; correlation goes on behind position %d\nalert %s: %s\n", misfit, hole.Position, told.Id, told.Summary)
	return err
}
