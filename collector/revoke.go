package main

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/seawall-security/seawall/collector/enrol"
	"github.com/seawall-security/seawall/internal/tlsconf"
)

// lookEvery is how long somebody who was revoked may still be heard. The command that
// revokes writes to the store beside the collector, which has to look for itself.
const lookEvery = time.Second

// guard keeps those out who were revoked, and ends the streams that they have open.
type guard struct {
	rows    *enrol.Rows
	log     *zap.Logger
	revoked atomic.Pointer[enrol.Revocations]

	mu      sync.Mutex // guards streams
	streams map[*guarded]struct{}
}

// guarded is an open stream.
type guarded struct {
	peer tlsconf.Peer
	end  context.CancelCauseFunc
}

// newGuard looks for the first time, so that nobody is let in who was revoked before.
func newGuard(ctx context.Context, rows *enrol.Rows, log *zap.Logger) (*guard, error) {
	g := &guard{rows: rows, log: log.Named("revoke"), streams: make(map[*guarded]struct{})}
	return g, g.look(ctx)
}

// run looks until ctx ends. While the store does not answer, what was known counts.
func (g *guard) run(ctx context.Context) error {
	every := time.NewTicker(lookEvery)
	defer every.Stop()
	for {
		select {
		case <-every.C:
			if err := g.look(ctx); err != nil && ctx.Err() == nil {
				g.log.Warn("revocations are not seen", zap.Error(err))
			}
		case <-ctx.Done():
			return nil
		}
	}
}

// look reads who is revoked and ends their streams.
func (g *guard) look(ctx context.Context) error {
	now, err := g.rows.Revocations(ctx)
	if err != nil {
		return err
	}
	g.revoked.Store(now)
	g.mu.Lock()
	defer g.mu.Unlock()
	for s := range g.streams {
		if now.Has(s.peer) {
			g.log.Info("stream of a revoked peer ended", zap.Stringer("peer", s.peer.Identity))
			s.end(refusal(s.peer))
			delete(g.streams, s)
		}
	}
	return nil
}

// admit refuses who is revoked.
func (g *guard) admit(p tlsconf.Peer) error {
	if g.revoked.Load().Has(p) {
		return refusal(p)
	}
	return nil
}

func refusal(p tlsconf.Peer) error {
	return status.Errorf(codes.PermissionDenied, "the %s is revoked", p.Role)
}

// watch has a stream's context end with the reason when its peer is revoked. Call done
// once the stream has ended.
func (g *guard) watch(ctx context.Context, p tlsconf.Peer) (_ context.Context, done func()) {
	ctx, end := context.WithCancelCause(ctx)
	s := &guarded{p, end}
	g.mu.Lock()
	g.streams[s] = struct{}{}
	g.mu.Unlock()
	if err := g.admit(p); err != nil { // seen between the caller's look and this
		end(err)
	}
	return ctx, func() {
		g.mu.Lock()
		delete(g.streams, s)
		g.mu.Unlock()
		end(nil)
	}
}
