package correlate

import (
	"slices"
	"time"

	"github.com/seawall-security/seawall/collector/alert"
	alertv1 "github.com/seawall-security/seawall/proto/alert/v1"
)

const (
	// recordWait is how long a record is waited for, at least: webhooks keep events for up
	// to 30 s. Where they came later than that lately, it is half as long again.
	recordWait = 45 * time.Second
	// recordWaitMost bounds that: who is later is as good as away.
	recordWaitMost = 20 * time.Minute
	// lookAgain is when it is asked again whether the audit log has come so far.
	lookAgain = 10 * time.Second
	// maxCandidates are told of an ambiguous session.
	maxCandidates = 16
)

// decideSession notes what is known of who began a session, and tells alerts that are
// about it.
func (m *Machine) decideSession(s *session, a answer) {
	before, requests, omitted, over := s.Attribution, s.Requests, s.Omitted, s.Over
	m.fixes(s, false)
	s.Open, s.Over = false, a.over != nil
	switch {
	case a.joined:
		s.Attribution, s.Kind, s.Omitted = joined, a.requests[0].Kind, 0
		s.Requests = []storedRequest{a.requests[0].Told}
	case len(a.requests) > 0:
		s.Attribution, s.Kind = ambiguous, a.requests[0].Kind
		m.candidates(s, a.requests)
	case len(s.Requests) > 0 && !s.Apart && !m.remembersAny(s):
		s.Over = over // what was found out stays, though the requests are forgotten
	default:
		s.Requests, s.Omitted = nil, 0
		s.Attribution, s.Kind = m.withoutRequest(s)
	}
	m.fixes(s, s.fixed())
	m.resizeSession(s)
	if s.Attribution != before || s.Omitted != omitted || s.Over != over || !slices.EqualFunc(s.Requests, requests, func(x, y storedRequest) bool { return sameRequest(x.Request, y.Request) }) {
		m.enrichSession(s)
		m.entryAlert(s)
	}
}

// candidates notes all requests that may have begun the session, also those that are
// forgotten meanwhile.
func (m *Machine) candidates(s *session, requests []*request) {
	var all []storedRequest
	omitted := uint64(0)
	for _, r := range requests {
		if len(all) == maxCandidates {
			omitted++
			continue
		}
		all = append(all, r.Told)
	}
	p := m.pods[s.Pod]
	for _, old := range s.Requests {
		if len(all) < maxCandidates && !p.remembers(old.AuditId, old.GetTime().AsTime().UnixNano()) {
			all = append(all, old)
		}
	}
	s.Requests, s.Omitted = all, omitted
}

func (m *Machine) remembersAny(s *session) bool {
	p := m.pods[s.Pod]
	return slices.ContainsFunc(s.Requests, func(r storedRequest) bool {
		return p != nil && p.remembers(r.AuditId, r.GetTime().AsTime().UnixNano())
	})
}

// withoutRequest is what a session is that no known request can have begun. If it is too
// early to say, the session is looked at again.
func (m *Machine) withoutRequest(s *session) (alertv1.Attribution, string) {
	attribution, kind, again := m.unasked(s)
	if again != 0 {
		m.look(s, again)
	}
	if source := m.audits[s.Pod.Cluster]; attribution == unavailable && kind != "" && !s.Old && (source == nil || !source.receives()) {
		m.blind(s)
	}
	return attribution, kind
}

// unasked is the same without any consequence; again is when to ask again, 0: never.
func (m *Machine) unasked(s *session) (attribution alertv1.Attribution, kind string, again int64) {
	switch {
	case s.Apart:
		return unavailable, "", 0 // nobody knows whether it is there at all
	case s.Init && !m.isDebug(s):
		return unsaid, "", 0 // the pod's own
	case s.Past, s.Foreign && s.Pod.Name != "":
		return unattributed, "", 0 // no request leads there
	case s.Pod.Name == "":
		return unavailable, "", 0 // not of Kubernetes: there is no such log
	case m.isProbe(s):
		return byKubelet, "", 0
	}
	kind = entryExec
	if s.Init {
		kind = entryDebug
	}
	source := m.audits[s.Pod.Cluster]
	if s.Old || source == nil || !source.receives() {
		return unavailable, kind, 0
	}
	wait := source.wait()
	switch {
	case source.began() > s.From || source.missed(s.From, s.Until+int64(startup)) || m.hasLost(s):
		return unavailable, kind, 0
	case m.place.Now < s.Until+int64(wait):
		return waiting, kind, s.Until + int64(wait)
	case source.Received < s.Until+int64(wait) || source.Newest < s.Until || source.paused(s.From, s.Until+int64(startup), m.place.Now):
		// Nothing has come since, or of that time: it may be on its way as well.
		return waiting, kind, m.place.Now + int64(lookAgain)
	}
	return unattributed, kind, 0
}

func cutName(s string) string { return alert.Cut(s, maxName) }
