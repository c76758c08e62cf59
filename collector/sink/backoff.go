package sink

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"
)

// maxRetryAfter is the longest that a receiver is believed: one that says a year is broken.
const maxRetryAfter = time.Hour

// backoff makes pauses that double from min to max, each shortened at random by up to a
// half, so that sinks that failed together do not come back together.
type backoff struct {
	min, max time.Duration
	next     time.Duration
}

func (b *backoff) reset() { b.next = 0 }

// pause waits after err; false: ctx ended.
func (b *backoff) pause(ctx context.Context, err error) bool {
	timer := time.NewTimer(b.after(err))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func (b *backoff) after(err error) time.Duration {
	b.next = min(max(2*b.next, b.min), b.max)
	wait := b.next - rand.N(b.next/2+1)
	var later *LaterError
	if errors.As(err, &later) {
		wait = max(wait, min(later.After, maxRetryAfter))
	}
	return wait
}
