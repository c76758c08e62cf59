package enrol

import (
	"errors"
	"testing"
	"time"
)

func TestTokensAreMadeListedAndRevoked(t *testing.T) {
	c, store := newClock(), &memory{}
	a, _, err := OpenAuthority(t.TempDir(), "prod", c.now)
	if err != nil {
		t.Fatal(err)
	}
	tokens := NewTokens(store, a)
	token, err := tokens.Make(t.Context(), TokenLifetime, 5)
	if err != nil {
		t.Fatal(err)
	}
	if token.Pin != a.Pin() {
		t.Error("the token has another pin")
	}
	list, err := tokens.List(t.Context())
	want := Token{ID: token.ID, SecretHash: token.SecretHash(), Created: today, Expires: today.Add(24 * time.Hour), UsesLeft: 5}
	if err != nil || len(list) != 1 || list[0] != want {
		t.Errorf("list %+v, %v", list, err)
	}
	if _, err := tokens.check(t.Context(), token.Proof()); err != nil {
		t.Error(err)
	}
	if err := tokens.Revoke(t.Context(), token.ID); err != nil {
		t.Error(err)
	}
	if _, err := tokens.check(t.Context(), token.Proof()); !errors.Is(err, errNotAToken) {
		t.Errorf("revoked: %v", err)
	}
	if err := tokens.Revoke(t.Context(), token.ID); !errors.Is(err, ErrUnknownToken) {
		t.Errorf("revoked twice: %v", err)
	}
	for _, bad := range []struct {
		lifetime time.Duration
		uses     int
	}{{0, 1}, {-time.Hour, 1}, {maxTokenLifetime + 1, 1}, {time.Hour, 0}, {time.Hour, -1}, {time.Hour, maxTokenUses + 1}} {
		if _, err := tokens.Make(t.Context(), bad.lifetime, bad.uses); err == nil {
			t.Errorf("made with %v", bad)
		}
	}
	store.broken = errors.New("disk full")
	if token, err := tokens.Make(t.Context(), time.Hour, 1); err == nil {
		t.Errorf("%s is not kept", token)
	}
}
