package enrol

import (
	"errors"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seawall-security/seawall/collector/store"
)

func newRows(t *testing.T, path string) *Rows {
	t.Helper()
	s, err := store.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return NewRows(s)
}

func token(id string, created time.Time, uses int) Token {
	return Token{ID: id, SecretHash: [32]byte{1, 2, 31: 9}, Created: created, Expires: created.Add(time.Hour), UsesLeft: uses}
}

// Two processes on one file: the collector, and the command line beside it.
func TestTokensAreSharedByProcesses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	collector, line := newRows(t, path), newRows(t, path)
	older, newer := token("old", today, 1), token("new", today.Add(time.Minute), 5)
	for _, added := range []Token{older, newer} {
		if err := line.AddToken(t.Context(), added); err != nil {
			t.Fatal(err)
		}
	}
	all, err := collector.Tokens(t.Context())
	if diff := cmp.Diff([]Token{newer, older}, all); diff != "" || err != nil {
		t.Errorf("%v; -want +got:\n%s", err, diff)
	}
	if got, err := collector.Token(t.Context(), "old"); err != nil || !cmp.Equal(got, older) {
		t.Errorf("got %+v, %v", got, err)
	}
	if err := line.RemoveToken(t.Context(), "old"); err != nil {
		t.Error(err)
	}
	if _, err := collector.Token(t.Context(), "old"); !errors.Is(err, ErrUnknownToken) {
		t.Errorf("revoked, but: %v", err)
	}
	if err := line.RemoveToken(t.Context(), "old"); !errors.Is(err, ErrUnknownToken) {
		t.Errorf("revoked again: %v", err)
	}
}

func TestEnrolmentsAreBookedOnce(t *testing.T) {
	r := newRows(t, filepath.Join(t.TempDir(), "store.db"))
	if err := r.AddToken(t.Context(), token("t", today, 1)); err != nil {
		t.Fatal(err)
	}
	add := func(agent, token, account string, key byte, want string, wantErr error) {
		t.Helper()
		got, err := r.AddEnrolment(t.Context(), Enrolment{AgentID: agent, TokenID: token, ServiceAccount: account, KeyHash: [32]byte{key}, At: today})
		if got != want || !errors.Is(err, wantErr) {
			t.Errorf("%s is %q, %v; want %q, %v", agent, got, err, want, wantErr)
		}
	}
	add("a", "t", "", 1, "a", nil)
	add("b", "t", "", 1, "a", nil) // its answer was lost
	add("c", "t", "", 2, "", ErrUsedUp)
	add("d", "x", "", 1, "", ErrUnknownToken)
	add("e", "", "ns/agent", 1, "e", nil)
	add("f", "", "ns/agent", 1, "e", nil)
	add("g", "", "ns/agent", 2, "g", nil)
	for agent, want := range map[string]bool{"a": false, "nobody": false} {
		if got, err := r.Revoked(t.Context(), agent); err != nil || got != want {
			t.Errorf("%s revoked: %v, %v", agent, got, err)
		}
	}
	if err := r.Revoke(t.Context(), "a", today); err != nil {
		t.Error(err)
	}
	if got, err := r.Revoked(t.Context(), "a"); err != nil || !got {
		t.Errorf("not revoked, %v", err)
	}
	if err := r.Revoke(t.Context(), "nobody", today); !errors.Is(err, ErrUnknownAgent) {
		t.Errorf("got %v", err)
	}
}

// However many come at once, and to two processes: a token has the uses it has.
func TestUsesAreCounted(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	rows := []*Rows{newRows(t, path), newRows(t, path)}
	if err := rows[0].AddToken(t.Context(), token("t", today, 7)); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	var in atomic.Int32
	for i := range 20 {
		all.Go(func() {
			_, err := rows[i%2].AddEnrolment(t.Context(), Enrolment{AgentID: string(rune('a' + i)), TokenID: "t", KeyHash: [32]byte{byte(i)}, At: today})
			if err == nil {
				in.Add(1)
			} else if !errors.Is(err, ErrUsedUp) {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if in.Load() != 7 {
		t.Errorf("%d were let in by 7 uses", in.Load())
	}
}
