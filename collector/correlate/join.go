package correlate

import (
	"cmp"
	"slices"
	"time"

	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

// The join of requests (kubectl exec, as the API server's audit log has it) with sessions
// (what came into a container, as the node saw it).
//
// Nothing carries both names: neither does the kubelet tell the runtime the audit id, nor
// does anybody here change the request to smuggle one in. What both sides know is the
// container, the command, whether there is a terminal, and the time. A session can be a
// request's if these agree:
//
//   - pod and container, where the request names one;
//   - the command, word for word (see [sameCommand]);
//   - a terminal, or none;
//   - the session began after the request came, at most [startup] later, and not when the
//     request was long over ([afterEnd]); give or take how far the clocks may be apart
//     ([skew.bounds], [skew.auditBounds]).
//
// That alone would join a session with any alike: two people who open a shell within a
// second, or one who does and one whose record was lost. So a join is a proof. It assumes
//
//  1. a request that was granted began exactly one session, within the bounds above;
//  2. the session is known: once it must have begun ([Machine.awaited]) it is here, or its
//     agent books a gap, or the machine knows that it forgot some ([agentState.Horizon]). Of
//     requests of which that cannot be said nothing is assumed: their session may be missing;
//
// and not that records are complete, prompt or in order, nor that sessions have requests at
// all: probes, crictl and whoever stole the kubelet's key begin some without. A session is
// joined with a request if they are together in every way of giving each request a
// session of its own ([tangle.prove]). Records that come later only take ways away, or show
// that (1) does not hold; so what is proved stays, whatever is still on its way. What could
// be several requests' is ambiguous, and says of which.
//
// A record can be here before its session must be: then the session is ambiguous for now,
// with the request named, and joined when that time is over.
//
// Thus commands that differ are joined, and equal ones that are further apart than clocks
// and the start-up of the first, in any order of their records: the last request can only
// have begun the last session. If one of two records is missing, the other one is joined
// where it can only have begun one of the sessions, and else both are ambiguous.
//
// (1) fails for a request that is granted and begins nothing (the program does not exist,
// the caller is gone): harmless, unless something else began a session alike just then,
// and left no record.

const (
	// startup is how long after its request a session may begin: the kubelet waits as long
	// for the streams of an exec, and runtimes under load take seconds.
	startup = 30 * time.Second
	// afterEnd is how long after its request was over a session may begin: the runtime does
	// not look for who called it while it starts a program.
	afterEnd = 2 * time.Second
	// debugStartup is that of an ephemeral container, whose image may have to be pulled.
	debugStartup = 20 * time.Minute
	// widest is the widest that bounds of a session's beginning are, or those of a request.
	widest = skewDelay + 2*clockBound
	// arrivalHold is how long after what came the rest of its time is waited for; of an
	// agent that was away, catchUp.
	arrivalHold = time.Second
	catchUp     = 15 * time.Second
	// swiftLeast and swiftTimes: a node whose sessions took no time to begin lately, at
	// least swiftSeen of them, is taken to need no more than so much, or so many times the
	// slowest, for those on their way.
	swiftLeast = 2 * time.Second
	swiftTimes = 4
	swiftSeen  = 5
	// maxComponent bounds what is looked at together.
	maxComponent = 1024
)

// pod is what is remembered of the ways into a pod.
type pod struct {
	sessions []*session // by From
	requests []*request // by From
	anchors  map[string]bool
}

func (m *Machine) pod(key podKey) *pod {
	p := m.pods[key]
	if p == nil {
		p = &pod{anchors: make(map[string]bool)}
		m.pods[key] = p
	}
	return p
}

func (m *Machine) leavePod(key podKey) {
	if p := m.pods[key]; p != nil && len(p.sessions) == 0 && len(p.requests) == 0 && len(p.anchors) == 0 {
		delete(m.pods, key)
	}
}

func sessionOrder(x, y *session) int {
	return cmp.Or(cmp.Compare(x.From, y.From), cmp.Compare(x.Key.Agent, y.Key.Agent), cmp.Compare(x.Key.ID, y.Key.ID))
}

func requestOrder(x, y *request) int {
	return cmp.Or(cmp.Compare(x.From, y.From), cmp.Compare(x.Key.AuditID, y.Key.AuditID), cmp.Compare(x.Key.Time, y.Key.Time))
}

func (m *Machine) indexSession(s *session) {
	if s.Pod.Name != "" {
		p := m.pod(s.Pod)
		at, _ := slices.BinarySearchFunc(p.sessions, s, sessionOrder)
		p.sessions = slices.Insert(p.sessions, at, s)
	}
}

func (m *Machine) unindexSession(s *session) {
	p := m.pods[s.Pod]
	if s.Pod.Name == "" || p == nil {
		return
	}
	if at, found := slices.BinarySearchFunc(p.sessions, s, sessionOrder); found {
		p.sessions = slices.Delete(p.sessions, at, at+1)
	}
	m.leavePod(s.Pod)
}

func (m *Machine) indexRequest(r *request) {
	p := m.pod(r.Pod)
	at, _ := slices.BinarySearchFunc(p.requests, r, requestOrder)
	p.requests = slices.Insert(p.requests, at, r)
}

func (m *Machine) unindexRequest(r *request) {
	p := m.pods[r.Pod]
	if at, found := slices.BinarySearchFunc(p.requests, r, requestOrder); found {
		p.requests = slices.Delete(p.requests, at, at+1)
	}
	m.leavePod(r.Pod)
}

// latest is when the request may have begun a session at the latest.
func (r *request) latest() int64 {
	latest := r.Until + int64(startup)
	if r.Kind == entryDebug {
		latest = r.Until + int64(debugStartup)
	} else if r.End != 0 {
		latest = min(latest, r.End+int64(afterEnd))
	}
	return latest
}

// possible reports whether the request may have begun the session.
func possible(r *request, s *session) bool {
	if s.Past || s.Foreign || s.Until < r.From || s.From > r.latest() {
		return false
	}
	if r.Kind == entryDebug {
		return s.Init && slices.Contains(r.Added, s.Container)
	}
	return r.Kind == entryExec && !s.Init && r.TTY == (s.TTY != "") &&
		(r.Container == "" || s.Container == "" || r.Container == s.Container) && sameCommand(r, s)
}

// sessionsOf are the sessions that the request may have begun. One that is joined with a
// request that is forgotten is not among them.
func (m *Machine) sessionsOf(p *pod, r *request) (found []*session) {
	from, _ := slices.BinarySearchFunc(p.sessions, r.From-int64(widest), func(s *session, at int64) int { return cmp.Compare(s.From, at) })
	for _, s := range p.sessions[from:] {
		if s.From > r.latest() {
			break
		}
		if possible(r, s) && !m.settledLongAgo(p, s) {
			found = append(found, s)
		}
	}
	return found
}

func (m *Machine) settledLongAgo(p *pod, s *session) bool {
	return s.Attribution == joined && !p.remembers(s.Requests[0].AuditId, s.Requests[0].GetTime().AsTime().UnixNano())
}

// remembers reports whether a request that came at a time, as alerts say it, is there.
func (p *pod) remembers(auditID string, at int64) bool {
	from, _ := slices.BinarySearchFunc(p.requests, at-int64(widest), func(r *request, at int64) int { return cmp.Compare(r.From, at) })
	for _, r := range p.requests[from:] {
		if r.From > at {
			break
		}
		if r.Key.AuditID == auditID && r.Told.GetTime().AsTime().UnixNano() == at {
			return true
		}
	}
	return false
}

// requestsOf are the requests that may have begun the session.
func (p *pod) requestsOf(s *session) (found []*request) {
	reach := int64(startup)
	if s.Init {
		reach = int64(debugStartup)
	}
	from, _ := slices.BinarySearchFunc(p.requests, s.From-reach-int64(widest), func(r *request, at int64) int { return cmp.Compare(r.From, at) })
	for _, r := range p.requests[from:] {
		if r.From > s.Until {
			break
		}
		if possible(r, s) {
			found = append(found, r)
		}
	}
	return found
}

// unsure reports whether a session that the request began may be missing.
func (m *Machine) unsure(r *request, found []*session) bool {
	if len(r.Added) > 1 {
		return true // most of them were there before
	}
	from, until := r.From, r.latest()
	for _, s := range found {
		agent := m.agents.get(s.Key.Agent)
		if agent == nil || agent.Horizon >= from {
			return true
		}
		for _, g := range agent.Gaps {
			switch g.Class {
			case "entry", "process_exec", "all":
				if g.Until.AsTime().UnixNano() >= from && (g.Since == nil || g.Since.AsTime().UnixNano() <= until) {
					return true
				}
			}
		}
	}
	return false
}

// answer is what is known of who began a session.
type answer struct {
	requests []*request // that may have; of one that is joined the one that did
	joined   bool
}

// disentangle answers for a session, and for those that it cannot be told of without. At a
// time, unless that is 0, more can be said: sessions may be on their way until then.
func (m *Machine) disentangle(p *pod, start *session) (answers map[*session]answer, again int64) {
	places := map[*session]int{start: 0}
	sessions, requests := []*session{start}, []*request{}
	asked := make(map[*request]bool)
	t := &tangle{}
	answers = make(map[*session]answer)
	for i := 0; i < len(sessions); i++ {
		mine := p.requestsOf(sessions[i])
		answers[sessions[i]] = answer{requests: mine}
		for _, r := range mine {
			if asked[r] {
				continue
			}
			asked[r] = true
			requests = append(requests, r)
			found := m.sessionsOf(p, r)
			var edges []int
			for _, s := range found {
				if _, known := places[s]; !known {
					places[s] = len(sessions)
					sessions = append(sessions, s)
				}
				edges = append(edges, places[s])
			}
			t.edges = append(t.edges, edges)
			awaited := m.awaited(r, found)
			if awaited > m.place.Now && (again == 0 || awaited < again) {
				again = awaited
			}
			t.unsure = append(t.unsure, awaited > m.place.Now || m.unsure(r, found))
		}
		if len(sessions)+len(requests) > maxComponent {
			return map[*session]answer{start: {requests: p.requestsOf(start)}}, 0
		}
	}
	t.sessions = len(sessions)
	owner, ok := t.prove()
	if !ok {
		return answers, again
	}
	proved := make(map[*request]bool)
	for _, r := range owner {
		if r != none {
			proved[requests[r]] = true
		}
	}
	for i, s := range sessions {
		if owner[i] != none {
			answers[s] = answer{[]*request{requests[owner[i]]}, true}
			continue
		}
		a := answers[s]
		a.requests = slices.DeleteFunc(a.requests, func(r *request) bool { return proved[r] })
		answers[s] = a
	}
	return answers, again
}

// awaited is until when a session that the request began is waited for.
func (m *Machine) awaited(r *request, found []*session) int64 {
	if r.Kind == entryDebug {
		return 0 // a pod has but one container of a name
	}
	swift := int64(0)
	for _, s := range found {
		agent := m.agents.get(s.Key.Agent)
		if agent == nil {
			return r.latest() + int64(arrivalHold)
		}
		swift = max(swift, int64(agent.Slowest.bound(m.place.Now)))
	}
	return min(r.latest(), r.Until+swift) + int64(arrivalHold)
}

// slowest is how long it took at the most, of what was observed in the last minutes.
type slowest struct {
	Since        int64
	Most, Before time.Duration
	Seen, Had    int // now and before
}

func (s *slowest) observe(now int64, d time.Duration) {
	if s.over(now) {
		s.Before, s.Had = s.Most, s.Seen
		if now-s.Since > 2*int64(skewWindow) {
			s.Before, s.Had = 0, 0
		}
		s.Most, s.Seen, s.Since = 0, 0, now
	}
	s.Most = max(s.Most, d)
	s.Seen = min(s.Seen+1, swiftSeen)
}

func (s *slowest) over(now int64) bool { return now-s.Since > int64(skewWindow) }

// bound is how long it takes from now on, at the most.
func (s *slowest) bound(now int64) time.Duration {
	if s.Seen+s.Had < swiftSeen || now-s.Since > 2*int64(skewWindow) {
		return startup
	}
	return min(startup, max(swiftLeast, swiftTimes*max(s.Most, s.Before)))
}

// arrived has a session looked at that came, or of which more became known.
func (m *Machine) arrived(s *session) {
	if p, source := m.pods[s.Pod], m.audits[s.Pod.Cluster]; len(s.Requests) == 0 && (p == nil || len(p.requests) == 0) && (source == nil || !source.receives()) {
		s.Attribution, s.Kind = m.withoutRequest(s) // there is nothing to wait for
		m.entryAlert(s)
		return
	}
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

// asked has the sessions looked at that a request which came may have begun.
func (m *Machine) asked(r *request) {
	p := m.pods[r.Pod]
	switch r.Kind {
	case entryExec, entryDebug:
		for _, s := range m.sessionsOf(p, r) {
			m.look(s, m.place.Now+int64(arrivalHold))
		}
	default:
		m.enrichPod(r.Pod)
	}
}

// ended notes that a request was over by a time. Sessions that began later are not its own.
func (m *Machine) ended(r *request, at int64) {
	before := m.sessionsOf(m.pods[r.Pod], r)
	r.End = at
	if r.Kind == entryAttach || r.Kind == entryForward {
		m.enrichPod(r.Pod)
	}
	for _, s := range before {
		if r.Kind == entryExec && s.From > r.latest() {
			m.look(s, m.place.Now+int64(arrivalHold))
		}
	}
}

// lookAround decides on the sessions that are due.
func (m *Machine) lookAround() {
	if m.nextLook == 0 || m.place.Now < m.nextLook {
		return
	}
	var now []*session
	m.nextLook = 0
	for _, s := range m.looks {
		if s.Due <= m.place.Now {
			now = append(now, s)
		} else if m.nextLook == 0 || s.Due < m.nextLook {
			m.nextLook = s.Due
		}
	}
	slices.SortFunc(now, func(x, y *session) int { return cmp.Or(cmp.Compare(x.Due, y.Due), sessionOrder(x, y)) })
	for _, s := range now {
		delete(m.looks, s.Key)
		s.Due = 0
		m.movedSessions[s.Key] = true
	}
	done := make(map[*session]bool)
	for _, s := range now {
		p := m.pods[s.Pod]
		if done[s] || s.Pod.Name == "" || p == nil {
			if !done[s] {
				m.decideSession(s, answer{})
			}
			continue
		}
		answers, again := m.disentangle(p, s)
		if a := answers[s]; again != 0 && !a.joined && len(a.requests) > 0 {
			m.look(s, again)
		}
		order := make([]*session, 0, len(answers))
		for other := range answers {
			order = append(order, other)
		}
		slices.SortFunc(order, sessionOrder)
		for _, other := range order {
			// Of those that are not due, what waits for others to come waits on.
			if other == s || other.Due == 0 && !done[other] {
				done[other] = true
				m.decideSession(other, answers[other])
			}
		}
	}
}

// missed has what came in while an agent lost something looked at again.
func (m *Machine) missed(agentID string, g *sensorv1.Gap) {
	switch g.Class {
	case "entry", "process_exec", "all":
	default:
		return
	}
	near := 0
	for _, s := range m.share(agentID).sessions.recent() {
		if near++; near > maxNear {
			break
		}
		if s.Attribution == joined && s.Until+int64(startup) >= unixNano(g.Since) && s.From-int64(startup) <= unixNano(g.Until) {
			m.look(s, m.place.Now)
		}
	}
}
