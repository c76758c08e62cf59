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
	least := s.Least
	if s.Windows == 2 {
		least = min(least, s.Before)
	}
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
