package siem

import (
	"context"

	alertv1 "github.com/seawall-security/seawall/proto/alert/v1"
)

// Store is what the service reads. Revisions have positions: from 1, rising in the order
// in which they were stored. Its methods are called by several goroutines; alerts that
// they hand out are nobody else's any more.
type Store interface {
	// Revisions visits up to limit revisions behind a position that pass the filter, in
	// order, and returns the position up to which it has looked: at least that of the last
	// one visited. It may look at only some; that it stays where it was means that there
	// are no more. visit does not wait for anybody; its error ends the reading and is
	// returned.
	Revisions(ctx context.Context, after uint64, filter *alertv1.Filter, limit int,
		visit func(position uint64, alert *alertv1.Alert) error) (through uint64, err error)
	// Wait returns once there is a revision behind the position, or with ctx's error.
	Wait(ctx context.Context, after uint64) error
	// Last is the position of the newest revision; 0: there is none.
	Last(ctx context.Context) (uint64, error)

	// Alerts visits the latest revision of up to limit alerts that pass the filter, newest
	// first. An alert's place is the position of its first revision, so it stays where it
	// is while somebody pages; only places below before are visited, 0: all.
	Alerts(ctx context.Context, before uint64, filter *alertv1.Filter, limit int,
		visit func(place uint64, alert *alertv1.Alert) error) error
	// Alert is the latest revision of one; nil: there is none of that id.
	Alert(ctx context.Context, id string) (*alertv1.Alert, error)

	// Cursor is where a client's subscription has come to, if it is known.
	Cursor(ctx context.Context, client, subscription string) (position uint64, known bool, err error)
	// Cursors is how many subscriptions of a client are known.
	Cursors(ctx context.Context, client string) (int, error)
	// MoveCursor is on disk when it returns; a position below the one there is changes nothing.
	MoveCursor(ctx context.Context, client, subscription string, position uint64) error
}
