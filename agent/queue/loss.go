package queue

import (
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/seawall-security/seawall/internal/event"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

// Reason is why a record got no further.
type Reason uint8

const (
	Many       Reason = iota // the queue's places are taken
	Much                     // the queue's bytes are
	NoSpace                  // whoever takes has no place for it
	NotEncoded               // the record does not fit the schema: a bug here
	reasons
)

// String is the reason in metrics; for people the owner has better words.
func (r Reason) String() string { return [...]string{"events", "bytes", "space", "encoding"}[r] }

// Detections and Entries are the places of detections, and of events that are entries into
// containers, among classes: no kind of event has them.
const (
	Detections = event.KindNone
	Entries    = event.KindMax
)

func class(k event.Kind) string {
	switch k {
	case Detections:
		return "detection"
	case Entries:
		return "entry"
	}
	return k.String()
}

// Losses are gaps that grow, by class and reason. Counts are exact; an interval may be
// wider than its gap by what is lost while it is told. Add and Lost are for any
// goroutine, Gaps for one.
type Losses [event.KindMax + 1][reasons]loss

type loss struct {
	count, told  atomic.Uint64
	since, until atomic.Int64 // Unix nanoseconds
}

// Add books one record.
func (l *Losses) Add(class event.Kind, why Reason, now time.Time) { l[class][why].add(now) }

func (l *loss) add(now time.Time) {
	if l.count.Add(1) == l.told.Load()+1 {
		l.since.Store(now.UnixNano())
	}
	l.until.Store(now.UnixNano())
}

// Gaps tells of what was lost since the last time, the reasons in the owner's words.
func (l *Losses) Gaps(say func(Reason) string, tell func(class event.Kind, g *sensorv1.Gap) error) error {
	for k := range l {
		for why := range reasons {
			g := l[k][why].gap(class(event.Kind(k)), say(why))
			if g == nil {
				continue
			}
			if err := tell(event.Kind(k), g); err != nil {
				return err
			}
		}
	}
	return nil
}

// gap is what was lost since it was told last; nil: nothing.
func (l *loss) gap(class, reason string) *sensorv1.Gap {
	count := l.count.Load() - l.told.Load()
	if count == 0 {
		return nil
	}
	g := &sensorv1.Gap{Class: class, Stage: "queue", Reason: reason, Count: count,
		Since: timestamppb.New(time.Unix(0, l.since.Load())), Until: timestamppb.New(time.Unix(0, l.until.Load()))}
	l.told.Add(count)
	return g
}

// Lost is how many records got no further.
type Lost struct {
	Class  string // event, detection or entry
	Reason string
	Count  uint64
}

// Lost tells of every class and reason, also of those that have no loss.
func (l *Losses) Lost() []Lost {
	var lost []Lost
	for why := range reasons {
		events := Lost{Class: "event", Reason: why.String()}
		for k := Detections + 1; k < event.KindMax; k++ {
			events.Count += l[k][why].count.Load()
		}
		lost = append(lost, events)
		for _, k := range []event.Kind{Detections, Entries} {
			lost = append(lost, Lost{Class: class(k), Reason: why.String(), Count: l[k][why].count.Load()})
		}
	}
	return lost
}
