package correlate

import (
	"cmp"
	"slices"
	"time"

	collectorv1 "github.com/seawall-security/seawall/proto/collector/v1"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

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
	// Begun is since when records come, whatever was missing meanwhile; 0: since Since.
	Begun int64
	// Pauses are times of which nothing has come, though later events have.
	Pauses []auditPause
	Blind  bool // it was told of this outage
	stamp
}

// auditGap is a time of which records are missing.
type auditGap struct {
	ID           string
	Since, Until int64
}

// auditPause is a time of which no event has come, and when that was noticed.
type auditPause struct{ Since, Until, Seen int64 }

const (
	// longPause between events is longer than an API server is ever silent: what lies in it may
	// have been lost, or come later.
	longPause = time.Minute
	// pauseHold is how long after that it is told as a gap if it is one: the webhook of an
	// API server is waited for three minutes, and states are told every minute.
	pauseHold = 4*time.Minute + 15*time.Second
	maxPauses = 32
)

// maxAuditGaps are remembered of a cluster.
const maxAuditGaps = 256

func (a *auditState) receives() bool {
	return a.Condition == collectorv1.AuditCondition_AUDIT_CONDITION_RECEIVING
}

// wait is how long a record is waited for before it is said that there is none.
func (a *auditState) wait() time.Duration {
	return min(max(recordWait, a.Delay+a.Delay/2), recordWaitMost)
}

// began is since when records come.
func (a *auditState) began() int64 { return cmp.Or(a.Begun, a.Since) }

// apart is how far a time of an API server's may be from the collector's clock.
func (a *auditState) apart() int64 {
	least, _ := a.Skew.least()
	return int64(clockBound) + max(0, -int64(least))
}

// missed reports whether a record of a time may be missing.
func (a *auditState) missed(from, until int64) bool {
	apart := a.apart() // gaps are by the API server's clock
	return slices.ContainsFunc(a.Gaps, func(g auditGap) bool { return g.Since-apart <= until && g.Until+apart >= from })
}

// paused reports whether nothing has come of a time, and whether that is a gap was not told yet.
func (a *auditState) paused(from, until, now int64) bool {
	apart := a.apart()
	return slices.ContainsFunc(a.Pauses, func(p auditPause) bool {
		return p.Since-apart <= until && p.Until+apart >= from && now < p.Seen+int64(pauseHold)
	})
}

// heard notes that events of a time came; they may fill a part of a pause.
func (a *auditState) heard(stages []int64, now int64) {
	slices.Sort(stages)
	for _, at := range stages {
		switch last := len(a.Pauses) - 1; {
		case at <= a.Newest:
			for i := last; i >= 0; i-- {
				if p := a.Pauses[i]; p.Since < at && at < p.Until {
					a.Pauses = slices.Replace(a.Pauses, i, i+1, slices.DeleteFunc([]auditPause{{p.Since, at, p.Seen}, {at, p.Until, p.Seen}},
						func(p auditPause) bool { return p.Until-p.Since <= int64(longPause) })...)
					break
				}
			}
			continue
		case a.Newest != 0 && at-a.Newest > int64(longPause):
			a.Pauses = append(a.Pauses, auditPause{a.Newest, at, now})
		}
		a.Newest = at
	}
	a.Pauses = slices.DeleteFunc(a.Pauses, func(p auditPause) bool { return now >= p.Seen+int64(pauseHold) })
	if n := len(a.Pauses) - maxPauses; n > 0 {
		a.Pauses[n].Since = a.Pauses[0].Since // one that says too much
		a.Pauses = slices.Delete(a.Pauses, 0, n)
	}
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
	before, was := a.receives(), a.Condition
	a.Condition, a.Delay = told.Condition, max(0, told.Delay.AsDuration())
	a.Since = min(unixNano(told.Since), m.place.Now)
	var concerns stretch
	for _, g := range told.Gaps {
		concerns = m.auditGap(a, g, concerns)
	}
	if a.receives() && !before {
		if was < collectorv1.AuditCondition_AUDIT_CONDITION_CONFIGURED || a.began() == 0 || a.Newest == 0 {
			a.Begun = a.Since
		}
		// What was missing meanwhile is told as a gap, or has come.
		concerns = concerns.with(a.Since-int64(recordKept), m.place.Now)
	}
	m.judgeAgain(a, concerns)
	if a.receives() && !before {
		a.Blind = false
		return m.sees(a)
	}
	return nil
}

// auditGap takes in a gap that is new, has changed or is filled, and widens a time by what it
// concerns.
func (m *Machine) auditGap(a *auditState, told *collectorv1.AuditGap, concerns stretch) stretch {
	id := cutID(told.Id)
	known := slices.IndexFunc(a.Gaps, func(g auditGap) bool { return g.ID == id })
	if known >= 0 {
		concerns = concerns.with(a.Gaps[known].Since, a.Gaps[known].Until)
		a.Gaps = slices.Delete(a.Gaps, known, known+1)
	}
	if told.Gap == nil {
		return concerns
	}
	gap := auditGap{ID: id, Since: unixNano(told.Gap.Since), Until: unixNano(told.Gap.Until)}
	if gap.Until == 0 {
		gap.Until = m.place.Now
	}
	concerns = concerns.with(gap.Since, gap.Until)
	if told.Filled {
		return concerns
	}
	if len(a.Gaps) == maxAuditGaps {
		// The two oldest become one: it says too much, never too little.
		a.Gaps[1].Since, a.Gaps[1].Until = min(a.Gaps[0].Since, a.Gaps[1].Since), max(a.Gaps[0].Until, a.Gaps[1].Until)
		a.Gaps = a.Gaps[1:]
	}
	a.Gaps = append(a.Gaps, gap)
	return concerns
}

// judgeAgain has sessions looked at that began in a time of which more became known of the
// audit log, both ways: what seemed to have no record may have lost it, and what may have
// lost it has none. Of older sessions than requests are remembered for it stays as it is.
func (m *Machine) judgeAgain(a *auditState, in stretch) {
	if in == (stretch{}) {
		return
	}
	apart := a.apart()
	oldest := m.place.Now - int64(recordKept)
	doubted := make(map[podKey]bool) // what was concluded of their nodes
	for _, s := range m.sessions.recent() {
		if s.stamp.At < max(in.from-apart, oldest)-int64(startup) {
			break // nor was it, and what was touched before it, there then
		}
		switch s.Attribution {
		case unattributed, unavailable, ambiguous:
			if s.Pod.Cluster == a.Cluster && s.Until >= oldest && s.From <= in.until+apart && s.Until+int64(startup) >= in.from-apart {
				m.look(s, m.place.Now)
			}
		}
		if s.Apart && s.Pod.Cluster == a.Cluster {
			doubted[s.Pod] = true
		}
	}
	for _, key := range sortedPods(doubted) {
		m.sortOut(key)
	}
}

// auditHole notes that records of a time were lost here. The id names the hole.
func (m *Machine) auditHole(cluster, id string, since, until int64) {
	a := m.audit(cluster)
	m.judgeAgain(a, m.auditGap(a, &collectorv1.AuditGap{
		Id: id, Gap: &sensorv1.Gap{Since: timestamp(since), Until: timestamp(until)},
	}, stretch{}))
}

// batch takes audit events in.
func (m *Machine) batch(b *collectorv1.AuditBatch) error {
	a := m.audit(b.Cluster)
	var least time.Duration
	seen := false
	m.stages = m.stages[:0]
	for _, e := range b.Events {
		if !known(e.StageTime) || !plausible(e.StageTime) {
			continue
		}
		difference := m.now().Sub(e.StageTime.AsTime())
		if !seen || difference < least {
			least, seen = difference, true
		}
		m.stages = append(m.stages, min(e.StageTime.AsTime().UnixNano(), m.place.Now))
	}
	if seen {
		a.heard(m.stages, m.place.Now)
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
		m.learnHost(b.Cluster, &a.Skew, e)
		m.learnObject(b.Cluster, e)
		if err := m.judge(b.Cluster, e); err != nil {
			return err
		}
	}
	return nil
}
