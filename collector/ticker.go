package main

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/seawall-security/seawall/collector/eventlog"
	collectorv1 "github.com/seawall-security/seawall/proto/collector/v1"
)

// tickEvery is the resolution of correlation's clock; proto/collector/v1 promises it.
const tickEvery = time.Second

// ticker writes the collector's clock into the event log while there is traffic or
// something waits for time to pass. It is the log that ingest and the audit intake append to.
type ticker struct {
	log     *eventlog.Log
	cluster string
	waits   *atomic.Bool
	logger  *zap.Logger

	traffic atomic.Bool // since the last tick
}

// Append implements ingest.Log.
func (t *ticker) Append(ctx context.Context, to eventlog.Subject, data []byte) (uint64, error) {
	position, err := t.log.Append(ctx, to, data)
	if err == nil {
		t.traffic.Store(true)
	}
	return position, err
}

// run ticks until ctx ends.
func (t *ticker) run(ctx context.Context) error {
	every := time.NewTicker(tickEvery)
	defer every.Stop()
	for {
		select {
		case now := <-every.C:
			if err := t.tick(ctx, now); err != nil && ctx.Err() == nil && !errors.Is(err, eventlog.ErrFull) {
				t.logger.Warn("correlation's clock stands still", zap.Error(err))
			}
		case <-ctx.Done():
			return nil
		}
	}
}

// tick writes one if it is wanted. A full log has none: agents are held back too, and
// time goes on when there is room.
func (t *ticker) tick(ctx context.Context, now time.Time) error {
	traffic := t.traffic.Swap(false)
	if !traffic && !t.waits.Load() {
		return nil
	}
	data, err := proto.Marshal(&collectorv1.LogMessage{Body: &collectorv1.LogMessage_Tick{Tick: &collectorv1.Tick{Time: timestamppb.New(now)}}})
	if err != nil {
		return fmt.Errorf("encode tick: %w", err)
	}
	_, err = t.log.Append(ctx, eventlog.Subject{Cluster: t.cluster, Kind: eventlog.Tick}, data)
	return err
}
