package correlate

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/seawall-security/seawall/collector/alert"
	"github.com/seawall-security/seawall/collector/store"
	alertv1 "github.com/seawall-security/seawall/proto/alert/v1"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

// Hole is a part of the log that is lost, and how to go on.
type Hole struct {
	Cluster string
	// Position is behind which the log is read from now on. What of it was taken in before
	// is told by the high-water marks.
	Position uint64
	// Until is when the log goes on. It was lost from the last message that was taken in.
	Until time.Time
	// Messages that are missing; 0: nobody knows.
	Messages uint64
}

// Abandon gives up on a part of the log and says so: every agent has a gap, so has every
// alert of that time, and an alert of its own tells readers that have no other. It
// returns that alert. Identities keep their episodes: no id is given twice.
func (c *Correlator) Abandon(ctx context.Context, h Hole) (*alertv1.Alert, error) {
	if err := c.load(ctx); err != nil {
		return nil, err
	}
	var revisions []alert.Revision
	err := c.store.Update(ctx, func(tx *store.Tx) (err error) {
		past := func(i alert.Identity) (uint32, error) { return c.book.Episode(ctx, tx, i) }
		if revisions, err = c.machine.abandon(h, past); err != nil {
			return err
		}
		if err := c.book.Put(ctx, tx, revisions...); err != nil {
			return err
		}
		return save(ctx, tx, c.machine.Changes())
	})
	if err != nil {
		c.machine = nil // it is ahead of the rows
		return nil, fmt.Errorf("abandon a part of the event log: %w", err)
	}
	return revisions[len(revisions)-1].Alert, nil
}

// abandon returns the revisions that come of it, the hole's own alert last.
func (m *Machine) abandon(h Hole, past Past) ([]alert.Revision, error) {
	since := m.now()
	if m.place.Now == 0 || since.After(h.Until) {
		since = h.Until
	}
	m.place.Position, m.place.Now = h.Position, max(m.place.Now, h.Until.UnixNano())
	m.change(rowPlace, "")
	m.past, m.out = past, nil
	gap := &sensorv1.Gap{Class: "all", Stage: "collector", Reason: "log_lost",
		Since: timestamppb.New(since), Until: timestamppb.New(h.Until), Count: h.Messages}
	for id, agent := range m.agents.all() {
		m.lose(id, agent, gap.Class, loss{since.UnixNano(), h.Until.UnixNano()})
		m.gap(id, agent, gap)
		m.change(rowAgent, id)
	}
	for _, cluster := range sortedKeys(m.audits) {
		m.auditHole(cluster, fmt.Sprint("log ", m.place.Position), since.UnixNano(), h.Until.UnixNano())
	}
	m.doubtAll()
	m.tell()
	m.measure()

	identity := alert.Identity{Kind: alert.KindGap, Cluster: h.Cluster, AnchorKind: alert.AnchorLog, AnchorKey: "event-log"}
	last, err := past(identity)
	if err != nil {
		return nil, err
	}
	m.stats.Raised++
	m.out = append(m.out, alert.Revision{Identity: identity, Alert: &alertv1.Alert{
		Id: identity.ID(last + 1), Revision: 1, Kind: identity.Kind, Cluster: h.Cluster, Severity: sensorv1.Severity_SEVERITY_HIGH,
		Anchor:    &alertv1.Anchor{Kind: identity.AnchorKind, Key: identity.AnchorKey, Episode: last + 1},
		Title:     "A part of the event log was lost",
		Summary:   fmt.Sprintf("Of what agents reported between %s and %s some or all was lost before it was looked at: that there is no alert of that time means nothing.", since.UTC().Format(time.RFC3339), h.Until.UTC().Format(time.RFC3339)),
		FirstTime: gap.Since, LastTime: gap.Until, Gaps: []*sensorv1.Gap{gap}, StoredTime: timestamppb.New(m.now()),
	}})
	m.stats.Revisions += uint64(len(m.out))
	return m.out, nil
}
