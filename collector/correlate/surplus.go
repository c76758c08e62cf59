package correlate

import (
	"fmt"
	"slices"
	"time"

	"github.com/seawall-security/seawall/collector/alert"
	alertv1 "github.com/seawall-security/seawall/proto/alert/v1"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

// surplus is entries that are more than the requests that any of them may be of: by
// their number, some came past the API, though of none it can be said which.
type surplus struct {
	sessions []*session
	requests int
}

// leftOver looks among what is ambiguous for entries that are too many. It counts only
// those of which all records have come.
func (m *Machine) leftOver(c *component, answers []answer) {
	t := &tangle{edges: make([][]int, len(c.sessions)), sessions: len(c.requests)} // the other way round
	places := make(map[*request]int, len(c.requests))
	for i, r := range c.requests {
		places[r] = i
	}
	all := &matching{tangle: t, of: make([]int, len(c.requests)), with: make([]int, len(c.sessions)), seen: make([]bool, len(c.requests))}
	for i := range all.of {
		all.of[i] = none
	}
	var complete, early []int
	for i, s := range c.sessions {
		all.with[i] = none
		if answers[i].joined || len(answers[i].requests) == 0 || !m.told(s) {
			continue
		}
		for _, r := range answers[i].requests {
			t.edges[i] = append(t.edges[i], places[r])
		}
		switch attribution, _, _ := m.unasked(s); attribution {
		case unattributed:
			complete = append(complete, i)
		case waiting:
			early = append(early, i)
		}
	}
	over := m.excess(all, complete)
	if over == nil {
		for _, i := range early {
			clear(all.seen)
			if !all.augment(i, none) { // it may be one too many, once it is time to say so
				_, _, again := m.unasked(c.sessions[i])
				m.look(c.sessions[i], again)
			}
		}
	}
	m.effort += t.effort
	if over == nil {
		return
	}
	found := &surplus{}
	requests := make(map[int]bool)
	for _, i := range over {
		found.sessions = append(found.sessions, c.sessions[i])
		answers[i].over = found
		for _, r := range t.edges[i] {
			requests[r] = true
		}
	}
	found.requests = len(requests)
	slices.SortFunc(found.sessions, sessionOrder)
	for _, i := range early {
		_, _, again := m.unasked(c.sessions[i])
		m.look(c.sessions[i], again)
	}
}

// crowdedSurplus answers for the first session of a component that is too large, and looks
// for entries that are too many among those that were found of it, or, if the session was
// told of as one such, among the ones it was told with: whatever the others are, these have
// no more requests than may have begun any of them.
func (m *Machine) crowdedSurplus(p *pod, c *component) answer {
	s, set := c.sessions[0], c.sessions[0].Set
	part, asked := &component{sessions: c.sessions}, make(map[*request]bool)
	if set.ID != "" {
		part.sessions = slices.DeleteFunc(slices.Clone(p.sessions), func(other *session) bool { return other != s && other.Set != set })
		part.sessions = part.sessions[:min(len(part.sessions), maxComponent)]
	}
	first := m.crowdedAnswer(p, s)
	answers := make([]answer, len(part.sessions))
	for i, other := range part.sessions {
		if set.ID == "" && max(len(first.requests), len(asked)) >= len(part.sessions) {
			return first // there are enough
		}
		answers[i] = m.crowdedAnswer(p, other)
		for _, r := range answers[i].requests {
			if !asked[r] {
				asked[r] = true
				part.requests = append(part.requests, r)
			}
		}
	}
	if m.leftOver(part, answers); set.ID != "" {
		m.tellSurplus(part, answers)
	} else {
		m.raiseOver(answers)
	}
	if at := slices.Index(part.sessions, s); at >= 0 {
		return answers[at]
	}
	return first
}

// told reports whether an entry without a request would be told.
func (m *Machine) told(s *session) bool {
	return !s.Old && (s.TTY != "" || m.spec(s.Pod, s.UID) != nil)
}

// excess are those of the sessions that share too few requests; nil: there are none. What
// cannot have a request of its own, and all that might give it theirs.
func (m *Machine) excess(all *matching, sessions []int) (over []int) {
	var without []int
	for _, i := range sessions {
		clear(all.seen)
		if !all.augment(i, none) {
			without = append(without, i)
		}
	}
	in := make(map[int]bool)
	for ; len(without) > 0; without = without[1:] {
		i := without[0]
		if in[i] {
			continue
		}
		in[i] = true
		over = append(over, i)
		for _, r := range all.edges[i] {
			if owner := all.of[r]; owner != none {
				without = append(without, owner)
			}
		}
	}
	return over
}

// tellSurplus raises or revises the alert of entries that are too many, and takes it back
// where they turn out not to be.
func (m *Machine) tellSurplus(c *component, answers []answer) {
	set := m.raiseOver(answers)
	for i, s := range c.sessions {
		if s.Set.ID != "" && s.Set != set && (answers[i].joined || len(answers[i].requests) > 0) {
			m.dissolve(s.Set)
			m.join(s, sessionKey{})
		}
	}
}

// raiseOver raises or revises the alert of the entries that are too many, if there are, and
// returns the set that it goes by.
func (m *Machine) raiseOver(answers []answer) (set sessionKey) {
	var over *surplus
	for i := range answers {
		if over = answers[i].over; over != nil {
			break
		}
	}
	if over != nil {
		set = over.sessions[0].Key
		for _, s := range over.sessions {
			if s.Set.ID != "" {
				set = s.Set
				break
			}
		}
		for _, s := range over.sessions {
			m.join(s, set)
		}
		m.raiseSurplus(set, over)
	}
	return set
}

// join makes a session one of a set.
func (m *Machine) join(s *session, set sessionKey) {
	if s.Set != set {
		s.Set = set
		m.movedSessions[s.Key] = true
	}
}

func surplusIdentity(cluster string, set sessionKey) alert.Identity {
	return alert.Identity{
		Kind: alert.KindEntry, Cluster: cluster, AnchorKind: alert.AnchorSession, AnchorKey: set.ID, Fingerprint: alert.Hash("too many", set.Agent),
	}
}

func (m *Machine) raiseSurplus(set sessionKey, over *surplus) {
	first := over.sessions[0]
	identity := surplusIdentity(first.Cluster, set)
	a := m.raised.get(identity.String())
	if a == nil {
		f := &fact{
			cluster: first.Cluster, agentID: set.Agent, node: first.Node, at: time.Unix(0, first.Begun), uncertainty: time.Duration(first.Until - first.From),
			event: &sensorv1.Event{Container: first.container()},
		}
		a = m.anchor(identity, identity.String(), f)
		if !m.try(m.raise(a, f)) {
			return
		}
		a.Alert.Tactics, a.Alert.Techniques = []string{"TA0002"}, []string{"T1609"}
	}
	for _, s := range over.sessions {
		m.belongs(a, s.Key)
	}
	id := "entries:" + alert.Hash(set.Agent, set.ID)
	if told := slices.IndexFunc(a.Alert.Evidence, func(e *alertv1.Evidence) bool { return e.EventId == id }); told < 0 {
		m.take(a, &alertv1.Evidence{
			EventId: id, Time: timestamp(first.Begun), Role: roleOther, Text: over.text(), Severity: high, Kind: sensorv1.Kind_KIND_PROCESS_EXEC,
		}, 0)
	} else if a.Alert.Evidence[told].Text != over.text() { // the one fact there is, as it is now
		a.Alert.Evidence[told].Text = over.text()
		m.touchAnchor(a)
		m.later(a, settle)
	}
	tags := union(slices.DeleteFunc(slices.Clone(a.Alert.Tags), func(t string) bool { return t == tagExplained }), []string{tagUnattributed, tagSurplus})
	if !slices.Equal(tags, a.Alert.Tags) {
		a.Alert.Tags = tags
		a.Alert.Severity = high
		m.decide(a)
	}
}

// text says how many there are.
func (o *surplus) text() string {
	n, requests := len(o.sessions), "1 request"
	if o.requests != 1 {
		requests = fmt.Sprintf("%d requests", o.requests)
	}
	return fmt.Sprintf("%d entries, %s: at least %d came past the Kubernetes API", n, requests, n-o.requests)
}

// dissolve takes the alert of a set back: there were requests after all.
func (m *Machine) dissolve(set sessionKey) {
	s := m.sessions.get(set)
	if s == nil {
		return
	}
	a := m.raised.get(surplusIdentity(s.Cluster, set).String())
	if a == nil {
		return
	}
	a.Alert.Severity = sensorv1.Severity_SEVERITY_INFO
	a.Alert.Tags = union(slices.DeleteFunc(a.Alert.Tags, func(t string) bool { return t == tagUnattributed }), []string{tagExplained})
	m.later(a, 0)
}
