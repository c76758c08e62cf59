package alert

import (
	"context"
	"errors"
	"fmt"

	"github.com/seawall-security/seawall/collector/store"
)

// Bounds of subscriptions: who may read alerts must not fill the disk with cursors.
const (
	maxSubscriptions = 64 // of one client
	maxName          = 128
)

// Subscribe returns a durable cursor, which belongs to the client. A new one begins at
// the beginning, or with what comes now.
func (b *Book) Subscribe(ctx context.Context, client, name string, fromNow bool) (cursor uint64, err error) {
	if name == "" || len(name) > maxName {
		return 0, fmt.Errorf("%w: a subscription's name has 1 to %d bytes", ErrQuestion, maxName)
	}
	err = b.store.Update(ctx, func(tx *store.Tx) error {
		err := tx.Row(ctx, "SELECT position FROM subscriptions WHERE client = ? AND name = ?", []any{client, name}, &cursor)
		if !errors.Is(err, store.ErrNoRows) {
			return err
		}
		var held int
		if err := tx.Row(ctx, "SELECT count(*) FROM subscriptions WHERE client = ?", []any{client}, &held); err != nil {
			return err
		}
		if held >= maxSubscriptions {
			return fmt.Errorf("%w: a client has at most %d subscriptions", ErrQuestion, maxSubscriptions)
		}
		if cursor = 0; fromNow {
			if cursor, err = lastPosition(ctx, tx); err != nil {
				return err
			}
		}
		_, err = tx.Exec(ctx, "INSERT INTO subscriptions (client, name, position) VALUES (?, ?, ?)", client, name, int64(cursor))
		return err
	})
	return cursor, err
}

// Acknowledge moves a durable cursor. It never moves back, and never beyond what there
// is: a reader with the wrong number would skip what comes.
func (b *Book) Acknowledge(ctx context.Context, client, name string, position uint64) error {
	return b.store.Update(ctx, func(tx *store.Tx) error {
		last, err := lastPosition(ctx, tx)
		if err != nil {
			return err
		}
		if position > last {
			return fmt.Errorf("%w: position %d is not given yet, the last is %d", ErrQuestion, position, last)
		}
		changed, err := tx.Exec(ctx, "UPDATE subscriptions SET position = CASE WHEN position < ? THEN ? ELSE position END WHERE client = ? AND name = ?",
			int64(position), int64(position), client, name)
		if err == nil && changed == 0 {
			return fmt.Errorf("%w: there is no subscription of that name", ErrQuestion)
		}
		return err
	})
}
