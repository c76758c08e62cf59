package queue

import (
	"sync"
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

// Losses are gaps that grow, by class and reason. All methods are for any goroutine.
type Losses struct {
	mu     sync.Mutex // guards what follows
	of     [event.KindMax + 1][reasons]Loss
	untold bool
}

// Add books one record, and between which times happened what it told of: it may have
// waited for seconds before it was lost, and a gap is where it is missing.
func (l *Losses) Add(class event.Kind, why Reason, since, until time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.of[class][why].Add(1, since, until)
	l.untold = true
}

// Gaps tells of what was lost since the last time, the reasons in the owner's words. An
// error of tell ends it.
func (l *Losses) Gaps(say func(Reason) string, tell func(class event.Kind, g *sensorv1.Gap) error) error {
	if !l.take() {
		return nil // as nearly always, and this is asked after each record
	}
	for k := range l.of {
		for why := range reasons {
			g := l.gap(event.Kind(k), why)
			if g == nil {
				continue
			}
			g.Class, g.Stage, g.Reason = class(event.Kind(k)), "queue", say(why)
			if err := tell(event.Kind(k), g); err != nil {
				return err
			}
		}
	}
	return nil
}

func (l *Losses) take() (untold bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	untold, l.untold = l.untold, false
	return untold
}

func (l *Losses) gap(class event.Kind, why Reason) *sensorv1.Gap {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.of[class][why].Gap()
}

// Lost is how many records got no further.
type Lost struct {
	Class  string // event, detection or entry
	Reason string
	Count  uint64
}

// Lost tells of every class and reason, also of those that have no loss.
func (l *Losses) Lost() []Lost {
	l.mu.Lock()
	defer l.mu.Unlock()
	var lost []Lost
	for why := range reasons {
		events := Lost{Class: "event", Reason: why.String()}
		for k := Detections + 1; k < event.KindMax; k++ {
			events.Count += l.of[k][why].count
		}
		lost = append(lost, events)
		for _, k := range []event.Kind{Detections, Entries} {
			lost = append(lost, Lost{Class: class(k), Reason: why.String(), Count: l.of[k][why].count})
		}
	}
	return lost
}

// Loss is one gap that grows until it is told, and then the next. It is for one goroutine.
type Loss struct {
	count, told  uint64
	since, until time.Time // of what was not told
}

// Add books n more of a time.
func (l *Loss) Add(n uint64, since, until time.Time) {
	if l.since.IsZero() || since.Before(l.since) {
		l.since = since
	}
	if until.After(l.until) {
		l.until = until
	}
	l.count += n
}

// Gap is what was lost since the last call, with its times and count; nil: nothing.
func (l *Loss) Gap() *sensorv1.Gap {
	if l.count == l.told && l.since.IsZero() {
		return nil
	}
	g := &sensorv1.Gap{Count: l.count - l.told, Since: timestamppb.New(l.since), Until: timestamppb.New(l.until)}
	l.told, l.since, l.until = l.count, time.Time{}, time.Time{}
	return g
}

// Total is how many were booked, told or not.
func (l *Loss) Total() uint64 { return l.count }
