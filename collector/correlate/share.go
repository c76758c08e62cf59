package correlate

// Bounds of one agent. They leave room for what honest ones have many times over; an
// agent that was taken over must not cost the others anything.
const (
	// maxMarks is some boots of both lanes to every shard.
	maxMarks = 2048
	// maxNear is how many of its alerts, those that grew last, are looked at for what may
	// concern any of them.
	maxNear = 128
	// maxMessageGaps are booked one by one; those behind them in one message become one.
	maxMessageGaps = 64
)

// share is what one agent takes of the machine's bounds. When one of them is reached,
// the agent that takes most of it pays: others keep what they have.
type share struct {
	anchors int
	bytes   int                      // of the anchors
	raised  recency[string, *anchor] // those of them that are alerts
	marks   recency[markKey, *mark]

	sessions     recency[sessionKey, *session]
	sessionBytes int
	reaches      recency[reachKey, *reach]
	nameless     []*session // by From
	hosts        recency[hostKey, *host]
}

// share finds or makes the share of an agent.
func (m *Machine) share(agentID string) *share {
	s := m.shares[agentID]
	if s == nil {
		s = &share{raised: newRecency[string, *anchor](), marks: newRecency[markKey, *mark](), sessions: newRecency[sessionKey, *session](),
			reaches: newRecency[reachKey, *reach](), hosts: newRecency[hostKey, *host]()}
		m.shares[agentID] = s
	}
	return s
}

// leave drops the share of an agent that has nothing any more.
func (m *Machine) leave(agentID string) {
	if s := m.shares[agentID]; s != nil && s.anchors == 0 && s.marks.len() == 0 && s.sessions.len() == 0 && s.reaches.len() == 0 && s.hosts.len() == 0 {
		delete(m.shares, agentID)
	}
}

// fullest is the agent that takes most; of equals the first by its id.
func (m *Machine) fullest(takes func(*share) int) (agentID string) {
	most := -1
	for id, s := range m.shares {
		if n := takes(s); n > most || n == most && id < agentID {
			agentID, most = id, n
		}
	}
	return agentID
}

// evict keeps the bounds. Of the agent that takes most, trees of which nothing is decided
// go first, then the alert that has not grown for longest: it is told as it stands, and
// what comes for it later is a new episode.
func (m *Machine) evict() {
	bytes := func(s *share) int { return s.bytes }
	for m.bytes > m.limits.Bytes {
		m.relieve(m.fullest(bytes), bytes, func() bool { return m.bytes <= m.limits.Bytes })
	}
	anchors := func(s *share) int { return s.anchors }
	for m.waiting.len()+m.raised.len() > m.limits.Anchors {
		m.relieve(m.fullest(anchors), anchors, func() bool { return m.waiting.len()+m.raised.len() <= m.limits.Anchors })
	}
	for m.marked > m.limits.Marks {
		m.dropMark(m.fullest(func(s *share) int { return s.marks.len() }))
	}
	for id := range m.agents.all() {
		if m.agents.len() <= m.limits.Agents {
			break
		}
		m.agents.remove(id)
		m.change(rowAgent, id)
	}
}

// relieve closes anchors of an agent until there is room again, or it takes but half.
func (m *Machine) relieve(agentID string, takes func(*share) int, enough func() bool) {
	s := m.shares[agentID]
	half := takes(s) / 2
	for _, anchors := range []recency[string, *anchor]{m.waiting, m.raised} {
		for _, a := range anchors.all() {
			if enough() || takes(s) <= half {
				return
			}
			if a.Agent == agentID {
				m.stats.Evicted++
				m.close(a)
			}
		}
	}
}

// dropMark forgets the mark of an agent that was touched longest ago.
func (m *Machine) dropMark(agentID string) {
	for key := range m.shares[agentID].marks.all() {
		m.forgetMark(key)
		return
	}
}

func (m *Machine) forgetMark(key markKey) {
	m.shares[key.Agent].marks.remove(key)
	m.marked--
	m.moved[key] = true
	m.leave(key.Agent)
}
