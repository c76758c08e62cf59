package ingest

import (
	"context"
	"sync"

	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

// Peer is an agent by its certificate.
type Peer struct {
	Cluster string
	AgentID string
}

// session is one agent's stream.
type session struct {
	peer   Peer
	node   string
	cancel context.CancelCauseFunc
	ended  chan struct{}
	// down is what goes to the agent beside acknowledgements.
	down chan *sensorv1.ToAgent
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

func (r *sessions) get(p Peer) *session {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.of[p]
}

func (r *sessions) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.of)
}
