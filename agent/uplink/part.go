package uplink

import (
	"context"
	"time"

	"go.uber.org/zap"

	"github.com/seawall-security/seawall/internal/obs"
)

// partingTime is what an agent that ends gives its last records to reach the collector:
// some 100 batches on a good way. Whoever stops a node waits for it.
const partingTime = 2 * time.Second

// part lets the stream that stands send what waits, until the collector has it all, the
// stream ends or partingTime is over. Without a stream it returns at once: what waits
// goes up at the next start.
func (u *Uplink) part(sending context.Context, ended <-chan struct{}) {
	if u.counts.connected.Load() && u.waiting() > 0 {
		late, cancel := context.WithCancel(sending)
		over := make(chan struct{})
		go func() { defer close(over); _ = u.options.Wait(late, partingTime) }() // either way it is over
		for waits := true; waits && u.waiting() > 0; {
			select {
			case <-u.acked:
			case <-ended:
				waits = false
			case <-over:
				waits = false
			}
		}
		cancel()
		<-over
	}
	if n := u.waiting(); n > 0 {
		u.log.Info("ending: records wait in the spool for the next start", zap.Uint64(obs.FieldCount, n))
	}
}

// waiting is how many records the collector does not have.
func (u *Uplink) waiting() (n uint64) {
	for _, l := range u.spool.Stats().Lanes {
		n += l.Queued
	}
	return n
}
