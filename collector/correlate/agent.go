package correlate

import (
	"time"

	"github.com/seawall-security/seawall/collector/alert"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

const (
	// maxRecentGaps are remembered of each agent, for alerts that are raised or grow later.
	maxRecentGaps = 64
	// gapMargin is how far from an alert's facts a gap may lie: what follows on the last
	// fact could have been lost in it.
	gapMargin = time.Minute
)

// agentState is what is known of an agent.
type agentState struct {
	ID   string
	Skew skew
	Gaps []*sensorv1.Gap // the latest ones, times corrected
	// Node is as the agent calls it.
	Cluster, Node string
	// Losses are when it may have lost sessions, apart from each other and in order.
	Losses []loss `json:",omitempty"`
	// Heard is the time of the latest that it told but detections, which overtake the rest.
	Heard int64
	// Horizon is when the last session began that is forgotten.
	Horizon int64
	stamp
}

// agent finds or makes the state of an agent, and touches it.
func (m *Machine) agent(id string) *agentState {
	known := m.agents.get(id)
	if known == nil {
		known = &agentState{ID: id}
		m.agents.add(id, known)
	}
	m.touch(&known.stamp)
	m.agents.touch(id)
	m.change(rowAgent, id)
	return known
}

// gap books that an agent lost something, with its open alerts of that time.
func (m *Machine) gap(agentID string, agent *agentState, g *sensorv1.Gap) {
	m.gaps++
	switch {
	case m.gaps <= maxMessageGaps:
		m.book(agentID, agent, g)
	case m.moreGaps == nil:
		m.moreGaps = g
	default:
		alert.JoinGap(m.moreGaps, g)
	}
}

func (m *Machine) book(agentID string, agent *agentState, g *sensorv1.Gap) {
	if len(agent.Gaps) == maxRecentGaps {
		agent.Gaps = agent.Gaps[1:]
	}
	agent.Gaps = append(agent.Gaps, g)
	near := 0
	for _, a := range m.share(agentID).raised.recent() {
		if near++; near > maxNear {
			break
		}
		if a.span().covers(g) {
			m.attach(a, g)
		}
	}
	m.leave(agentID)
}

// overlap attaches the agent's gaps that the alert has come to overlap by growing.
func (m *Machine) overlap(a *anchor, before span) {
	agent := m.agents.get(a.Alert.GetAsset().GetAgentId())
	if agent == nil {
		return
	}
	now := a.span()
	for _, g := range agent.Gaps {
		if now.covers(g) && !before.covers(g) {
			m.attach(a, g)
		}
	}
}

func (m *Machine) attach(a *anchor, g *sensorv1.Gap) {
	kinds := len(a.Alert.Gaps)
	alert.AddGap(a.Alert, g)
	if len(a.Alert.Gaps) > kinds {
		m.later(a, settle)
	} else {
		m.later(a, recount)
	}
}

// span is a time from and to; zero: none.
type span struct{ from, to time.Time }

// span is the time in which a gap concerns the alert.
func (a *anchor) span() span {
	if a.Alert.FirstTime == nil {
		return span{}
	}
	return span{a.Alert.FirstTime.AsTime().Add(-gapMargin), a.Alert.LastTime.AsTime().Add(gapMargin)}
}

func (s span) covers(g *sensorv1.Gap) bool {
	return !s.from.IsZero() && !g.Until.AsTime().Before(s.from) && !g.Since.AsTime().After(s.to)
}
