package correlate

import (
	"cmp"
	"slices"
	"time"

	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

// What makes it doubtful that a session is known: its agent lost some, or the machine had to
// forget some, or told of one without saying in which pod; or nobody knows whose agent's it is.

const (
	// maxLosses are remembered of an agent; the two that are nearest to each other become
	// one, which says too much, never too little.
	maxLosses = 64
	// quietHold is how much longer a session is waited for whose agent was not heard of
	// meanwhile: it may be cut off, or about to start again; after that it is taken to have had
	// nothing to say. quietLook is how soon it is asked for again, at first.
	quietHold = 2 * time.Minute
	quietLook = 2 * time.Second
	// forgetLoss is when a loss concerns nothing any more that may still be joined.
	forgetLoss = 2*recordKept + debugStartup
)

// loss is a time, on the collector's clock, in which an agent may have lost sessions. Since
// is 0 where nobody knows since when.
type loss struct{ Since, Until int64 }

// lossBounds are those of a gap that an agent tells of, by its clock.
func (s *skew) lossBounds(g *sensorv1.Gap, now time.Time) (l loss) {
	_, until := s.bounds(g.Until, now)
	l.Until = until.UnixNano()
	if known(g.Since) && plausible(g.Since) {
		since, _ := s.bounds(g.Since, now)
		// What waits for its container's name is booked when it is given up.
		l.Since = max(min(since.UnixNano(), l.Until)-int64(penHold), 1)
	}
	return l
}

// lose books a gap that entries may be in. Other gaps, of which there are many more, are
// not kept here: nothing that is lost otherwise pushes these out.
func (m *Machine) lose(agentID string, agent *agentState, class string, l loss) {
	switch class {
	case "entry", "process_exec", "all":
	default:
		return
	}
	agent.book(l, m.place.Now)
	m.change(rowAgent, agentID)
	if known, also := m.doubted[agentID]; also {
		l = loss{min(known.Since, l.Since), max(known.Until, l.Until)}
	}
	m.doubted[agentID] = l
}

// doubtAll takes up what agents lost by what they told in this message.
func (m *Machine) doubtAll() {
	for agentID, l := range m.doubted {
		m.doubt(agentID, l)
	}
	clear(m.doubted)
}

// book keeps the agent's losses apart from each other and in order, and few.
func (a *agentState) book(l loss, now int64) {
	a.Losses = slices.DeleteFunc(a.Losses, func(old loss) bool { return old.Until < now-int64(forgetLoss) })
	for i := 0; i < len(a.Losses); {
		if old := a.Losses[i]; old.Since <= l.Until && l.Since <= old.Until {
			l = loss{min(old.Since, l.Since), max(old.Until, l.Until)}
			a.Losses = slices.Delete(a.Losses, i, i+1)
			continue
		}
		i++
	}
	a.Losses = insert(a.Losses, l, func(x, y loss) int { return cmp.Compare(x.Since, y.Since) })
	if len(a.Losses) <= maxLosses {
		return
	}
	nearest := 1
	for i := 2; i < len(a.Losses); i++ {
		if a.Losses[i].Since-a.Losses[i-1].Until < a.Losses[nearest].Since-a.Losses[nearest-1].Until {
			nearest = i
		}
	}
	a.Losses[nearest-1].Until = a.Losses[nearest].Until
	a.Losses = slices.Delete(a.Losses, nearest, nearest+1)
}

// lost reports whether the agent may have lost sessions between two times.
func (a *agentState) lost(from, until int64) bool {
	return a.Horizon >= from || slices.ContainsFunc(a.Losses, func(l loss) bool { return l.Until >= from && l.Since <= until })
}

// doubt has sessions of an agent looked at again that were joined with what may have begun
// others: it became known that some of a time are missing.
func (m *Machine) doubt(agentID string, l loss) {
	share := m.shares[agentID]
	if share == nil {
		return
	}
	for _, s := range share.sessions.recent() {
		if s.stamp.At+int64(startup) < l.Since {
			break // nothing was heard of it and those before it since
		}
		if s.Attribution == joined && s.Until+int64(startup) >= l.Since && s.From-int64(startup) <= l.Until {
			m.reopen(s)
		}
	}
}

// doubtful reports whether a session that the request began may be missing, or not be
// among those that were found.
func (m *Machine) doubtful(p *pod, r *request, found []*session) bool {
	if len(r.Added) > 1 {
		return true // most of them were there before
	}
	prompt, named := false, r.UID != ""
	for _, s := range found {
		prompt = prompt || !belated(r, s)
		named = named && s.UID != ""
	}
	if !prompt || r.Kind == entryDebug && !named {
		return true // the caller was gone before; or it may have been another pod's of that name
	}
	from, until := r.From, r.latest()
	agents, sure := p.agentsOf(r, found)
	if !sure {
		return true
	}
	if len(agents) > 0 && agents[0] == "" { // nobody knows where the pod was
		for id, agent := range m.agents.all() {
			if agent.Cluster == r.Pod.Cluster && m.misses(id, agent, r, from, until) {
				return true
			}
		}
	}
	return slices.ContainsFunc(agents, func(id string) bool {
		agent := m.agents.get(id)
		return id != "" && (agent == nil || m.misses(id, agent, r, from, until))
	})
}

// misses reports whether an agent may have lost the request's session, or told of it
// without saying where it is.
func (m *Machine) misses(agentID string, agent *agentState, r *request, from, until int64) bool {
	if agent.lost(from, until) {
		return true
	}
	share := m.shares[agentID]
	if share == nil {
		return false
	}
	for s := range within(share.nameless, from, until) {
		m.effort++
		if r.Kind == entryDebug && s.Init || r.Kind == entryExec && alike(r, s) {
			return true
		}
	}
	return false
}

// settled is from when on no session that the request began can be on its way any more; in
// the past: it is now. Until then it is to be asked again by that time.
func (m *Machine) settled(p *pod, r *request, found []*session) int64 {
	if r.Kind == entryDebug {
		return 0 // a pod has but one container of a name
	}
	at := r.latest() + int64(penHold+arrivalHold)
	if m.place.Now < at {
		return at
	}
	agents, _ := p.agentsOf(r, found)
	for _, id := range agents {
		if agent := m.agents.get(id); agent != nil && agent.Heard < at && m.place.Now < at+int64(quietHold) {
			return min(at+int64(quietHold), m.place.Now+max(int64(quietLook), (m.place.Now-at)/2))
		}
	}
	return at
}

// agentsOf are the agents that may know a session which the request began: that of the pod's
// node, if it is known, and those of the sessions that were found.
func (p *pod) agentsOf(r *request, found []*session) (agents []string, sure bool) {
	agents, sure = p.host(r, r.From, r.latest())
	for _, s := range found {
		if !slices.Contains(agents, s.Key.Agent) {
			agents = append(agents, s.Key.Agent)
		}
	}
	return agents, sure
}

// host is the agent that has the pod which the request is about, if that came between two
// times; "" first: it is not known. Not sure: it may be about another pod of that name.
func (p *pod) host(r *request, from, until int64) (agents []string, sure bool) {
	var before *host // that was known when the request came
	var meanwhile []*host
	for _, h := range p.hosts {
		switch {
		case r.UID != "" && h.Key.UID != "" && h.Key.UID != r.UID:
		case h.First <= from:
			before = h
		case h.First <= until:
			meanwhile = append(meanwhile, h)
		}
	}
	for _, h := range meanwhile {
		if before != nil && h.Key.UID != before.Key.UID || h.Key.UID != meanwhile[0].Key.UID || r.UID == "" && h.Born && h.First > r.Until {
			return nil, false
		}
	}
	if before == nil {
		return []string{""}, true
	}
	if before.Contested || before.Agent == "" {
		return []string{""}, true
	}
	return []string{before.Agent}, true
}

// nameNow has what was doubtful for want of a session's name looked at again: the session
// is in a pod of which that is known now.
func (m *Machine) nameNow(s *session) {
	for _, other := range m.share(s.Key.Agent).sessions.recent() {
		if other.stamp.At+int64(debugStartup) < s.From {
			break
		}
		near := time.Duration(other.From - s.From).Abs()
		if other.Attribution == ambiguous && near <= 2*startup+widest {
			m.look(other, m.place.Now+int64(arrivalHold))
		}
	}
}
