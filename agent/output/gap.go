package output

import (
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/seawall-security/seawall/internal/event"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

// reason is why a record was not printed.
type reason uint8

const (
	manyWait   reason = iota // the queue's places are taken
	muchWaits                // the queue's bytes are
	noSpace                  // the output takes nothing until there is room on its disk
	notEncoded               // the record does not fit the schema: a bug here
	reasons
)

// label is the reason in metrics.
func (r reason) label() string { return [...]string{"events", "bytes", "space", "encoding"}[r] }

// String is the reason in gaps.
func (r reason) String() string {
	return [...]string{
		"output is read too slowly: as many records wait as may",
		"output is read too slowly: what waits takes as much memory as it may",
		"output could not be written: no space left",
		"record could not be encoded",
	}[r]
}

// ofDetections is the place of detections among classes: that of no kind of event.
const ofDetections = event.KindNone

func class(k event.Kind) string {
	if k == ofDetections {
		return "detection"
	}
	return k.String()
}

// losses are gaps that grow, by class and reason. Counts are exact; an interval may be
// wider than its gap by what is lost while it is told.
type losses [event.KindMax][reasons]loss

type loss struct {
	count, told  atomic.Uint64
	since, until atomic.Int64 // Unix nanoseconds
}

func (l *loss) add(now time.Time) {
	if l.count.Add(1) == l.told.Load()+1 {
		l.since.Store(now.UnixNano())
	}
	l.until.Store(now.UnixNano())
}

// gap is what was lost since it was told last; nil: nothing.
func (l *loss) gap(class string, why reason) *sensorv1.Gap {
	count := l.count.Load() - l.told.Load()
	if count == 0 {
		return nil
	}
	g := &sensorv1.Gap{Class: class, Stage: "queue", Reason: why.String(), Count: count,
		Since: timestamppb.New(time.Unix(0, l.since.Load())), Until: timestamppb.New(time.Unix(0, l.until.Load()))}
	l.told.Add(count)
	return g
}

// Lost is how many records were not printed.
type Lost struct {
	Class  string // event or detection
	Reason string
	Count  uint64
}

// Lost tells of every class and reason, also of those that have no loss.
func (p *Printer) Lost() []Lost {
	var lost []Lost
	for why := range reasons {
		events := Lost{Class: "event", Reason: why.label()}
		for k := ofDetections + 1; k < event.KindMax; k++ {
			events.Count += p.lost[k][why].count.Load()
		}
		lost = append(lost, events, Lost{Class: "detection", Reason: why.label(), Count: p.lost[ofDetections][why].count.Load()})
	}
	return lost
}
