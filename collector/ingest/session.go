package ingest

import (
	"context"
	"sync"
)

// Peer is an agent by its certificate.
type Peer struct {
	Cluster string
	AgentID string
	// Node is where it enrolled; empty: not known, then its own word counts.
	Node string
}

// session is one agent's stream.
type session struct {
	peer   Peer
	node   string
	cancel context.CancelCauseFunc
	ended  chan struct{}
	// offered holds one sign that the bundle may be another one now.
	offered chan struct{}

	// The serials of the bundle that the agent says it has, and of the last one it was
	// sent on this stream. They are the stream's goroutine's.
	has, sent uint64
}

// sessions holds the stream of each agent.
type sessions struct {
	mu sync.Mutex // guards of
	of map[Peer]*session
}

// begin makes s its agent's stream and waits until the one before has ended.
func (r *sessions) begin(ctx context.Context, s *session) error {
	r.mu.Lock()
	before := r.of[s.peer]
	r.of[s.peer] = s
	r.mu.Unlock()
	if before == nil {
		return nil
	}
	before.cancel(errReplaced)
	select {
	case <-before.ended:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// end forgets s, unless a newer one has taken its place.
func (r *sessions) end(s *session) {
	r.mu.Lock()
	if r.of[s.peer] == s {
		delete(r.of, s.peer)
	}
	r.mu.Unlock()
	close(s.ended)
}

// offer wakes all streams, and returns how many there are.
func (r *sessions) offer() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.of {
		select {
		case s.offered <- struct{}{}:
		default: // it will look anyway
		}
	}
	return len(r.of)
}

func (r *sessions) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.of)
}
