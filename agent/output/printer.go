package output

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/seawall-security/seawall/agent/queue"
	"github.com/seawall-security/seawall/internal/event"
	"github.com/seawall-security/seawall/internal/redact"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

// gapInterval is how soon a loss is told of while there is always something to print.
const gapInterval = time.Second

// Options say what is printed and how.
type Options struct {
	Log *zap.Logger
	// Events prints events too, not only detections.
	Events bool
	// Text prints for people instead of JSON.
	Text bool
	// Redactor masks credentials in what is printed; nil: nobody does.
	Redactor *redact.Redactor
	// AgentID, BootID and Node go on every record.
	AgentID, BootID, Node string
}

// Printer writes records to one writer. Event and Detection may be called by one
// goroutine while Run runs on another.
type Printer struct {
	options Options
	output  patient
	out     *bufio.Writer
	queue   *queue.Queue
	lost    queue.Losses
	told    time.Time // when gaps were printed last
	printed atomic.Uint64
}

// New returns a printer; Run writes.
func New(out io.Writer, o Options) *Printer {
	p := &Printer{options: o, output: patient{out: out, log: o.Log}, queue: queue.New()}
	p.out = bufio.NewWriterSize(&p.output, 64<<10)
	return p
}

// Event queues an event if events are printed. The event may be lent.
func (p *Printer) Event(ev *event.Event) {
	if !p.options.Events {
		return
	}
	if why, ok := p.queue.PutEvent(ev); !ok {
		p.lose(ev.Kind, why)
	}
}

// Detection queues a detection.
func (p *Printer) Detection(d *sensorv1.Detection) {
	if why, ok := p.queue.PutDetection(d); !ok {
		p.lose(queue.Detections, why)
	}
}

func (p *Printer) lose(class event.Kind, why queue.Reason) {
	if why != queue.NotEncoded && p.output.full.Load() {
		why = queue.NoSpace
	}
	now := time.Now()
	p.lost.Add(class, why, now, now)
}

// Printed is how many records were written, or are in the last 64 KiB to be written.
func (p *Printer) Printed() uint64 { return p.printed.Load() }

// Lost is what was not printed.
func (p *Printer) Lost() []queue.Lost { return p.lost.Lost() }

// Queued is how many records wait.
func (p *Printer) Queued() int {
	events, detections, _ := p.queue.Len() // entries are among the events
	return events + detections
}

// Run writes until ctx ends, then what is queued, and returns. An error says that the
// writer failed for good: nobody reads our output any more.
func (p *Printer) Run(ctx context.Context) error {
	p.output.ended = ctx.Done()
	err := p.run(ctx)
	switch {
	case errors.Is(err, unix.EPIPE), errors.Is(err, io.ErrClosedPipe):
		return fmt.Errorf("print: whoever read standard output is gone; start the agent again with a reader: %w", err)
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		return fmt.Errorf("print: %d records that waited for room on the disk of standard output are lost: %w", p.Queued(), err)
	case err != nil:
		return fmt.Errorf("print: %w", err)
	}
	return nil
}

func (p *Printer) run(ctx context.Context) error {
	for {
		var err error
		select {
		case d := <-p.queue.Detections():
			err = p.detection(d)
		default:
			select {
			case d := <-p.queue.Detections():
				err = p.detection(d)
			case ev := <-p.queue.Events():
				err = p.event(ev)
			case <-ctx.Done():
				if p.queue.Empty() {
					return p.rest()
				}
			}
		}
		if err == nil {
			err = p.rest()
		}
		if err != nil {
			return err
		}
	}
}

// rest follows every record: what was lost is told, and what is written leaves the
// buffer, if nothing waits. Where something always does gaps are told all the same.
func (p *Printer) rest() error {
	idle := p.queue.Empty()
	if now := time.Now(); idle || now.Sub(p.told) >= gapInterval {
		p.told = now
		if err := p.gaps(); err != nil {
			return err
		}
	}
	if idle {
		return p.out.Flush()
	}
	return nil
}

func (p *Printer) detection(encoded []byte) error {
	d, err := p.queue.Decode(encoded)
	if err != nil {
		p.refuse(queue.Detections, err)
		return nil
	}
	r := p.redacted(&sensorv1.Record{Body: &sensorv1.Record_Detection{Detection: d}})
	if p.options.Text {
		return p.text(describeDetection(d))
	}
	return p.record(queue.Detections, r)
}

func (p *Printer) event(ev *event.Event) error {
	defer p.queue.Done(ev)
	m := ev.Proto(p.options.BootID)
	r := p.redacted(&sensorv1.Record{Body: &sensorv1.Record_Event{Event: m}})
	if p.options.Text {
		return p.text(describeEvent(m))
	}
	return p.record(ev.Kind, r)
}

// redacted masks a record, and so what it was made of.
func (p *Printer) redacted(r *sensorv1.Record) *sensorv1.Record {
	if p.options.Redactor != nil {
		p.options.Redactor.Record(r)
	}
	return r
}

// gaps prints what was lost since the last time.
func (p *Printer) gaps() error {
	return p.lost.Gaps(say, func(class event.Kind, g *sensorv1.Gap) error {
		if p.options.Text {
			return p.text(fmt.Sprintf("%s GAP %d × %s were not printed: %s", clock(g.Until), g.Count, g.Class, g.Reason))
		}
		return p.record(class, &sensorv1.Record{Body: &sensorv1.Record_Gap{Gap: g}})
	})
}

func (p *Printer) record(class event.Kind, r *sensorv1.Record) error {
	r.AgentId, r.BootId, r.Node = p.options.AgentID, p.options.BootID, p.options.Node
	line, err := event.AppendJSON(nil, r)
	if err != nil {
		p.refuse(class, err)
		return nil
	}
	p.printed.Add(1)
	_, err = p.out.Write(append(line, '\n'))
	return err
}

// refuse books a record that cannot be written: it must not end all others.
func (p *Printer) refuse(class event.Kind, err error) {
	p.options.Log.Error("encode record", zap.Error(err))
	p.lose(class, queue.NotEncoded)
}

func (p *Printer) text(line string) error {
	p.printed.Add(1)
	_, err := p.out.WriteString(line + "\n")
	return err
}
