package correlate

import "slices"

// maxComponent bounds what is looked at together: sessions and requests that cannot be told
// of without each other. It is counted while they are found; beyond it nothing is proved.
const maxComponent = 128

// component is sessions and requests that may belong together, through each other.
type component struct {
	sessions []*session
	requests []*request
	places   map[*session]int
	edges    [][]int // of each request its sessions, by place
	// crowded says that it is too large: only a part of it is here.
	crowded bool
}

// answer is what is known of who began a session.
type answer struct {
	requests []*request // that may have; of one that is joined the one that did
	joined   bool
	// proved is what is known of one that is joined, or will be once the others are in time.
	proved *request
	// over says that requests are fewer than sessions that they may have begun, and the
	// session is one of those.
	over *surplus
}

// fixed reports whether the session is joined for good, as far as is known: it and its
// request are nobody else's.
func (s *session) fixed() bool { return s.Attribution == joined && !s.Open }

// fixes notes whose the session is, for as long as it is fixed.
func (m *Machine) fixes(s *session, is bool) {
	p := m.pods[s.Pod]
	if p == nil || len(s.Requests) != 1 {
		return
	}
	switch r := p.request(s.Requests[0]); {
	case r == nil:
	case is:
		r.session = s
	case r.session == s:
		r.session = nil
	}
}

// reopen takes back that a session is fixed: something became known that its join does not
// reckon with. It stays joined until it is looked at; for good if its request is forgotten,
// for then nobody can tell any better.
func (m *Machine) reopen(s *session) {
	if p := m.pods[s.Pod]; s.fixed() && p != nil && p.request(s.Requests[0]) != nil {
		m.fixes(s, false)
		s.Open = true
		m.look(s, m.place.Now)
	}
}

// reopenAround does so with what is joined with requests that may have begun this session.
func (m *Machine) reopenAround(s *session) {
	p := m.pods[s.Pod]
	if p == nil || s.Pod.Name == "" {
		return
	}
	for r := range m.requestsOf(p, s) {
		if r.session != nil && r.session != s {
			m.reopen(r.session)
		}
	}
}

// gather finds the component of a session. What was found to be crowded before, by this
// message, is so.
func (m *Machine) gather(p *pod, start *session, crowd map[*request]bool) *component {
	c := &component{sessions: []*session{start}, places: map[*session]int{start: 0}}
	asked := make(map[*request]bool)
	for i := 0; i < len(c.sessions) && !c.crowded; i++ {
		for r := range m.requestsOf(p, c.sessions[i]) {
			if r.session != nil || asked[r] {
				continue
			}
			asked[r] = true
			if c.requests = append(c.requests, r); crowd[r] || len(c.sessions)+len(c.requests) > maxComponent {
				c.crowded = true
				break
			}
			var edges []int
			for s := range m.sessionsOf(p, r) {
				if s.Attribution == joined && !s.Open {
					continue
				}
				if _, known := c.places[s]; !known {
					c.places[s] = len(c.sessions)
					c.sessions = append(c.sessions, s)
				}
				if edges = append(edges, c.places[s]); len(c.sessions)+len(c.requests) > maxComponent {
					break
				}
			}
			c.edges = append(c.edges, edges)
			if len(c.sessions)+len(c.requests) > maxComponent {
				c.crowded = true
				break
			}
		}
	}
	if c.crowded {
		for _, r := range c.requests {
			crowd[r] = true
		}
	}
	return c
}

// found are the sessions that a request of the component may have begun.
func (c *component) found(r int) (found []*session) {
	for _, place := range c.edges[r] {
		found = append(found, c.sessions[place])
	}
	return found
}

// disentangle answers for all sessions of a component. At a time, unless that is 0, more can
// be said: sessions may be on their way until then.
func (m *Machine) disentangle(p *pod, c *component) (answers []answer, again int64) {
	answers = make([]answer, len(c.sessions))
	t := &tangle{edges: c.edges, sessions: len(c.sessions)}
	open := make([]bool, len(c.sessions))
	asked := make([][]int, len(c.sessions))
	for i, r := range c.requests {
		settled := m.settled(p, r, c.found(i))
		if settled > m.place.Now && (again == 0 || settled < again) {
			again = settled
		}
		t.unsure = append(t.unsure, settled > m.place.Now || m.doubtful(p, r, c.found(i)))
		for _, place := range c.edges[i] {
			asked[place] = append(asked[place], i)
			open[place] = open[place] || settled > m.place.Now
		}
	}
	owner, ok := t.prove()
	m.effort += t.effort
	if !ok { // then what was joined around it may be wrong as well
		owner = nil
		for _, r := range c.requests {
			for s := range m.sessionsOf(p, r) {
				m.reopen(s)
			}
		}
	}
	proved := make([]bool, len(c.requests))
	for place, r := range owner {
		if r != none {
			proved[r] = true
		}
		if r != none && !belated(c.requests[r], c.sessions[place]) {
			answers[place].proved = c.requests[r]
			if answers[place].joined = !open[place]; !open[place] {
				answers[place].requests = []*request{c.requests[r]}
			}
		}
	}
	for place := range answers {
		if answers[place].joined {
			continue
		}
		for _, r := range asked[place] {
			if !proved[r] || owner[place] == r {
				answers[place].requests = append(answers[place].requests, c.requests[r])
			}
		}
		slices.SortFunc(answers[place].requests, requestOrder)
	}
	m.leftOver(c, answers)
	return answers, again
}

// belated reports whether the session began when its request's caller was long gone.
func belated(r *request, s *session) bool {
	return r.Kind == entryExec && r.End != 0 && s.From > r.End+int64(afterEnd)
}

// crowdedAnswer is for a session of a component that is too large.
func (m *Machine) crowdedAnswer(p *pod, s *session) answer {
	a := answer{}
	for r := range m.requestsOf(p, s) {
		if r.session == nil {
			a.requests = append(a.requests, r)
		}
		if len(a.requests) > maxComponent {
			break
		}
	}
	return a
}
