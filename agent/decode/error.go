package decode

import (
	"fmt"

	"github.com/seawall-security/seawall/internal/event"
)

// Reasons why a record is refused, as the labels of a metric.
const (
	// ReasonShort: fewer bytes than the header, or than the fixed part of its kind.
	ReasonShort = "short"
	// ReasonSize: the record does not have the size its header claims.
	ReasonSize = "size"
	// ReasonKind: no such kind.
	ReasonKind = "kind"
	// ReasonSpan: text outside the record's tail.
	ReasonSpan = "span"
)

// Reasons lists every reason, so that their counters can begin at zero.
func Reasons() []string { return []string{ReasonShort, ReasonSize, ReasonKind, ReasonSpan} }

// Error says why a record was refused.
type Error struct {
	Kind   event.Kind // as the record claims; KindNone if it is too short for that
	reason string
	detail string
}

// Reason is one of [Reasons].
func (e *Error) Reason() string { return e.reason }

func (e *Error) Error() string {
	return fmt.Sprintf("decode %s record: %s", e.Kind, e.detail)
}

func refuse(kind event.Kind, reason, format string, args ...any) *Error {
	return &Error{Kind: kind, reason: reason, detail: fmt.Sprintf(format, args...)}
}
