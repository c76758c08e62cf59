package correlate

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/seawall-security/seawall/collector/store"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

// ErrRefused says that a message cannot be taken in, now or later: what it leads to breaks
// a rule of the store, or this program on it. A message like that is a fault of ours, and
// must not keep all that come behind it from everybody: see [Correlator.Skip].
var ErrRefused = errors.New("it cannot be taken in")

// attempt finds the errors that would come again, panics among them.
func attempt(do func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: panic: %v\n%s", ErrRefused, p, debug.Stack())
		}
	}()
	if err = do(); store.IsRefusal(err) {
		err = fmt.Errorf("%w: %w", ErrRefused, err)
	}
	return err
}

// Skip passes over a message that was refused. What it brought is booked as a gap of its
// agent, if at least that can be done.
func (c *Correlator) Skip(ctx context.Context, m Message) error {
	err := c.change(ctx, func(*store.Tx) error { c.machine.skip(m, true); return nil })
	if errors.Is(err, ErrRefused) {
		err = c.change(ctx, func(*store.Tx) error { c.machine.skip(m, false); return nil })
	}
	return err
}

func (m *Machine) skip(message Message, book bool) {
	if message.Position <= m.place.Position {
		return
	}
	m.stats.Messages++
	m.stats.Refused++
	m.place.Position = message.Position
	m.change(rowPlace, "")
	if !book {
		return
	}
	log, now := m.decode(message)
	if batch := log.GetAudit(); batch != nil && now.IsValid() {
		since, until := m.place.Now, int64(0)
		for _, e := range batch.Events {
			if at := unixNano(e.StageTime); at != 0 {
				since, until = min(since, at), max(until, at)
			}
		}
		m.auditHole(batch.Cluster, fmt.Sprint("log ", m.place.Position), since, max(until, m.place.Now))
		return
	}
	envelope := log.GetEnvelope()
	if envelope == nil || !now.IsValid() {
		return
	}
	at := timestamppb.New(m.now())
	agent := m.agent(envelope.AgentId)
	m.lose(envelope.AgentId, agent, "all", loss{max(agent.Heard-int64(penHold), 0), max(m.place.Now, now.AsTime().UnixNano())})
	m.doubtAll()
	m.book(envelope.AgentId, agent, &sensorv1.Gap{
		Class: "all", Stage: "collector", Reason: "refused", Since: at, Until: at, Count: uint64(len(envelope.Items)),
	})
	m.measure()
}
