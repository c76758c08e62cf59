package siem

import (
	"context"
	"sync"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Why a subscription ends that its client did not end.
var (
	errReplaced = status.Error(codes.Aborted, "another reader took this subscription over")
	errStopping = status.Error(codes.Unavailable, "the collector is stopping: subscribe again")
	errExpired  = status.Error(codes.Unauthenticated, "the client's certificate has ended: subscribe again with its successor")
)

// sessions are the open subscriptions.
type sessions struct {
	perClient, total int

	mu     sync.Mutex
	closed bool                             // guarded by mu, as is all below
	open   map[string]map[*session]struct{} // by client
	count  int
}

type session struct {
	client, subscription string
	end                  context.CancelCauseFunc
}

// start opens a subscription; end is called with the reason if it must go. A named one
// replaces the client's older one of that name, which may be dead already: the network
// does not always say.
func (s *sessions) start(client, subscription string, end context.CancelCauseFunc) (*session, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, errStopping
	}
	for other := range s.open[client] {
		if subscription != "" && other.subscription == subscription {
			s.remove(other)
			other.end(errReplaced)
		}
	}
	if n := len(s.open[client]); n >= s.perClient {
		return nil, status.Errorf(codes.ResourceExhausted, "this client has %d subscriptions open, no more are allowed", n)
	}
	if s.count >= s.total {
		return nil, status.Errorf(codes.ResourceExhausted, "%d subscriptions are open, no more are allowed", s.count)
	}
	own := &session{client: client, subscription: subscription, end: end}
	if s.open[client] == nil {
		s.open[client] = map[*session]struct{}{}
	}
	s.open[client][own] = struct{}{}
	s.count++
	return own, nil
}

func (s *sessions) finish(own *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.remove(own)
}

func (s *sessions) remove(own *session) {
	if _, there := s.open[own.client][own]; !there {
		return // replaced
	}
	delete(s.open[own.client], own)
	if len(s.open[own.client]) == 0 {
		delete(s.open, own.client)
	}
	s.count--
}

// close ends all and lets no more in.
func (s *sessions) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for _, own := range s.open {
		for other := range own {
			other.end(errStopping)
		}
	}
}

func (s *sessions) len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.count
}
