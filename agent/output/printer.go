package output

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/seawall-security/seawall/internal/event"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

// Queue sizes: some seconds of detections of a node under attack, and as many events as
// fit in some 10 MiB.
const (
	queuedDetections = 4096
	queuedEvents     = 8192
	// A detection with 16 ancestors of 8 KiB argv each, escaped, takes half a MiB: whoever
	// is watched must not choose how much memory the queue takes.
	queuedDetectionBytes = 16 << 20
)

// queuedDetection is a detection and the size it was counted with.
type queuedDetection struct {
	detection *sensorv1.Detection
	bytes     int64
}

// Options say what is printed and how.
type Options struct {
	Log *zap.Logger
	// Events prints events too, not only detections.
	Events bool
	// Text prints for people instead of JSON.
	Text bool
	// AgentID, BootID and Node go on every record.
	AgentID, BootID, Node string
}

// Printer writes records to one writer. Event and Detection may be called by one
// goroutine while Run runs on another.
type Printer struct {
	options    Options
	out        *bufio.Writer
	detections chan queuedDetection
	held       atomic.Int64 // bytes in detections
	events     chan *event.Event
	lost       [event.KindMax]lost
	lostAlerts lost
	printed    atomic.Uint64
}

// lost is a gap that is growing.
type lost struct {
	count, booked atomic.Uint64
	since, until  atomic.Int64 // Unix nanoseconds
}

func (l *lost) add(now time.Time) {
	if l.count.Add(1) == l.booked.Load()+1 {
		l.since.Store(now.UnixNano())
	}
	l.until.Store(now.UnixNano())
}

// New returns a printer; Run writes.
func New(out io.Writer, o Options) *Printer {
	return &Printer{options: o, out: bufio.NewWriterSize(out, 64<<10),
		detections: make(chan queuedDetection, queuedDetections),
		events:     make(chan *event.Event, queuedEvents)}
}

// Event queues an event if events are printed. The event may be lent.
func (p *Printer) Event(ev *event.Event) {
	if !p.options.Events {
		return
	}
	if len(p.events) == cap(p.events) { // only this goroutine adds: no need to clone in vain
		p.lost[ev.Kind].add(time.Now())
		return
	}
	p.events <- ev.Clone()
}

// Detection queues a detection.
func (p *Printer) Detection(d *sensorv1.Detection) {
	q := queuedDetection{detection: d, bytes: int64(proto.Size(d))}
	if p.held.Add(q.bytes) <= queuedDetectionBytes {
		select {
		case p.detections <- q:
			return
		default:
		}
	}
	p.held.Add(-q.bytes)
	p.lostAlerts.add(time.Now())
}

// Lost is how many events and detections were not printed.
func (p *Printer) Lost() (events, detections uint64) {
	for i := range p.lost {
		events += p.lost[i].count.Load()
	}
	return events, p.lostAlerts.count.Load()
}

// Printed is how many records were written.
func (p *Printer) Printed() uint64 { return p.printed.Load() }

// Run writes until ctx ends, then what is queued, and returns. An error says that the
// writer failed: nobody reads our output any more.
func (p *Printer) Run(ctx context.Context) error {
	var err error
	for {
		select {
		case d := <-p.detections:
			err = p.detection(d)
		default:
			select {
			case d := <-p.detections:
				err = p.detection(d)
			case ev := <-p.events:
				err = p.event(ev)
			case <-ctx.Done():
				return p.drain()
			}
		}
		if err == nil && len(p.detections) == 0 && len(p.events) == 0 {
			if err = p.gaps(); err == nil {
				err = p.out.Flush()
			}
		}
		if err != nil {
			return fmt.Errorf("print: %w", err)
		}
	}
}

func (p *Printer) drain() error {
	for {
		var err error
		select {
		case d := <-p.detections:
			err = p.detection(d)
		case ev := <-p.events:
			err = p.event(ev)
		default:
			if err = p.gaps(); err == nil {
				err = p.out.Flush()
			}
			if err != nil {
				return fmt.Errorf("print: %w", err)
			}
			return nil
		}
		if err != nil {
			return fmt.Errorf("print: %w", err)
		}
	}
}

func (p *Printer) detection(q queuedDetection) error {
	p.held.Add(-q.bytes)
	d := q.detection
	if p.options.Text {
		return p.text(describeDetection(d))
	}
	return p.record(&sensorv1.Record{Body: &sensorv1.Record_Detection{Detection: d}})
}

func (p *Printer) event(ev *event.Event) error {
	m := ev.Proto(p.options.BootID)
	if p.options.Text {
		return p.text(describeEvent(m))
	}
	return p.record(&sensorv1.Record{Body: &sensorv1.Record_Event{Event: m}})
}

// gaps prints what was lost since the last time.
func (p *Printer) gaps() error {
	for kind := range p.lost {
		if err := p.gap(&p.lost[kind], event.Kind(kind).String()); err != nil {
			return err
		}
	}
	return p.gap(&p.lostAlerts, "detection")
}

func (p *Printer) gap(l *lost, class string) error {
	count := l.count.Load() - l.booked.Load()
	if count == 0 {
		return nil
	}
	g := &sensorv1.Gap{Class: class, Stage: "queue", Reason: "output is read too slowly", Count: count,
		Since: timestamppb.New(time.Unix(0, l.since.Load())), Until: timestamppb.New(time.Unix(0, l.until.Load()))}
	l.booked.Add(count)
	if p.options.Text {
		return p.text(fmt.Sprintf("%s GAP %d × %s were not printed: %s", clock(g.Until), count, class, g.Reason))
	}
	return p.record(&sensorv1.Record{Body: &sensorv1.Record_Gap{Gap: g}})
}

func (p *Printer) record(r *sensorv1.Record) error {
	r.AgentId, r.BootId, r.Node = p.options.AgentID, p.options.BootID, p.options.Node
	line, err := event.AppendJSON(nil, r)
	if err != nil {
		// One record that cannot be written must not end all others.
		p.options.Log.Error("encode record", zap.Error(err))
		p.lostAlerts.add(time.Now())
		return nil
	}
	p.printed.Add(1)
	_, err = p.out.Write(append(line, '\n'))
	return err
}

func (p *Printer) text(line string) error {
	p.printed.Add(1)
	_, err := p.out.WriteString(line + "\n")
	return err
}
