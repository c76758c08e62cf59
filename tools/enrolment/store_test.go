package enrolment

import (
	"context"
	"sync"

	"github.com/seawall-security/seawall/collector/enrol"
)

// store keeps in memory what a collector keeps of enrolments.
type store struct {
	mu         sync.Mutex
	tokens     map[string]enrol.Token
	enrolments []enrol.Enrolment
	revoked    map[string]bool
}

func newStore() *store {
	return &store{tokens: make(map[string]enrol.Token), revoked: make(map[string]bool)}
}

func (s *store) AddToken(_ context.Context, t enrol.Token) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tokens[t.ID] = t
	return nil
}

func (s *store) Token(_ context.Context, id string) (enrol.Token, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t, ok := s.tokens[id]; ok {
		return t, nil
	}
	return enrol.Token{}, enrol.ErrUnknownToken
}

func (s *store) Tokens(context.Context) ([]enrol.Token, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []enrol.Token
	for _, t := range s.tokens {
		all = append(all, t)
	}
	return all, nil
}

func (s *store) RemoveToken(_ context.Context, id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.tokens, id)
	return nil
}

func (s *store) AddEnrolment(_ context.Context, e enrol.Enrolment) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, old := range s.enrolments {
		if old.TokenID == e.TokenID && old.ServiceAccount == e.ServiceAccount && old.KeyHash == e.KeyHash {
			return old.AgentID, nil
		}
	}
	if e.TokenID != "" {
		t, ok := s.tokens[e.TokenID]
		if !ok {
			return "", enrol.ErrUnknownToken
		}
		if t.UsesLeft == 0 {
			return "", enrol.ErrUsedUp
		}
		t.UsesLeft--
		s.tokens[e.TokenID] = t
	}
	s.enrolments = append(s.enrolments, e)
	return e.AgentID, nil
}

func (s *store) Revoked(_ context.Context, id string) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.revoked[id], nil
}

func (s *store) revoke(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.revoked[id] = true
}
