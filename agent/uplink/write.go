package uplink

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"

	"github.com/seawall-security/seawall/agent/queue"
	"github.com/seawall-security/seawall/internal/event"
	"github.com/seawall-security/seawall/internal/spool"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

const (
	// gapInterval is how soon a loss is told of while there is always something to spool.
	gapInterval = time.Second
	// maxRecordBytes lets every record fit into a batch.
	maxRecordBytes = batchBytes - itemBytes
)

// Classes of entries in the spool, beside the kinds of events.
const (
	classDetection = uint8(event.KindNone)
	classEntry     = uint8(254)
	classGap       = uint8(255)
)

// write takes from the queue until ctx has ended and nothing is left: detections before
// entries before other events.
func (u *Uplink) write(ctx context.Context) {
	idle := time.NewTicker(gapInterval)
	defer idle.Stop()
	for {
		select {
		case d := <-u.queue.Detections():
			u.detection(d)
		default:
			select {
			case e := <-u.queue.Entries():
				u.entry(e)
			default:
				select {
				case d := <-u.queue.Detections():
					u.detection(d)
				case e := <-u.queue.Entries():
					u.entry(e)
				case ev := <-u.queue.Events():
					u.event(ev)
				case <-u.misses.news:
				case <-idle.C:
				case <-ctx.Done():
					if u.queue.Empty() {
						u.gaps()
						u.gapsOfMisses(u.options.Now())
						u.gapOfExecs(u.options.Now())
						return
					}
				}
			}
		}
		now := u.options.Now()
		if u.queue.Empty() || now.Sub(u.told) >= gapInterval {
			u.told = now
			u.gaps()
		}
		if now.Sub(u.missed) >= missInterval {
			u.gapsOfMisses(now)
		}
		if now.Sub(u.execs.asked) >= gapInterval {
			u.gapOfExecs(now)
		}
	}
}

func (u *Uplink) detection(encoded []byte) {
	d, err := u.queue.Decode(encoded)
	if err != nil {
		u.refuse(queue.Detections, queue.NotEncoded, time.Time{}, err)
		return
	}
	r := &sensorv1.Record{Body: &sensorv1.Record_Detection{Detection: d}}
	u.spoolRecord(detections, queue.Detections, classDetection, d.GetEvent().GetTime().AsTime(), r)
}

func (u *Uplink) entry(encoded []byte) {
	e, err := u.queue.DecodeEntry(encoded)
	if err != nil {
		u.refuse(queue.Entries, queue.NotEncoded, time.Time{}, err)
		return
	}
	r := &sensorv1.Record{Body: &sensorv1.Record_Event{Event: e}}
	u.spoolRecord(entries, queue.Entries, classEntry, e.GetTime().AsTime(), r)
}

func (u *Uplink) event(ev *event.Event) {
	defer u.queue.Done(ev)
	r := &sensorv1.Record{Body: &sensorv1.Record_Event{Event: ev.Proto(u.options.BootID)}}
	u.spoolRecord(telemetry, ev.Kind, uint8(ev.Kind), ev.Wall, r)
}

// gaps spools what was lost since the last time.
func (u *Uplink) gaps() {
	// The callback returns no error.
	_ = u.lost.Gaps(say, func(class event.Kind, g *sensorv1.Gap) error {
		u.spoolGapRecord(class, g.GetUntil().AsTime(), g)
		return nil
	})
}

// spoolRecord masks a record and appends it, or books it as lost.
func (u *Uplink) spoolRecord(lane spool.Lane, kind event.Kind, class uint8, at time.Time, r *sensorv1.Record) {
	r.BootId = u.options.BootID
	redactor := u.redactor.Load()
	redactor.Record(r)
	r.LocalMasks = redactor == u.options.Redactor
	if proto.Size(r) > maxRecordBytes {
		shorten(r.GetDetection().GetEvent())
		shorten(r.GetEvent())
	}
	if n := proto.Size(r); n > maxRecordBytes {
		u.refuse(kind, queue.NotEncoded, at, errors.New("the record is too large to be sent"), zap.Int("bytes", n))
		return
	}
	var err error
	if u.buffer, err = (proto.MarshalOptions{}).MarshalAppend(u.buffer[:0], r); err != nil {
		u.refuse(kind, queue.NotEncoded, at, err)
		return
	}
	if err := u.append(u.spool, lane, class, at, u.buffer); err != nil {
		u.refuse(kind, queue.NoSpace, at, err)
	}
}

// append gives an entry the next sequence of its lane.
func (u *Uplink) append(s *spool.Spool, lane spool.Lane, class uint8, at time.Time, data []byte) error {
	u.sequence.Lock()
	defer u.sequence.Unlock()
	last, err := s.LastSequence(lane)
	if err != nil {
		return err
	}
	return s.Append(lane, spool.Entry{Sequence: max(last+1, u.first), Time: at.UnixNano(), Class: class, Data: data})
}

// refuse books a record that goes no further.
func (u *Uplink) refuse(kind event.Kind, why queue.Reason, at time.Time, err error, fields ...zap.Field) {
	u.log.Error("spool record", append(fields, zap.Error(err))...)
	u.lose(kind, why, at)
}

// lose books a record, at the time of what it told of: it may have waited for seconds for
// its container's name. Where that is not known it is now.
func (u *Uplink) lose(kind event.Kind, why queue.Reason, at time.Time) {
	if at.Unix() <= 0 {
		at = u.options.Now()
	}
	u.lost.Add(kind, why, at, at)
}

// shorten takes from an event what makes it too large to be sent: whoever is watched
// chooses how long the arguments of 17 processes are, and must not choose thereby that a
// detection is not told. The actor's own arguments stay.
func shorten(e *sensorv1.Event) {
	for _, p := range e.GetAncestors() {
		if len(p.Args) > 0 {
			p.Args, p.ArgsTruncated = nil, true
		}
		p.Cwd, p.Filename = "", ""
	}
}
