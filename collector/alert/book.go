package alert

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"google.golang.org/protobuf/proto"

	"github.com/seawall-security/seawall/collector/store"
	alertv1 "github.com/seawall-security/seawall/proto/alert/v1"
)

// ErrNotFound says that there is no such alert, or no more.
var ErrNotFound = errors.New("there is no such alert")

// Book keeps alerts in the store. Its methods may be called from any goroutine.
type Book struct {
	store *store.Store

	mu      sync.Mutex
	changed chan struct{} // closed and renewed by each commit that stored a revision
}

// NewBook opens the alerts of a store.
func NewBook(s *store.Store) *Book {
	return &Book{store: s, changed: make(chan struct{})}
}

// Changed returns a channel that is closed when revisions have been stored since the
// call. Ask for it before reading, then nothing is missed between.
func (b *Book) Changed() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.changed
}

func (b *Book) tell() {
	b.mu.Lock()
	defer b.mu.Unlock()
	close(b.changed)
	b.changed = make(chan struct{})
}

// Episode is the last episode stored of an identity; 0: there is none.
func (b *Book) Episode(ctx context.Context, tx *store.Tx, identity Identity) (uint32, error) {
	var episode uint32
	err := tx.Row(ctx, "SELECT coalesce(max(episode), 0) FROM alert_episodes WHERE identity = ?", []any{identity.String()}, &episode)
	if err != nil {
		return 0, fmt.Errorf("find the last episode: %w", err)
	}
	return episode, nil
}

// Put stores revisions in their order, each under the next position. A revision that is
// stored already is an error: whoever makes revisions and this table have to agree.
func (b *Book) Put(ctx context.Context, tx *store.Tx, revisions ...Revision) error {
	if len(revisions) == 0 {
		return nil
	}
	var position int64
	err := tx.Row(ctx, "UPDATE revision_position SET position = position + ? WHERE only = 1 RETURNING position",
		[]any{len(revisions)}, &position)
	if err != nil {
		return fmt.Errorf("take positions: %w", err)
	}
	position -= int64(len(revisions))
	for _, r := range revisions {
		position++
		if err := put(ctx, tx, r, position); err != nil {
			return fmt.Errorf("store revision %d of alert %s: %w", r.Alert.Revision, r.Alert.Id, err)
		}
	}
	tx.AfterCommit(b.tell)
	return nil
}

// Revision is an alert as it stands, to be stored.
type Revision struct {
	Identity Identity
	Alert    *alertv1.Alert
}

func put(ctx context.Context, tx *store.Tx, r Revision, position int64) error {
	a := r.Alert
	// Deterministic: the same log gives the same bytes.
	body, err := proto.MarshalOptions{Deterministic: true}.Marshal(a)
	if err != nil {
		return err
	}
	stored, last := a.GetStoredTime().AsTime().UnixNano(), a.GetLastTime().AsTime().UnixNano()
	if _, err := tx.Exec(ctx, `INSERT INTO revisions (position, alert_id, revision, kind, cluster, namespace, severity, stored_ns, body)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		position, a.Id, a.Revision, a.Kind, a.Cluster, namespace(a), int32(a.Severity), stored, body); err != nil {
		return err
	}
	if a.Revision == 1 {
		if _, err := tx.Exec(ctx, `INSERT INTO alert_episodes (identity, episode) VALUES (?, ?)
			ON CONFLICT (identity) DO UPDATE SET episode = excluded.episode`,
			r.Identity.String(), a.GetAnchor().GetEpisode()); err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `INSERT INTO alerts (id, revision, first_position, kind, cluster, namespace, severity, last_ns, stored_ns, body)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
			a.Id, a.Revision, position, a.Kind, a.Cluster, namespace(a), int32(a.Severity), last, stored, body)
		return err
	}
	// Of an alert that retention has taken away meanwhile, the revisions go on alone.
	_, err = tx.Exec(ctx, "UPDATE alerts SET revision = ?, severity = ?, last_ns = ?, stored_ns = ?, body = ? WHERE id = ?",
		a.Revision, int32(a.Severity), last, stored, body, a.Id)
	return err
}
