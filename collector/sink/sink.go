package sink

import (
	"context"
	"time"

	alertv1 "github.com/seawall-security/seawall/proto/alert/v1"
)

// Revision is one revision of an alert and its place in the store.
type Revision struct {
	Position uint64
	Alert    *alertv1.Alert
}

// Sink delivers to one receiver. Only one goroutine uses it.
type Sink interface {
	// Deliver returns nil once the receiver has all of the batch, as far as its protocol
	// can tell. It bounds its own waits and keeps nothing of the batch. Any error but a
	// [RefusedError] means that the same batch may be taken later.
	Deliver(ctx context.Context, batch []Revision) error
	Close() error
}

// RefusedError says that something in the batch will not be taken, now or later.
type RefusedError struct{ Reason string }

func (e *RefusedError) Error() string { return "refused: " + e.Reason }

// DeclinedError says that the receiver answered and took nothing, which may be for its own
// state or for something in the batch that it stumbles over.
type DeclinedError struct{ Err error }

func (e *DeclinedError) Error() string { return e.Err.Error() }
func (e *DeclinedError) Unwrap() error { return e.Err }

// LaterError says when the receiver wants to be asked again.
type LaterError struct {
	After time.Duration
	Err   error
}

func (e *LaterError) Error() string { return e.Err.Error() }
func (e *LaterError) Unwrap() error { return e.Err }

// Format appends one revision in the form that a receiver reads, without an end of line.
// It fails only on text that is not UTF-8, which nothing of ours stores.
type Format func(dst []byte, r Revision) ([]byte, error)

// or is the value, or the fallback where there is none.
func or[T comparable](value, fallback T) T {
	var zero T
	if value == zero {
		return fallback
	}
	return value
}
