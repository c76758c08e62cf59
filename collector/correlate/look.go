package correlate

import (
	"cmp"
	"slices"
)

// When sessions are looked at: as they come, as requests and gaps come that concern them,
// and when a time is over that was waited for. What is due is looked at once for each
// message, each component of it once.

// arrived has a session looked at that came, or of which more became known.
func (m *Machine) arrived(s *session) {
	if p, source := m.pods[s.Pod], m.audits[s.Pod.Cluster]; len(s.Requests) == 0 && (p == nil || len(p.requests) == 0) && (source == nil || !source.receives()) {
		s.Attribution, s.Kind = m.withoutRequest(s) // there is nothing to wait for
		m.entryAlert(s)
		return
	}
	m.reopenAround(s)
	hold := arrivalHold
	if m.place.Now-s.Until > int64(catchUp) {
		hold = catchUp // the agent has been away: more may be on its way
	}
	m.look(s, m.place.Now+int64(hold))
	if s.Attribution == unsaid && !s.Init {
		s.Attribution, s.Kind = waiting, entryExec
	}
}

// look has a session looked at, unless it is to be sooner.
func (m *Machine) look(s *session, at int64) {
	if s.Due == 0 || at < s.Due {
		s.Due = at
	}
	m.looks[s.Key] = s
	if m.nextLook == 0 || s.Due < m.nextLook {
		m.nextLook = s.Due
	}
	m.movedSessions[s.Key] = true
}

// stretch is a span of time, by the collector's clock; the zero one is none.
type stretch struct{ from, until int64 }

func (s stretch) with(from, until int64) stretch {
	if s == (stretch{}) {
		return stretch{from, until}
	}
	return stretch{min(s.from, from), max(s.until, until)}
}

// asked has the sessions looked at that a request may have begun: it came, or more became
// known of it.
func (m *Machine) asked(r *request) {
	switch r.Kind {
	case entryExec, entryDebug:
		m.sought[r.Pod] = m.sought[r.Pod].with(r.From, r.latest())
		r.moved = m.place.Position
	default:
		m.enrichPod(r.Pod)
	}
}

// ended notes that a request was over by a time. Of sessions that began later it is only said
// that they may be its own.
func (m *Machine) ended(r *request, at int64) {
	r.End = at
	if r.session == nil || belated(r, r.session) {
		m.asked(r)
	}
}

// seek has the sessions looked at that requests of this message may have begun.
func (m *Machine) seek() {
	for key, in := range m.sought {
		p := m.pods[key]
		if p == nil {
			continue
		}
		for s := range within(p.sessions, in.from, in.until) {
			at := m.place.Now + int64(arrivalHold)
			if s.Due != 0 && s.Due <= at && !s.fixed() {
				continue
			}
			for r := range m.requestsOf(p, s) {
				if r.moved != m.place.Position || r.session == s {
					continue
				}
				if s.fixed() {
					m.reopen(s)
				} else {
					m.look(s, at)
				}
				break
			}
		}
	}
	clear(m.sought)
}

// lookAround decides on the sessions that are due.
func (m *Machine) lookAround() {
	for _, key := range sortedPods(m.contested) {
		m.sortOut(key) // others of that agent were kept apart
	}
	clear(m.contested)
	m.seek()
	m.doubtAll()
	now := due(m.looks, &m.nextLook, m.place.Now, func(s *session) int64 { return s.Due })
	if len(now) == 0 {
		return
	}
	slices.SortFunc(now, func(x, y *session) int { return cmp.Or(cmp.Compare(x.Due, y.Due), sessionOrder(x, y)) })
	for _, s := range now {
		delete(m.looks, s.Key)
		s.Due = 0
		m.movedSessions[s.Key] = true
	}
	done, crowd := make(map[*session]bool), make(map[*request]bool)
	for _, s := range now {
		if p := m.pods[s.Pod]; done[s] || s.fixed() {
			continue // it was answered with another one
		} else if s.Pod.Name == "" || p == nil || s.Apart {
			m.decideSession(s, answer{})
		} else {
			m.lookAt(p, s, done, crowd)
		}
	}
}

// lookAt decides on a session, and on those that are told of with it.
func (m *Machine) lookAt(p *pod, s *session, done map[*session]bool, crowd map[*request]bool) {
	c := m.gather(p, s, crowd)
	if c.crowded {
		done[s] = true
		m.decideSession(s, m.crowdedSurplus(p, c)) // the others are due by themselves, or were told so
		return
	}
	answers, again := m.disentangle(p, c)
	for i, other := range c.sessions {
		// Of those that are not due, what waits for others to come waits on.
		if done[other] || other != s && other.Due != 0 {
			continue
		}
		done[other] = true
		a := answers[i]
		if again != 0 && !a.joined && len(a.requests) > 0 {
			m.look(other, again)
			if other.Attribution == joined && a.proved != nil && a.proved == p.request(other.Requests[0]) {
				continue // it stays joined, unless what is on its way says otherwise
			}
		}
		m.decideSession(other, a)
	}
	m.tellSurplus(c, answers)
}
