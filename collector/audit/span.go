package audit

import (
	"slices"
	"time"
)

// span is a stretch of stage time. Times are UTC and have no monotonic part: spans are
// compared by ==.
type span struct{ since, until time.Time }

// The ends of all time, as spans use them.
var (
	ever  = time.Unix(0, 0).UTC()
	never = time.Unix(1<<40, 0).UTC()
)

func (s span) length() time.Duration { return s.until.Sub(s.since) }

func (s span) overlaps(o span) bool { return s.since.Before(o.until) && o.since.Before(s.until) }

// common is what both lists have; each is in order and does not overlap itself.
func common(a, b []span) []span {
	var out []span
	for i, j := 0, 0; i < len(a) && j < len(b); {
		one := span{later(a[i].since, b[j].since), earlier(a[i].until, b[j].until)}
		if one.since.Before(one.until) {
			out = append(out, one)
		}
		if a[i].until.Before(b[j].until) {
			i++
		} else {
			j++
		}
	}
	return out
}

// either is what one of the lists has, in order.
func either(a, b []span) []span {
	all := slices.Concat(a, b)
	slices.SortFunc(all, func(x, y span) int { return x.since.Compare(y.since) })
	var out []span
	for _, s := range all {
		if last := len(out) - 1; last >= 0 && !s.since.After(out[last].until) {
			out[last].until = later(out[last].until, s.until)
			continue
		}
		out = append(out, s)
	}
	return out
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
