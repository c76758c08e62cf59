package correlate

import (
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

const (
	// skewWindow is how long an observation counts, at least; at most twice that.
	skewWindow = 10 * time.Minute
	// skewDelay is the largest difference that a slow way can explain: below it an
	// agent's clock is taken as right, and the difference as how far off it may be.
	skewDelay = 5 * time.Second
)

// skew estimates how far an agent's clock is behind the collector's. Of each batch it is
// known how much later than it was sent, by the agent's clock, it came by the collector's.
// The least difference seen is nearest to the truth: the way takes time, never less than none.
type skew struct {
	Since   int64         // when the current window began, log time
	Least   time.Duration // of the current window
	Before  time.Duration // of the window before
	Windows int           // seen, at most 2
}

func (s *skew) observe(now time.Time, difference time.Duration) {
	switch {
	case s.Windows == 0 || now.UnixNano()-s.Since > int64(skewWindow):
		s.Before, s.Least, s.Since = s.Least, difference, now.UnixNano()
		s.Windows = min(2, s.Windows+1)
	default:
		s.Least = min(s.Least, difference)
	}
}

// offset is what to add to the agent's times, and how far off the sum may be.
func (s *skew) offset() (add, uncertainty time.Duration) {
	least, _ := s.least()
	if least >= 0 && least <= skewDelay {
		return 0, least
	}
	return least, skewDelay
}

// correct gives an agent's time on the collector's clock. Nothing happens after it was
// told; a time that is none is when it was told.
func (s *skew) correct(t *timestamppb.Timestamp, now time.Time) (at time.Time, uncertainty time.Duration) {
	if !known(t) {
		return now, 0
	}
	add, uncertainty := s.offset()
	if at = t.AsTime().Add(add); at.After(now) {
		return now, uncertainty
	}
	return at, uncertainty
}

// gap is a gap on the collector's clock. One whose beginning nobody knows has none; it
// ended when it was told, if nothing else is said.
func (s *skew) gap(g *sensorv1.Gap, now time.Time) *sensorv1.Gap {
	g = proto.CloneOf(g)
	g.Class, g.Stage, g.Reason = cutID(g.Class), cutID(g.Stage), cutID(g.Reason)
	until, _ := s.correct(g.Until, now)
	if known(g.Since) {
		since, _ := s.correct(g.Since, now)
		if until.Before(since) {
			until = since
		}
		g.Since = timestamppb.New(since)
	} else {
		g.Since = nil
	}
	g.Until = timestamppb.New(until)
	return g
}

// known tells a time from none.
func known(t *timestamppb.Timestamp) bool { return t != nil && t.IsValid() && t.Seconds > 0 }

const (
	// bestWay is the longest that the fastest of ten minutes' batches may take to come.
	bestWay = 250 * time.Millisecond
	// clockBound is how far clocks may be apart where nothing measures it: all are kept by
	// NTP, which is better by far, and complains long before.
	clockBound = time.Second
)

// bounds are the times, on the collector's clock, between which a time of the agent's was.
// Its clock is behind by no more than the least difference seen, and by no more than
// [bestWay] less; up to skewDelay a slow way can explain the difference as well, then the
// clock may be right.
func (s *skew) bounds(t *timestamppb.Timestamp, now time.Time) (from, until time.Time) {
	if !known(t) || !plausible(t) {
		return now.Add(-clockBound), now
	}
	least, windows := s.least()
	switch {
	case windows == 0:
		from, until = t.AsTime().Add(-clockBound), t.AsTime().Add(clockBound)
	case least > skewDelay:
		from, until = t.AsTime().Add(least-skewDelay), t.AsTime().Add(least)
	default:
		from, until = t.AsTime().Add(min(0, least-bestWay)), t.AsTime().Add(least)
	}
	if from.After(now) {
		from = now
	}
	if until.After(now) || until.Before(from) {
		until = now
	}
	return from, until
}

// auditBounds are those of a time of an API server's. Of its records it is not known how
// long they take, they may all be late: only that they are not here before they were
// written. Of which server they are neither: where one's clock is ahead by more than
// [clockBound], any one's may be, or be right.
func (s *skew) auditBounds(t time.Time) (from, until time.Time) {
	least, _ := s.least()
	return t.Add(min(0, least) - clockBound), t.Add(clockBound)
}

func (s *skew) least() (least time.Duration, windows int) {
	least = s.Least
	if s.Windows == 2 {
		least = min(least, s.Before)
	}
	return least, s.Windows
}

// plausible tells a time that can be counted with from one that somebody made up.
func plausible(t *timestamppb.Timestamp) bool { return t.GetSeconds() < 1<<33 }
