package pipeline

import (
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/seawall-security/seawall/agent/container"
	"github.com/seawall-security/seawall/agent/decode"
	"github.com/seawall-security/seawall/agent/origin"
	"github.com/seawall-security/seawall/agent/process"
	"github.com/seawall-security/seawall/internal/event"
	"github.com/seawall-security/seawall/internal/rule"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

// Containers names cgroups; see container.Table.
type Containers interface {
	Born(cgroup uint64, path string, by *event.Process)
	Gone(cgroup uint64)
	Lookup(cgroup uint64) (*event.Container, container.State)
	// Locate asks a process in it for an unseen cgroup. A nil home is the host.
	Locate(cgroup uint64, tgid uint32) (in event.Home, ok bool)
	// Settle decides for an event that cannot wait.
	Settle(cgroup uint64) *event.Container
	Changed(ids []uint64) ([]uint64, bool)
}

// Sink takes what the pipeline has to say. Its methods run on the reader's goroutine
// and must not block; an event and a process are valid only until they return.
type Sink interface {
	Event(*event.Event)
	Detection(*sensorv1.Detection)
}

// Tee is a sink that passes everything on to all of sinks, in their order.
func Tee(sinks ...Sink) Sink { return tee(sinks) }

type tee []Sink

func (t tee) Event(ev *event.Event) {
	for _, s := range t {
		s.Event(ev)
	}
}

func (t tee) Detection(d *sensorv1.Detection) {
	for _, s := range t {
		s.Detection(d)
	}
}

// Marks is the kernel's tree of interest.
type Marks interface {
	// Mark fails with E2BIG if the table is full, and with ESRCH if the process is gone.
	Mark(event.Key, event.Tree) error
	// Unmark takes back what came after the process had ended.
	Unmark(event.Key)
}

// Options are the stages and what they need.
type Options struct {
	Log       *zap.Logger
	BootID    string
	Processes *process.Table
	Origins   *origin.Table
	// Containers is nil on hosts without cgroups: everything is the host's.
	Containers Containers
	// Rules are those in force at first; see Switch.
	Rules *rule.Set
	Sink  Sink
	// Marks, if set, is the kernel's tree of interest: a rule's hit adds its process.
	Marks Marks
	// PenEvents, PenBytes (what they keep alive) and PenWait bound the pen.
	PenEvents int
	PenBytes  int
	PenWait   time.Duration
	// Sequence is what the sequences of events rise from. (boot id, sequence) names an event,
	// so an agent that starts again within a boot must begin above what it gave before.
	Sequence uint64
	// Missed, if set, is told of what the sink is not, or not whole; see Missed. It runs on
	// the reader's goroutine and must not block.
	Missed func(why Missed, class event.Kind, since, until time.Time)
	Now    func() time.Time
}

// Pipeline takes records and yields events and detections. Its methods belong to the
// reader's goroutine, but for Ledger, Excepted and Switch.
type Pipeline struct {
	options  Options
	decoder  decode.Decoder
	matcher  *rule.Matcher
	excepted rule.Excepted
	next     atomic.Pointer[change] // of the rules, that waits to be made
	pen      pen
	sequence uint64
	changed  []uint64
	current  *event.Event           // the event being matched
	marked   map[event.Key]struct{} // processes that a rule has hit and that have not ended
	matched  func(*rule.Rule)
	stranger *event.Container // what decide made last
	ledger   ledger
}

// New joins the stages.
func New(o Options) *Pipeline {
	if o.Now == nil {
		o.Now = time.Now
	}
	p := &Pipeline{options: o, sequence: o.Sequence, pen: newPen(penLimits{o.PenEvents, o.PenBytes}, o.PenWait), marked: make(map[event.Key]struct{})}
	p.matcher = o.Rules.NewMatcher(&p.excepted)
	p.matched = p.detect // bound once: a closure for each event would allocate
	return p
}

// SetClock says how kernel time becomes wall time from now on.
func (p *Pipeline) SetClock(c decode.Clock) { p.decoder.Clock = c }

// Seed takes a batch of the task iterator's records.
func (p *Pipeline) Seed(batch []byte) {
	for len(batch) > 0 {
		record, rest, err := decode.Split(batch)
		if err != nil {
			p.ledger.refuse(err)
			p.options.Log.Warn("task iterator: record refused", zap.Error(err))
			return
		}
		batch = rest
		ev, err := p.decoder.Decode(record)
		if err != nil {
			p.ledger.refuse(err)
			continue
		}
		p.options.Processes.Seed(ev)
	}
}

// Record takes one record of a ring. The bytes are not kept.
func (p *Pipeline) Record(record []byte) {
	ev, err := p.decoder.Decode(record)
	if err != nil {
		p.ledger.refuse(err)
		p.unread()
		return
	}
	p.ledger.read(ev.Kind)
	if ev.Flags.Has(event.SelfTest) {
		p.ledger.selfTest(ev.Kind)
		return
	}
	p.options.Origins.Attach(ev)
	p.options.Processes.Apply(ev)
	p.options.Origins.Record(ev)
	if p.options.Containers == nil {
		p.finish(ev)
		return
	}
	if c, ok := ev.Payload.(*event.Cgroup); ok {
		if ev.Kind == event.KindCgroupCreate {
			p.options.Containers.Born(c.ID, c.Path, ev.Process)
		} else {
			p.options.Containers.Gone(c.ID)
		}
	}
	if p.pen.holds(ev.CgroupID) {
		p.pend(ev.CgroupID, ev)
		return
	}
	c, wait := p.whose(ev, true)
	if wait == 0 && ev.EnteredHome != nil {
		ev.EnteredContainer, wait = p.at(ev.EnteredHome)
	}
	if wait != 0 {
		p.pend(wait, ev)
		return
	}
	ev.Container = c
	if ev.Entry {
		p.nameless(ev)
	}
	p.finish(ev)
}

// Idle lets go of events whose container is known by now. The reader calls it whenever
// its rings are empty, and at least every 20 ms. Other rules come into force here.
func (p *Pipeline) Idle() {
	p.change()
	if p.options.Containers == nil {
		return
	}
	if p.pen.empty() {
		p.changed, _ = p.options.Containers.Changed(p.changed[:0])
		return
	}
	changed, all := p.options.Containers.Changed(p.changed[:0])
	p.changed = changed
	if all {
		changed = p.pen.cgroups(changed[:0])
	}
	for _, id := range changed {
		p.release(id, false)
	}
	now := p.options.Now()
	p.warn(now)
	for {
		id, ok := p.pen.overdue(now)
		if !ok {
			return
		}
		p.release(id, true)
	}
}

// Flush lets everything go that waits, named or not: at the end.
func (p *Pipeline) Flush() {
	for _, id := range p.pen.cgroups(nil) {
		p.release(id, true)
	}
}

func (p *Pipeline) pend(cgroup uint64, ev *event.Event) {
	p.pen.put(cgroup, ev.Clone(), p.options.Now())
	p.ledger.penned(ev.Kind, 1)
	for {
		b, over := p.pen.over()
		if !over {
			break
		}
		p.ledger.penOverflows[b].Add(1)
		p.release(p.pen.oldest(), true)
	}
	p.ledger.penBytes.Store(int64(p.pen.weight.Bytes()))
}

// release lets the events of one cgroup go on if its container is known by now, or if
// they have to.
func (p *Pipeline) release(id uint64, must bool) {
	if !p.pen.holds(id) {
		return
	}
	_, state := p.options.Containers.Lookup(id)
	if state == container.Pending || state == container.Unseen {
		if !must {
			return
		}
		p.options.Containers.Settle(id)
		p.ledger.penNameless.Add(1)
	}
	held := p.pen.take(id)
	for _, ev := range held.events {
		p.ledger.penned(ev.Kind, -1)
		ev.Container = p.decide(ev)
		if ev.EnteredHome != nil {
			ev.EnteredContainer = p.settle(ev.EnteredHome)
		}
		switch {
		case urgent(ev) && held.warned > 0:
			held.warned--
		case ev.Entry:
			p.nameless(ev)
		}
		p.finish(ev)
	}
	p.ledger.penBytes.Store(int64(p.pen.weight.Bytes()))
}

// finish is the end of every event: it gets its number, the rules and the sink.
func (p *Pipeline) finish(ev *event.Event) {
	p.sequence++
	ev.Sequence = p.sequence
	p.ledger.delivered(ev.Kind)
	p.followVisit(ev)
	p.current = ev
	p.matcher.Match(ev, p.matched)
	p.current = nil
	p.options.Sink.Event(ev)
	if ev.Kind == event.KindProcessExit {
		p.unmark(ev.Actor)
	}
}

func (p *Pipeline) detect(r *rule.Rule) {
	ev := p.current
	p.ledger.detections.Add(1)
	if ev.Kind != event.KindProcessExit {
		p.Mark(ev.Actor, event.TreeRule)
	}
	p.options.Sink.Detection(r.Detection(ev, p.options.BootID))
}
