package enrol

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/seawall-security/seawall/collector/store"
)

// Rows is the TokenStore and the AgentStore of the collector's store. Another process
// may use the same file: the command line makes and revokes tokens beside a collector
// that runs, and that one knows with the next question.
type Rows struct{ store *store.Store }

// NewRows returns the tokens and enrolments that a store keeps.
func NewRows(s *store.Store) *Rows { return &Rows{store: s} }

// ErrUnknownAgent says that nobody of that id has enrolled.
var ErrUnknownAgent = errors.New("there is no such agent")

// AddToken implements TokenStore.
func (r *Rows) AddToken(ctx context.Context, t Token) error {
	return r.store.Update(ctx, func(tx *store.Tx) error {
		_, err := tx.Exec(ctx, "INSERT INTO join_tokens (id, secret_hash, created_ns, expires_ns, uses_left) VALUES (?, ?, ?, ?, ?)",
			t.ID, t.SecretHash[:], t.Created.UnixNano(), t.Expires.UnixNano(), t.UsesLeft)
		return err
	})
}

const tokenColumns = "SELECT id, secret_hash, created_ns, expires_ns, uses_left FROM join_tokens"

// scanToken reads one row of tokenColumns.
func scanToken(scan func(into ...any) error) (t Token, err error) {
	var hash []byte
	var created, expires int64
	if err := scan(&t.ID, &hash, &created, &expires, &t.UsesLeft); err != nil {
		return Token{}, err
	}
	if copy(t.SecretHash[:], hash) != len(t.SecretHash) {
		return Token{}, fmt.Errorf("join token %s: its hash has %d bytes", t.ID, len(hash))
	}
	t.Created, t.Expires = time.Unix(0, created), time.Unix(0, expires)
	return t, nil
}

// Token implements TokenStore.
func (r *Rows) Token(ctx context.Context, id string) (t Token, err error) {
	err = r.store.View(ctx, func(tx *store.Tx) error {
		t, err = scanToken(func(into ...any) error { return tx.Row(ctx, tokenColumns+" WHERE id = ?", []any{id}, into...) })
		return err
	})
	if errors.Is(err, store.ErrNoRows) {
		return Token{}, ErrUnknownToken
	}
	return t, err
}

// Tokens implements TokenStore.
func (r *Rows) Tokens(ctx context.Context) (all []Token, err error) {
	err = r.store.View(ctx, func(tx *store.Tx) error {
		return tx.Rows(ctx, tokenColumns+" ORDER BY created_ns DESC, id", nil, func(scan func(...any) error) error {
			t, err := scanToken(scan)
			all = append(all, t)
			return err
		})
	})
	return all, err
}

// RemoveToken implements TokenStore.
func (r *Rows) RemoveToken(ctx context.Context, id string) error {
	return r.change(ctx, ErrUnknownToken, "DELETE FROM join_tokens WHERE id = ?", id)
}

// change runs a statement on a row; none is there to change if there is no such row.
func (r *Rows) change(ctx context.Context, none error, query string, args ...any) error {
	return r.store.Update(ctx, func(tx *store.Tx) error {
		changed, err := tx.Exec(ctx, query, args...)
		if err == nil && changed == 0 {
			return none
		}
		return err
	})
}

// AddEnrolment implements AgentStore.
func (r *Rows) AddEnrolment(ctx context.Context, e Enrolment) (agentID string, err error) {
	err = r.store.Update(ctx, func(tx *store.Tx) error {
		err := tx.Row(ctx, "SELECT agent_id FROM enrolments WHERE token_id = ? AND service_account = ? AND key_hash = ?",
			[]any{e.TokenID, e.ServiceAccount, e.KeyHash[:]}, &agentID)
		if !errors.Is(err, store.ErrNoRows) {
			return err
		}
		if e.TokenID != "" {
			if err := takeUse(ctx, tx, e.TokenID); err != nil {
				return err
			}
		}
		agentID = e.AgentID
		_, err = tx.Exec(ctx, `INSERT INTO enrolments (agent_id, token_id, service_account, key_hash, node, machine_id, at_ns, revoked_ns)
			VALUES (?, ?, ?, ?, ?, ?, ?, 0)`,
			e.AgentID, e.TokenID, e.ServiceAccount, e.KeyHash[:], e.Node, e.MachineID, e.At.UnixNano())
		return err
	})
	if err != nil {
		return "", err
	}
	return agentID, nil
}

func takeUse(ctx context.Context, tx *store.Tx, token string) error {
	var left int
	err := tx.Row(ctx, "SELECT uses_left FROM join_tokens WHERE id = ?", []any{token}, &left)
	switch {
	case errors.Is(err, store.ErrNoRows):
		return ErrUnknownToken
	case err != nil:
		return err
	case left <= 0:
		return ErrUsedUp
	}
	_, err = tx.Exec(ctx, "UPDATE join_tokens SET uses_left = uses_left - 1 WHERE id = ?", token)
	return err
}

// Node is the node that an agent enrolled on; empty: the store does not know the agent.
func (r *Rows) Node(ctx context.Context, agentID string) (node string, err error) {
	err = r.store.View(ctx, func(tx *store.Tx) error {
		return tx.Row(ctx, "SELECT node FROM enrolments WHERE agent_id = ?", []any{agentID}, &node)
	})
	if errors.Is(err, store.ErrNoRows) {
		return "", nil
	}
	return node, err
}

// Revoked implements AgentStore. An agent that the store does not know, such as after
// an older backup was restored, is not revoked: its certificate is ours.
func (r *Rows) Revoked(ctx context.Context, agentID string) (bool, error) {
	var at int64
	err := r.store.View(ctx, func(tx *store.Tx) error {
		return tx.Row(ctx, "SELECT revoked_ns FROM enrolments WHERE agent_id = ?", []any{agentID}, &at)
	})
	if errors.Is(err, store.ErrNoRows) {
		return false, nil
	}
	return at != 0, err
}

// Revoke ends an agent: it gets no certificate any more.
func (r *Rows) Revoke(ctx context.Context, agentID string, at time.Time) error {
	return r.change(ctx, ErrUnknownAgent, "UPDATE enrolments SET revoked_ns = ? WHERE agent_id = ?", at.UnixNano(), agentID)
}
