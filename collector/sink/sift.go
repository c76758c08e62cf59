package sink

import (
	"context"
	"errors"

	"go.uber.org/zap"
)

// settled stands for a revision that was taken or given up before those ahead of it.
const settled = -1

// sift is for a receiver that answers and takes nothing of a batch: it may be in trouble,
// or stumble over one alert for ever. Each is tried alone. What is not taken while others
// are is given up after so many rounds; where none is taken all of them wait. It returns
// as deliver does.
func (d *Delivery) sift(ctx context.Context, batch []Revision) bool {
	d.declining = true
	var left []Revision
	var reasons []error
	for _, r := range batch {
		if ctx.Err() != nil {
			return false
		}
		err := d.attempt(ctx, []Revision{r})
		if err == nil {
			d.sifted[r.Position] = settled
			d.metrics.delivered.Inc()
			continue
		}
		d.metrics.retried.Inc()
		d.o.Log.Warn("deliver one by one", zap.Uint64("position", r.Position), zap.Error(err))
		if !speaks(err) { // it is not there any more
			d.backoff.pause(ctx, err)
			return false
		}
		left, reasons = append(left, r), append(reasons, err)
	}
	if len(left) < len(batch) {
		d.backoff.reset()
		first := d.decline(left, reasons)
		if first == 0 {
			d.done(ctx, batch[len(batch)-1].Position)
			return true
		}
		if first-1 > d.position {
			d.done(ctx, first-1)
			d.declining = true
		}
	}
	d.backoff.pause(ctx, nil)
	return false
}

// speaks reports whether the receiver answered.
func speaks(err error) bool {
	var declined *DeclinedError
	var refused *RefusedError
	return errors.As(err, &declined) || errors.As(err, &refused)
}

// decline counts a round for revisions that were not taken, and returns the position of the
// first for which it was not the last; 0: it was for all of them.
func (d *Delivery) decline(revisions []Revision, reasons []error) (first uint64) {
	for i, r := range revisions {
		d.sifted[r.Position]++
		if d.sifted[r.Position] >= d.o.Declines {
			err := d.giveUp(r, "others are taken: "+reasons[i].Error(), d.sifted[r.Position])
			if err == nil {
				d.sifted[r.Position] = settled
				continue
			}
			d.o.Log.Error("give a revision up", zap.Error(err))
		}
		if first == 0 {
			first = r.Position
		}
	}
	return first
}
