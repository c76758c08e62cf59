package store

import (
	"context"
	"fmt"
	"time"
)

// Retention is how long rows of one class are kept: the bound that is met first counts.
type Retention struct {
	Days  int
	Bytes int64
}

// Class is rows that grow and are forgotten together. The package that owns the tables
// says what they are.
type Class struct {
	Name string
	// Default holds where nobody says otherwise.
	Default Retention
	// Bytes is what the rows hold now, as [Class.Expire] counts them.
	Bytes func(ctx context.Context, tx *Tx) (int64, error)
	// Expire removes the oldest rows, at most limit of them, that are older than before;
	// the zero time spares none. It returns how many rows and bytes went.
	Expire func(ctx context.Context, tx *Tx, before time.Time, limit int) (rows, bytes int64, err error)
}

// expireRows bounds the rows of one transaction, so that others do not wait long.
const expireRows = 256

// Retain removes what the bounds do not cover, oldest first, in short transactions, and
// returns how many rows went. A bound of 0 keeps everything.
func (s *Store) Retain(ctx context.Context, now time.Time, class Class, keep Retention) (removed int64, err error) {
	if keep.Days > 0 {
		if removed, err = s.expire(ctx, class, now.AddDate(0, 0, -keep.Days), -1); err != nil {
			return removed, err
		}
	}
	if keep.Bytes <= 0 {
		return removed, nil
	}
	var held int64
	if err := s.View(ctx, func(tx *Tx) error {
		var err error
		held, err = class.Bytes(ctx, tx)
		return err
	}); err != nil {
		return removed, fmt.Errorf("measure %s: %w", class.Name, err)
	}
	if held <= keep.Bytes {
		return removed, nil
	}
	more, err := s.expire(ctx, class, time.Time{}, held-keep.Bytes)
	return removed + more, err
}

// expire removes rows until none is left to remove or so many bytes went; negative:
// whatever they hold.
func (s *Store) expire(ctx context.Context, class Class, before time.Time, bytes int64) (removed int64, err error) {
	for bytes != 0 {
		var rows, went int64
		if err := s.Update(ctx, func(tx *Tx) error {
			// Small steps near a bound in bytes, so that little more goes than has to.
			limit := expireRows
			if bytes > 0 {
				limit = 16
			}
			var err error
			rows, went, err = class.Expire(ctx, tx, before, limit)
			return err
		}); err != nil {
			return removed, fmt.Errorf("expire %s: %w", class.Name, err)
		}
		if removed += rows; rows == 0 {
			break
		}
		if bytes > 0 {
			bytes = max(0, bytes-went)
		}
	}
	return removed, nil
}
