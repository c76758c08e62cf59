package alert

import (
	"context"
	"errors"

	alertv1 "github.com/seawall-security/seawall/proto/alert/v1"
)

// Revisions visits up to limit revisions behind a position that pass the filter, in their
// order, and returns the position up to which it has looked; that it stays where it was
// means that there are no more for now (see [Book.Wait]). missed is how many positions
// behind after are forgotten already. visit runs outside of any transaction; its error
// ends the reading and is returned.
func (b *Book) Revisions(ctx context.Context, after uint64, filter *alertv1.Filter, limit int,
	visit func(position uint64, alert *alertv1.Alert) error,
) (through, missed uint64, err error) {
	page, err := b.After(ctx, after, filter, limit)
	if err != nil {
		return after, 0, err
	}
	for _, r := range page.Revisions {
		if err := visit(r.Position, r.Alert); err != nil {
			return after, page.Missed, err
		}
	}
	return page.Position, page.Missed, nil
}

// Wait returns once there is a revision behind the position, or with ctx's error.
func (b *Book) Wait(ctx context.Context, after uint64) error {
	for {
		changed := b.Changed()
		last, err := b.Last(ctx)
		if err != nil || last > after {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Alert is [Book.Get] for those to whom it is no error that there is none: then it is nil.
func (b *Book) Alert(ctx context.Context, id string) (*alertv1.Alert, error) {
	a, err := b.Get(ctx, id)
	if errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	return a, err
}
