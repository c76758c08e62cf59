package correlate

import (
	"cmp"
	"iter"
	"slices"
)

// pod is what is remembered of the ways into a pod.
type pod struct {
	sessions []*session // by From, but for those apart
	apart    []*session // told of by an agent that does not have the pod
	requests []*request // by From
	hosts    []*host    // by First
	anchors  map[string]bool
	// width is that of the widest bounds that a request ever had here.
	width int64
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
	if p := m.pods[key]; p != nil && len(p.sessions)+len(p.apart)+len(p.requests)+len(p.hosts)+len(p.anchors) == 0 {
		delete(m.pods, key)
	}
}

func sessionOrder(x, y *session) int {
	return cmp.Or(cmp.Compare(x.From, y.From), cmp.Compare(x.Key.Agent, y.Key.Agent), cmp.Compare(x.Key.ID, y.Key.ID))
}

func requestOrder(x, y *request) int {
	return cmp.Or(cmp.Compare(x.From, y.From), cmp.Compare(x.Key.AuditID, y.Key.AuditID), cmp.Compare(x.Key.Time, y.Key.Time))
}

// insert and remove keep a list in an order.
func insert[T any](list []T, what T, order func(x, y T) int) []T {
	at, _ := slices.BinarySearchFunc(list, what, order)
	return slices.Insert(list, at, what)
}

func remove[T any](list []T, what T, order func(x, y T) int) []T {
	if at, found := slices.BinarySearchFunc(list, what, order); found {
		return slices.Delete(list, at, at+1)
	}
	return list
}

// indexSession files a session under its pod, or, while that is not known, under its agent.
func (m *Machine) indexSession(s *session) {
	switch {
	case s.Nameless:
		share := m.share(s.Key.Agent)
		share.nameless = insert(share.nameless, s, sessionOrder)
	case s.Pod.Name == "":
	case s.Apart:
		p := m.pod(s.Pod)
		p.apart = insert(p.apart, s, sessionOrder)
	default:
		p := m.pod(s.Pod)
		p.sessions = insert(p.sessions, s, sessionOrder)
	}
}

// unindexSession takes it from wherever it was filed.
func (m *Machine) unindexSession(s *session) {
	if share := m.shares[s.Key.Agent]; share != nil {
		share.nameless = remove(share.nameless, s, sessionOrder)
	}
	if p := m.pods[s.Pod]; s.Pod.Name != "" && p != nil {
		p.sessions, p.apart = remove(p.sessions, s, sessionOrder), remove(p.apart, s, sessionOrder)
		m.leavePod(s.Pod)
	}
}

func (m *Machine) indexRequest(r *request) {
	p := m.pod(r.Pod)
	p.requests = insert(p.requests, r, requestOrder)
	p.width = max(p.width, r.Until-r.From)
}

func (m *Machine) unindexRequest(r *request) {
	p := m.pods[r.Pod]
	p.requests = remove(p.requests, r, requestOrder)
	m.leavePod(r.Pod)
}

// within are the sessions, in order, that may have begun between two times.
func within(sessions []*session, from, until int64) iter.Seq[*session] {
	at, _ := slices.BinarySearchFunc(sessions, from-int64(widest), func(s *session, at int64) int { return cmp.Compare(s.From, at) })
	return func(yield func(*session) bool) {
		for _, s := range sessions[at:] {
			if s.From > until || s.Until >= from && !yield(s) {
				return
			}
		}
	}
}

// sessionsOf are the sessions that the request may have begun.
func (m *Machine) sessionsOf(p *pod, r *request) iter.Seq[*session] {
	return func(yield func(*session) bool) {
		for s := range within(p.sessions, r.From, r.latest()) {
			if m.possible(r, s) && !yield(s) {
				return
			}
		}
	}
}

// requestsOf are the requests that may have begun the session.
func (m *Machine) requestsOf(p *pod, s *session) iter.Seq[*request] {
	reach := int64(startup)
	if s.Init {
		reach = int64(debugStartup)
	}
	from, _ := slices.BinarySearchFunc(p.requests, s.From-reach-p.width, func(r *request, at int64) int { return cmp.Compare(r.From, at) })
	return func(yield func(*request) bool) {
		for _, r := range p.requests[from:] {
			if r.From > s.Until || m.possible(r, s) && !yield(r) {
				return
			}
		}
	}
}

// request finds one that is remembered by what is told of it; nil: it is forgotten.
func (p *pod) request(told storedRequest) *request {
	at := told.GetTime().AsTime().UnixNano()
	from, _ := slices.BinarySearchFunc(p.requests, at-p.width, func(r *request, at int64) int { return cmp.Compare(r.From, at) })
	for _, r := range p.requests[from:] {
		if r.From > at {
			break
		}
		if r.Key.AuditID == told.AuditId && r.Told.GetTime().AsTime().UnixNano() == at {
			return r
		}
	}
	return nil
}

// remembers reports whether a request that came at a time, as alerts say it, is there.
func (p *pod) remembers(auditID string, at int64) bool {
	from, _ := slices.BinarySearchFunc(p.requests, at-p.width, func(r *request, at int64) int { return cmp.Compare(r.From, at) })
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
