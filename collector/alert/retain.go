package alert

import (
	"context"
	"time"

	"github.com/seawall-security/seawall/collector/store"
)

// Retention. An alert itself is small next to its revisions and is what people come back
// to; the revisions are for readers that were away. A reader that was away for longer is
// told how many it missed ([Page.Missed]).
var (
	Alerts = store.Class{
		Name: "alerts", Default: store.Retention{Days: 400, Bytes: 4 << 30}, // a year, and a month to look back at it
		Bytes: sum("alerts"), Expire: expire("alerts", "first_position", "stored_ns, first_position"),
	}
	Revisions = store.Class{
		Name: "revisions", Default: store.Retention{Days: 30, Bytes: 4 << 30},
		Bytes: sum("revisions"), Expire: expire("revisions", "position", "position"),
	}
)

func sum(table string) func(context.Context, *store.Tx) (int64, error) {
	return func(ctx context.Context, tx *store.Tx) (bytes int64, err error) {
		err = tx.Row(ctx, "SELECT coalesce(sum(length(body)), 0) FROM "+table, nil, &bytes)
		return bytes, err
	}
}

// expire removes the first rows of an order, which is that of stored_ns too. key is
// unique.
func expire(table, key, order string) func(context.Context, *store.Tx, time.Time, int) (rows, bytes int64, err error) {
	return func(ctx context.Context, tx *store.Tx, before time.Time, limit int) (rows, bytes int64, err error) {
		bound := int64(1<<63 - 1)
		if !before.IsZero() {
			bound = before.UnixNano()
		}
		err = tx.Rows(ctx, "DELETE FROM "+table+" WHERE "+key+" IN (SELECT "+key+" FROM "+table+
			" WHERE stored_ns < ? ORDER BY "+order+" LIMIT ?) RETURNING length(body)", []any{bound, limit},
			func(scan func(...any) error) error {
				var size int64
				if err := scan(&size); err != nil {
					return err
				}
				rows, bytes = rows+1, bytes+size
				return nil
			})
		return rows, bytes, err
	}
}
