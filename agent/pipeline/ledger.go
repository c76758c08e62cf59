package pipeline

import (
	"errors"
	"sync/atomic"

	"github.com/seawall-security/seawall/agent/decode"
	"github.com/seawall-security/seawall/internal/event"
)

// Count is the agent's part of the ledger for one kind. Read = SelfTest + Delivered +
// Penned; with Refused it is what came out of the rings.
type Count struct {
	Kind      event.Kind
	Read      uint64
	SelfTest  uint64 // provoked by the agent to prove its hooks
	Delivered uint64 // went through the rules to the sink
	Penned    int64  // wait for their container's name at this moment
}

// Ledger is what a pipeline counted.
type Ledger struct {
	Kinds []Count
	// Refused counts records that did not decode, by reason.
	Refused map[string]uint64
	// Detections counts rules' hits.
	Detections uint64
	// PenOverflows is how often a full pen let its oldest cgroup go, by the bound that
	// was reached: events or bytes.
	PenOverflows map[string]uint64
	// PenBytes is what the events in the pen keep alive at this moment.
	PenBytes int64
	// PenNameless is how often a cgroup's events went on without a runtime's word.
	PenNameless uint64
	// ByLineage counts events named by where their process comes from: its cgroup was no
	// container's. Strangers are those of a container that nobody knows.
	ByLineage, Strangers uint64
	// Marks is how often the kernel was told to follow a process, MarksRefused how often
	// it could not be, by reason: full, gone or error.
	Marks        uint64
	MarksRefused map[string]uint64
}

type ledger struct {
	kinds [event.KindMax]struct {
		read, selfTest, delivered atomic.Uint64
		penned                    atomic.Int64
	}
	refused      [5]atomic.Uint64 // by place in reasons
	detections   atomic.Uint64
	penOverflows [bounds]atomic.Uint64
	penBytes     atomic.Int64
	penNameless  atomic.Uint64
	byLineage    atomic.Uint64
	strangers    atomic.Uint64
	marks        atomic.Uint64
	marksRefused [refusals]atomic.Uint64
}

func (l *ledger) read(k event.Kind)            { l.kinds[k].read.Add(1) }
func (l *ledger) selfTest(k event.Kind)        { l.kinds[k].selfTest.Add(1) }
func (l *ledger) delivered(k event.Kind)       { l.kinds[k].delivered.Add(1) }
func (l *ledger) penned(k event.Kind, n int64) { l.kinds[k].penned.Add(n) }

func (l *ledger) refuse(err error) {
	var refused *decode.Error
	if errors.As(err, &refused) {
		for i, reason := range decode.Reasons() {
			if reason == refused.Reason() {
				l.refused[i].Add(1)
				return
			}
		}
	}
	l.refused[len(l.refused)-1].Add(1)
}

// Ledger reads the counts; safe from any goroutine.
func (p *Pipeline) Ledger() Ledger {
	l := &p.ledger
	out := Ledger{
		Refused: make(map[string]uint64), PenOverflows: make(map[string]uint64), MarksRefused: make(map[string]uint64),
		Detections: l.detections.Load(), PenBytes: l.penBytes.Load(), PenNameless: l.penNameless.Load(),
		Marks: l.marks.Load(), ByLineage: l.byLineage.Load(), Strangers: l.strangers.Load(),
	}
	for _, k := range event.Kinds {
		c := &l.kinds[k]
		out.Kinds = append(out.Kinds, Count{Kind: k, Read: c.read.Load(), SelfTest: c.selfTest.Load(),
			Delivered: c.delivered.Load(), Penned: c.penned.Load()})
	}
	for i, reason := range append(decode.Reasons(), "other") {
		out.Refused[reason] = l.refused[i].Load()
	}
	for b := range bounds {
		out.PenOverflows[b.String()] = l.penOverflows[b].Load()
	}
	for why := range refusals {
		out.MarksRefused[why.String()] = l.marksRefused[why].Load()
	}
	return out
}
