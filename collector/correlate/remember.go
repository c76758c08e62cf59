package correlate

import (
	"cmp"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"
)

// What is remembered of ways into containers is bounded in bytes, by shares: of sessions
// those of agents, as of anchors; of requests those of who sent them; of objects those of
// namespaces, and of users within. Who floods one of them pays for it. What had to go
// costs joins, and never makes a wrong one: of a session the agent's horizon is kept, and
// of a request that its pod lost some.

// sweepEntries forgets what is over.
func (m *Machine) sweepEntries(before func(time.Duration) int64) {
	for _, s := range m.sessions.all() {
		if s.stamp.At >= before(sessionKeptIdle) {
			break
		}
		if s.Due == 0 && (s.stamp.At < before(sessionKept) || s.Attribution == unsaid || s.Attribution == byKubelet) {
			m.forgetSession(s)
		}
	}
	for _, r := range m.requests.all() {
		if r.At >= before(recordKept) {
			break
		}
		if open := r.End == 0 && r.Kind != entryExec; !open || r.At < before(sessionKept) {
			m.forgetRequest(r)
		}
	}
	m.sweepObjects(before)
	m.sweepLost(before)
	for _, h := range m.hosts.all() {
		if h.At >= before(forget) {
			break
		}
		m.forgetHost(h)
	}
	for cluster, a := range m.audits {
		if a.At < before(forget) {
			delete(m.audits, cluster)
			m.change(rowAudit, cluster)
		}
	}
}

// evictEntries keeps the bounds.
func (m *Machine) evictEntries() {
	for m.sessionBytes > m.limits.SessionBytes {
		agentID := m.fullest(func(s *share) int { return s.sessionBytes })
		for _, s := range m.shares[agentID].sessions.all() {
			m.stats.Forgotten++
			m.forgetSession(s)
			break
		}
	}
	m.evictRequests()
	m.evictObjects()
	for m.hosts.len() > m.limits.Hosts {
		agentID := m.fullest(func(s *share) int { return s.hosts.len() })
		for _, h := range m.shares[agentID].hosts.all() {
			m.forgetHost(h)
			break
		}
	}
}

// entryRows are the rows of what is remembered of entries that changed.
func (m *Machine) entryRows(rows []Row) []Row {
	for key := range m.movedSessions {
		row := Row{Kind: rowSession, Key: key.row()}
		if s := m.sessions.get(key); s != nil {
			row.Body = encode(s)
		}
		rows = append(rows, row)
	}
	for key := range m.movedRequests {
		row := Row{Kind: rowRequest, Key: key.row()}
		if r := m.requests.get(key); r != nil {
			row.Body = encode(r)
		}
		rows = append(rows, row)
	}
	for key := range m.movedObjects {
		row := Row{Kind: rowObject, Key: key.row()}
		if o := m.objects.get(key); o != nil {
			row.Body = encode(o)
		}
		rows = append(rows, row)
	}
	for key := range m.movedLost {
		row := Row{Kind: rowLost, Key: key.row()}
		if l := m.lost.get(key); l != nil {
			row.Body = encode(l)
		}
		rows = append(rows, row)
	}
	clear(m.movedLost)
	clear(m.movedSessions)
	clear(m.movedRequests)
	for key := range m.movedHosts {
		row := Row{Kind: rowHost, Key: key.row()}
		if h := m.hosts.get(key); h != nil {
			row.Body = encode(h)
		}
		rows = append(rows, row)
	}
	clear(m.movedObjects)
	clear(m.movedHosts)
	return rows
}

// restoreEntry takes a row of what is remembered of entries.
func (m *Machine) restoreEntry(row Row) error {
	switch row.Kind {
	case rowSession:
		s := &session{}
		if err := json.Unmarshal(row.Body, s); err != nil {
			return err
		}
		s.Requests = slices.DeleteFunc(s.Requests, func(r storedRequest) bool { return r.Request == nil })
		if s.Attribution == joined && len(s.Requests) == 0 {
			return errors.New("joined with nothing")
		}
		m.insertSession(s)
		if s.Due != 0 {
			m.look(s, s.Due)
		}
	case rowRequest:
		r := &request{}
		if err := json.Unmarshal(row.Body, r); err != nil {
			return err
		}
		if r.Told.Request == nil {
			return errors.New("of nobody")
		}
		m.insertRequest(r)
	case rowObject:
		o := &manifest{}
		if err := json.Unmarshal(row.Body, o); err != nil {
			return err
		}
		m.objects.add(o.Key, o)
		m.shelve(o)
	case rowLost:
		l := &lostRequests{}
		if err := json.Unmarshal(row.Body, l); err != nil {
			return err
		}
		m.lost.add(l.Pod, l)
	case rowHost:
		h := &host{}
		if err := json.Unmarshal(row.Body, h); err != nil {
			return err
		}
		m.insertHost(h)
	case rowAudit:
		a := &auditState{}
		if err := json.Unmarshal(row.Body, a); err != nil {
			return err
		}
		m.audits[a.Cluster] = a
	}
	return nil
}

// restoredEntries puts in order what came in any.
func (m *Machine) restoredEntries() {
	for _, s := range m.shares {
		s.sessions.sort(func(s *session) uint64 { return s.Serial })
		s.hosts.sort(func(h *host) uint64 { return h.Serial })
	}
	m.sessions.sort(func(s *session) uint64 { return s.Serial })
	m.hosts.sort(func(h *host) uint64 { return h.Serial })
	for _, s := range m.sessions.all() {
		if s.fixed() {
			m.fixes(s, true)
		}
	}
	m.requests.sort(func(r *request) uint64 { return r.Serial })
	m.requestPool.sort(func(r *request) uint64 { return r.Serial })
	m.lost.sort(func(l *lostRequests) uint64 { return l.Serial })
	object := func(o *manifest) uint64 { return o.Serial }
	m.objects.sort(object)
	m.seen.sort(object)
	m.gone.sort(object)
	m.idleObjects.sort(object)
	m.seenObjects.sort(object)
	clear(m.movedSessions) // they are as their rows have them
	clear(m.movedObjects)
}

func timestamp(at int64) *timestamppb.Timestamp { return timestamppb.New(time.Unix(0, at)) }

// unixNano is 0 for a time that is none, or cannot be counted with.
func unixNano(t *timestamppb.Timestamp) int64 {
	if !known(t) || !plausible(t) {
		return 0
	}
	return t.AsTime().UnixNano()
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }
