package uplink

import (
	"sync"
	"time"

	"go.uber.org/zap"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/seawall-security/seawall/agent/queue"
	"github.com/seawall-security/seawall/internal/event"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

// What the agent did not see, or not whole. The collector concludes from what is not there:
// that nobody else came in. So what may be missing is told as what was lost is.

// missInterval is how soon after one gap of misses the next is told: a storm of them is one
// gap a second, the first of them at once.
const missInterval = time.Second

// Miss is one way in which events are not told, or not as what they are.
type Miss struct {
	// Class is the gap's: queue.Entries, or a kind of event.
	Class event.Kind
	// Reason is one of a few.
	Reason string
}

func (m Miss) class() string {
	if m.Class == queue.Entries {
		return className(classEntry)
	}
	return className(uint8(m.Class))
}

// misses are the gaps of the agent's stages that were not told yet.
type misses struct {
	news chan struct{} // has one where there is something to be told

	mu sync.Mutex // guards of
	of map[Miss]*queue.Loss
}

// Missed books that something happened between two times that is not told, or not as what
// it is. It may be called by any goroutine, and does not wait.
func (u *Uplink) Missed(what Miss, since, until time.Time) {
	m := &u.misses
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.of == nil {
		m.of = make(map[Miss]*queue.Loss)
	}
	if m.of[what] == nil {
		m.of[what] = &queue.Loss{}
	}
	m.of[what].Add(1, since, until)
	select {
	case m.news <- struct{}{}:
	default:
	}
}

// totals are how many of each were booked.
func (m *misses) totals() map[Miss]uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	totals := make(map[Miss]uint64, len(m.of))
	for what, loss := range m.of {
		totals[what] = loss.Total()
	}
	return totals
}

// take returns what was not told.
func (m *misses) take() (told []*sensorv1.Gap) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for what, loss := range m.of {
		if g := loss.Gap(); g != nil {
			g.Class, g.Stage, g.Reason = what.class(), "agent", what.Reason
			told = append(told, g)
		}
	}
	return told
}

// gapsOfMisses spools what the stages missed since it was told last.
func (u *Uplink) gapsOfMisses(now time.Time) {
	for _, g := range u.misses.take() {
		u.missed = now
		u.spoolGapRecord(queue.Entries, now, g)
	}
}

// Watching says that whatever happens from a time on is seen, and spools that nobody knows
// what happened before, since the run before this one ended. It comes before Run, once.
func (u *Uplink) Watching(from time.Time) {
	note, latest := u.spool.Former()
	g := &sensorv1.Gap{Class: "all", Stage: "agent", Until: timestamppb.New(from)}
	switch {
	case note != 0:
		g.Reason, g.Since = "the agent did not run", stamp(min(note, from.UnixNano()))
	case latest != 0: // what of that run was lost, the spool says
		g.Reason, g.Since = "the agent had been ended, and did not run", stamp(min(latest, from.UnixNano()))
	default:
		g.Reason = "the agent had not run yet"
	}
	u.spoolGapRecord(queue.Detections, from, g)
}

// Unwatched says that whatever happens after a time is not seen any more: the next run tells
// of it. It comes before Close.
func (u *Uplink) Unwatched(from time.Time) { u.spool.Leave(from.UnixNano()) }

// lostExecs is what is known of execs that the kernel could not tell of.
type lostExecs struct {
	told  uint64
	asked time.Time // up to then it is told whether there are
	known time.Time // up to then it is known how many
}

// gapOfExecs spools that the kernel lost execs since it was asked last, or may have.
func (u *Uplink) gapOfExecs(now time.Time) {
	if u.options.LostExecs == nil {
		return
	}
	x := &u.execs
	g := &sensorv1.Gap{Class: event.KindProcessExec.String(), Stage: "kernel", Until: timestamppb.New(now)}
	lost, err := u.options.LostExecs()
	switch {
	case err != nil:
		u.log.Warn("nobody knows whether execs were lost", zap.Error(err))
		g.Reason, g.Since = "nobody knows whether the kernel had a place for all records", timestamppb.New(x.asked)
	case lost > x.told:
		g.Reason, g.Since, g.Count = "the kernel had no place for the record", timestamppb.New(x.known), lost-x.told
		x.told, x.known = lost, now
	default:
		x.known = now
		g = nil
	}
	x.asked = now
	if g != nil {
		u.spoolGapRecord(event.KindProcessExec, now, g)
	}
}

// spoolGapRecord spools a gap. If that fails it is booked as lost with the class it is of.
func (u *Uplink) spoolGapRecord(class event.Kind, at time.Time, g *sensorv1.Gap) {
	u.spoolRecord(detections, class, classGap, at, &sensorv1.Record{Body: &sensorv1.Record_Gap{Gap: g}})
}
