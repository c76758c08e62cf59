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
	// are no more. missed is how many positions behind after are forgotten already. visit
	// does not wait for anybody; its error ends the reading and is returned.
	Revisions(ctx context.Context, after uint64, filter *alertv1.Filter, limit int,
		visit func(position uint64, alert *alertv1.Alert) error) (through, missed uint64, err error)
	// Wait returns once there is a revision behind the position, or with ctx's error.
	Wait(ctx context.Context, after uint64) error
	// Last is the position of the newest revision; 0: there is none.
	Last(ctx context.Context) (uint64, error)

	// List returns a page of at most size of the latest revisions of alerts that pass the
	// filter, newest first by their first revision, so that they stay where they are while
	// somebody pages. A page ends early at [MaxPageBytes] or so. next is the token of the
	// page that follows, of at most [maxStoreToken] bytes; empty: there is none.
	List(ctx context.Context, filter *alertv1.Filter, size uint32, token string) (alerts []*alertv1.Alert, next string, err error)
	// Alert is the latest revision of one; nil: there is none of that id.
	Alert(ctx context.Context, id string) (*alertv1.Alert, error)

	// Cursor is where a client's subscription has come to, if it is known.
	Cursor(ctx context.Context, client, subscription string) (position uint64, known bool, err error)
	// Cursors is how many subscriptions of a client are known.
	Cursors(ctx context.Context, client string) (int, error)
	// MoveCursor is on disk when it returns; a position below the one there is changes nothing.
	MoveCursor(ctx context.Context, client, subscription string, position uint64) error
}
