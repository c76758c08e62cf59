package correlate

import (
	"fmt"
	"slices"
	"time"

	"github.com/seawall-security/seawall/collector/alert"
	alertv1 "github.com/seawall-security/seawall/proto/alert/v1"
	collectorv1 "github.com/seawall-security/seawall/proto/collector/v1"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
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
	before, requests, omitted := s.Attribution, s.Requests, s.Omitted
	switch {
	case a.joined:
		s.Attribution, s.Kind, s.Omitted = joined, a.requests[0].Kind, 0
		s.Requests = []storedRequest{a.requests[0].Told}
		if agent := m.agents.get(s.Key.Agent); agent != nil && s.Kind == entryExec {
			agent.Slowest.observe(m.place.Now, time.Duration(max(s.Begun-a.requests[0].Told.GetTime().AsTime().UnixNano(), 0)))
			m.change(rowAgent, s.Key.Agent)
		}
	case len(a.requests) > 0:
		s.Attribution, s.Kind = ambiguous, a.requests[0].Kind
		m.candidates(s, a.requests)
	case len(s.Requests) > 0 && !m.remembersAny(s):
		// What was found out stays, though the requests are forgotten.
	default:
		s.Requests, s.Omitted = nil, 0
		s.Attribution, s.Kind = m.withoutRequest(s)
	}
	m.resizeSession(s)
	if s.Attribution != before || s.Omitted != omitted || !slices.EqualFunc(s.Requests, requests, func(x, y storedRequest) bool { return sameRequest(x.Request, y.Request) }) {
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

// withoutRequest is what a session is that no known request can have begun.
func (m *Machine) withoutRequest(s *session) (alertv1.Attribution, string) {
	switch {
	case s.Init && !m.isDebug(s):
		return unsaid, "" // the pod's own
	case s.Past, s.Foreign && s.Pod.Name != "":
		return unattributed, "" // no request leads there
	case s.Pod.Name == "":
		return unavailable, "" // not of Kubernetes: there is no such log
	case m.isProbe(s):
		return byKubelet, ""
	}
	kind := entryExec
	if s.Init {
		kind = entryDebug
	}
	if s.Old {
		return unavailable, kind
	}
	source := m.audits[s.Pod.Cluster]
	if source == nil || !source.receives() {
		m.blind(s)
		return unavailable, kind
	}
	wait := source.wait()
	switch {
	case source.Since > s.From || source.missed(s.From, s.Until+int64(startup)) || m.hasLost(s):
		return unavailable, kind
	case m.place.Now < s.Until+int64(wait):
		m.look(s, s.Until+int64(wait))
		return waiting, kind
	case source.Received < s.Until+int64(wait) || source.Newest < s.Until:
		// Nothing has come since: it may be on its way as well.
		m.look(s, m.place.Now+int64(lookAgain))
		return waiting, kind
	}
	return unattributed, kind
}

// auditState is what is known of a cluster's audit log.
type auditState struct {
	Cluster   string
	Condition collectorv1.AuditCondition
	Since     int64 // of the condition
	Skew      skew
	Delay     time.Duration // how late events came lately, by the collector's word
	// Newest is the latest stage time, not after the collector's clock; Received is when
	// something came last.
	Newest, Received int64
	Gaps             []auditGap
	Blind            bool // it was told of this outage
	stamp
}

// auditGap is a time of which records are missing.
type auditGap struct {
	ID           string
	Since, Until int64
}

// maxAuditGaps are remembered of a cluster.
const maxAuditGaps = 256

func (a *auditState) receives() bool {
	return a.Condition == collectorv1.AuditCondition_AUDIT_CONDITION_RECEIVING
}

// wait is how long a record is waited for before it is said that there is none.
func (a *auditState) wait() time.Duration {
	return min(max(recordWait, a.Delay+a.Delay/2), recordWaitMost)
}

// missed reports whether a record of a time may be missing.
func (a *auditState) missed(from, until int64) bool {
	const apart = int64(clockBound) // gaps are by the API server's clock
	return slices.ContainsFunc(a.Gaps, func(g auditGap) bool { return g.Since-apart <= until && g.Until+apart >= from })
}

// audit finds or makes the state of a cluster's audit log, and touches it.
func (m *Machine) audit(cluster string) *auditState {
	cluster = cutID(cluster)
	a := m.audits[cluster]
	if a == nil {
		a = &auditState{Cluster: cluster}
		m.audits[cluster] = a
	}
	m.touch(&a.stamp)
	m.change(rowAudit, cluster)
	return a
}

// auditHealth takes in how the audit log is.
func (m *Machine) auditHealth(told *collectorv1.AuditState) error {
	a := m.audit(told.Cluster)
	before := a.receives()
	a.Condition, a.Delay = told.Condition, max(0, told.Delay.AsDuration())
	a.Since = min(unixNano(told.Since), m.place.Now)
	for _, g := range told.Gaps {
		m.auditGap(a, g)
	}
	if a.receives() && !before {
		a.Blind = false
		return m.sees(a)
	}
	return nil
}

func (m *Machine) auditGap(a *auditState, told *collectorv1.AuditGap) {
	id := cutID(told.Id)
	a.Gaps = slices.DeleteFunc(a.Gaps, func(g auditGap) bool { return g.ID == id })
	if told.Filled || told.Gap == nil {
		return
	}
	if len(a.Gaps) == maxAuditGaps {
		// The two oldest become one: it says too much, never too little.
		a.Gaps[1].Since, a.Gaps[1].Until = min(a.Gaps[0].Since, a.Gaps[1].Since), max(a.Gaps[0].Until, a.Gaps[1].Until)
		a.Gaps = a.Gaps[1:]
	}
	gap := auditGap{ID: id, Since: unixNano(told.Gap.Since), Until: unixNano(told.Gap.Until)}
	if gap.Until == 0 {
		gap.Until = m.place.Now
	}
	a.Gaps = append(a.Gaps, gap)
}

// auditHole notes that records of a time were lost here.
func (m *Machine) auditHole(cluster string, since, until int64) {
	m.auditGap(m.audit(cluster), &collectorv1.AuditGap{
		Id: fmt.Sprint("log ", m.place.Position), Gap: &sensorv1.Gap{Since: timestamp(since), Until: timestamp(until)},
	})
}

// batch takes audit events in.
func (m *Machine) batch(b *collectorv1.AuditBatch) error {
	a := m.audit(b.Cluster)
	var least time.Duration
	seen := false
	for _, e := range b.Events {
		if !known(e.StageTime) || !plausible(e.StageTime) {
			continue
		}
		difference := m.now().Sub(e.StageTime.AsTime())
		if !seen || difference < least {
			least, seen = difference, true
		}
		a.Newest = max(a.Newest, min(e.StageTime.AsTime().UnixNano(), m.place.Now))
	}
	if seen {
		a.Skew.observe(m.now(), least)
		a.Received = m.place.Now
	}
	for _, e := range b.Events {
		m.stats.AuditEvents++
		if e.AuditId == "" || len(e.AuditId) > maxID {
			m.stats.Unknown++
			continue
		}
		if kind := wayIn(e); kind != "" {
			m.enters(kind, b.Cluster, &a.Skew, e)
		}
		m.learnObject(b.Cluster, e)
		if err := m.judge(b.Cluster, e); err != nil {
			return err
		}
	}
	return nil
}

func cutName(s string) string { return alert.Cut(s, maxName) }
