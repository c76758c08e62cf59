package alert

import (
	"context"
	"errors"
	"fmt"

	"github.com/seawall-security/seawall/collector/store"
)

// Cursors are how far readers have come. They belong to an owner: a client by the name in
// its certificate, or the collector's own sinks. How many one may have is for those to
// bound who hand the names on.

// Cursor is where an owner's reader has come to, if it is known.
func (b *Book) Cursor(ctx context.Context, owner, name string) (position uint64, known bool, err error) {
	err = b.store.View(ctx, func(tx *store.Tx) error {
		return tx.Row(ctx, "SELECT position FROM subscriptions WHERE client = ? AND name = ?", []any{owner, name}, &position)
	})
	if errors.Is(err, store.ErrNoRows) {
		return 0, false, nil
	}
	return position, err == nil, err
}

// Cursors is how many readers of an owner are known.
func (b *Book) Cursors(ctx context.Context, owner string) (count int, err error) {
	err = b.store.View(ctx, func(tx *store.Tx) error {
		return tx.Row(ctx, "SELECT count(*) FROM subscriptions WHERE client = ?", []any{owner}, &count)
	})
	return count, err
}

// MoveCursor moves a cursor, or makes one, and is on disk when it returns. It never moves
// back, and never beyond what there is: a reader with the wrong number would skip what comes.
func (b *Book) MoveCursor(ctx context.Context, owner, name string, position uint64) error {
	return b.store.Update(ctx, func(tx *store.Tx) error {
		last, err := lastPosition(ctx, tx)
		if err != nil {
			return err
		}
		if position > last {
			return fmt.Errorf("%w: position %d is not given yet, the last is %d", ErrQuestion, position, last)
		}
		_, err = tx.Exec(ctx, `INSERT INTO subscriptions (client, name, position) VALUES (?, ?, ?)
			ON CONFLICT (client, name) DO UPDATE SET position = excluded.position WHERE excluded.position > subscriptions.position`,
			owner, name, int64(position))
		return err
	})
}
