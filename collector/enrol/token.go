package enrol

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"time"

	"github.com/seawall-security/seawall/internal/tlsconf"
)

// Defaults and bounds of join tokens.
const (
	TokenLifetime    = 24 * time.Hour
	maxTokenLifetime = 366 * 24 * time.Hour
	maxTokenUses     = 1_000_000
)

// Tokens are the join tokens of a cluster.
type Tokens struct {
	store TokenStore
	pin   tlsconf.Pin
	now   func() time.Time
}

// NewTokens returns the tokens that a store keeps, for agents of an authority.
func NewTokens(store TokenStore, authority *Authority) *Tokens {
	return &Tokens{store: store, pin: authority.Pin(), now: authority.now}
}

var (
	errTokenLifetime = fmt.Errorf("make join token: lifetime must be above 0 and at most %d days", maxTokenLifetime/(24*time.Hour))
	errTokenUses     = fmt.Errorf("make join token: uses must be 1 to %d", maxTokenUses)
)

// Make makes a token; its secret is nowhere but in what is returned.
func (t *Tokens) Make(ctx context.Context, lifetime time.Duration, uses int) (tlsconf.JoinToken, error) {
	if lifetime <= 0 || lifetime > maxTokenLifetime {
		return tlsconf.JoinToken{}, errTokenLifetime
	}
	if uses < 1 || uses > maxTokenUses {
		return tlsconf.JoinToken{}, errTokenUses
	}
	token, now := tlsconf.NewJoinToken(t.pin), t.now()
	err := t.store.AddToken(ctx, Token{
		ID: token.ID, SecretHash: token.SecretHash(), Created: now, Expires: now.Add(lifetime), UsesLeft: uses,
	})
	if err != nil {
		return tlsconf.JoinToken{}, fmt.Errorf("keep join token: %w", err)
	}
	return token, nil
}

// List are all tokens, the newest first; none has its secret.
func (t *Tokens) List(ctx context.Context) ([]Token, error) { return t.store.Tokens(ctx) }

// Revoke ends a token. Agents that it let in stay.
func (t *Tokens) Revoke(ctx context.Context, id string) error { return t.store.RemoveToken(ctx, id) }

// refusal is a proof that does not hold. Its text is for the caller, too.
type refusal struct {
	reason reason
	text   string
}

func (r *refusal) Error() string { return r.text }

// One text for a wrong id and a wrong secret: nobody learns which ids there are.
var errNotAToken = &refusal{reason: refusedProof, text: "the join token is unknown: mistyped, revoked or another collector's"}

// check finds the token that a proof is of. More than errNotAToken says only
// that it is good but for its end or its uses, to one who has the secret.
func (t *Tokens) check(ctx context.Context, proof string) (Token, error) {
	id, hash, err := tlsconf.ParseProof(proof)
	if err != nil {
		return Token{}, errNotAToken
	}
	token, err := t.store.Token(ctx, id)
	if err != nil && !errors.Is(err, ErrUnknownToken) {
		return Token{}, fmt.Errorf("read join token: %w", err)
	}
	same := subtle.ConstantTimeCompare(hash[:], token.SecretHash[:]) == 1
	if err != nil || !same {
		return Token{}, errNotAToken
	}
	if now := t.now(); !now.Before(token.Expires) {
		return token, &refusal{reason: refusedExpired, text: "the join token expired on " + token.Expires.UTC().Format(time.RFC3339)}
	}
	return token, nil
}
