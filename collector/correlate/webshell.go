package correlate

import (
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/seawall-security/seawall/collector/alert"
	alertv1 "github.com/seawall-security/seawall/proto/alert/v1"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

// doorWindow is how long before something decisive a connection of the server can be the
// one it came through.
const doorWindow = 10 * time.Second

// web is where a fact belongs among web servers' trees.
type web struct {
	identity alert.Identity
	key      string
	below    bool // a program that the server started did it
	family   bool // ... which is known to be the intruder's
}

// web finds the tree of a web server that the fact belongs to. A process known to be an
// intruder's takes its children along, wherever the kernel's marks end.
func (m *Machine) web(f *fact) (w web, ok bool) {
	e := f.event
	if key, found := m.kin(f); found {
		a := m.raised.get(key)
		return web{a.Identity, key, true, true}, true
	}
	var root string
	switch {
	case e.TreeRootId != "" && (inTree(e, "web") || inTree(e, "web-server")):
		root, w.below = e.TreeRootId, !inTree(e, "web-server")
	case f.detection != nil && slices.Contains(f.detection.Tags, "web"):
		// A server that has no mark, such as a program of Java: the tree is its session's.
		if root = e.GetSession().GetRootId(); root == "" {
			root = e.GetProcess().GetId()
		}
	}
	if root == "" || len(root) > maxID {
		return web{}, false
	}
	w.identity = alert.Identity{
		Kind: alert.KindWebShell, Cluster: f.cluster, AnchorKind: alert.AnchorProcess, AnchorKey: root,
		Fingerprint: alert.Hash("within", f.agentID, f.container()),
	}
	w.key = w.identity.String()
	return w, true
}

// kin finds the anchor of a process that descends from one of the intruder's.
func (m *Machine) kin(f *fact) (key string, ok bool) {
	if len(m.family) == 0 {
		return "", false
	}
	p := f.event.GetProcess()
	for _, id := range []string{p.GetId(), p.GetParentId(), f.event.TreeRootId} {
		if key, ok := m.family[processKey{f.agentID, id}]; ok {
			return key, true
		}
	}
	for _, above := range f.event.Ancestors {
		if key, ok := m.family[processKey{f.agentID, above.GetId()}]; ok {
			return key, true
		}
	}
	return "", false
}

// webDetection takes a detection of a web server's tree in. Not alone: it is told by
// itself as well, for nothing decisive is known of the tree.
func (m *Machine) webDetection(f *fact, w web) (a *anchor, alone bool, err error) {
	means := meaningOf(f.detection)
	a = m.open(w.identity, w.key, f)
	if !a.isRaised() {
		if means.weight != decisive && (means.weight != decisiveBelow || !w.below) {
			return a, true, nil
		}
		if err := m.raise(a, f); err != nil {
			return nil, false, err
		}
		a.Alert.Tags = union(a.Alert.Tags, []string{"web"})
	}
	m.detected(a, f, means.role, means.severity)
	if w.below || means.role == roleShell {
		m.adopt(a, f.event.GetProcess().GetId())
		m.absorb(a, f.event.GetProcess().GetId())
	}
	m.context(a)
	for _, t := range together {
		if hasRoles(a, t.roles) {
			m.worsen(a, t.severity)
		}
	}
	return a, false, nil
}

// context takes over what waited, now that something decisive happened.
func (m *Machine) context(a *anchor) {
	var rest []*waitingFact
	for _, w := range a.Waiting {
		before := time.Duration(a.First - w.Evidence.Time.AsTime().UnixNano())
		switch {
		case w.Door && !throughDoor(a, w):
			rest = append(rest, w)
		case !w.Door && before > contextWindow: // of another story
		default:
			m.take(a, w.Evidence, w.Uncertainty, w.Process)
			m.belongs(a, w.Session)
			m.link(a, w.Link)
		}
	}
	a.Waiting = rest
}

// throughDoor reports whether a connection of the server can be one through which
// something decisive came, or which it made: shortly before, by a process above it.
func throughDoor(a *anchor, w *waitingFact) bool {
	return slices.ContainsFunc(a.Alert.Evidence, func(e *alertv1.Evidence) bool {
		ahead := e.Time.AsTime().Sub(w.Evidence.Time.AsTime())
		return e.Rule != "" && ahead >= 0 && ahead <= doorWindow
	}) && slices.ContainsFunc(a.Alert.Processes, func(p *sensorv1.Process) bool { return p.Id == w.Evidence.ProcessId })
}

// absorb takes over what other alerts told of a process, shortly before it turned out to
// be an intruder's: where a tree has no marks, the rule that knows it for a web server's
// need not come first.
func (m *Machine) absorb(a *anchor, process string) {
	near := 0
	for key, other := range m.share(a.Agent).raised.recent() {
		if near++; near > maxNear || other.At < m.place.Now-int64(contextKept) {
			break
		}
		if other.Identity.Kind == alert.KindWebShell {
			continue
		}
		for _, e := range other.Alert.Evidence {
			if e.ProcessId != process || process == "" {
				continue
			}
			e = proto.CloneOf(e)
			e.Revision = 0
			if m.take(a, e, other.Alert.GetTimeUncertainty().AsDuration(), other.Alert.Processes...) != alert.Known {
				a.Alert.Tactics = union(a.Alert.Tactics, other.Alert.Tactics)
				a.Alert.Techniques = union(a.Alert.Techniques, other.Alert.Techniques)
				m.worsen(a, meaningOf(&sensorv1.Detection{Rule: e.Rule, Severity: e.Severity}).severity)
				m.link(a, key)
			}
			for _, session := range other.Sessions {
				m.belongs(a, session)
			}
		}
	}
}

// link says in an alert that was raised before that it is part of this one.
func (m *Machine) link(a *anchor, key string) {
	part := m.raised.get(key)
	if key == "" || part == nil {
		return
	}
	before := len(part.Alert.Tags)
	if part.Alert.Tags = union(part.Alert.Tags, []string{"incident:" + a.Alert.Id}); len(part.Alert.Tags) > before {
		m.later(part, 0)
	}
}

// telemetry takes an event in that no rule speaks of.
func (m *Machine) telemetry(f *fact) error {
	role, door := roleOf(f.event)
	if role == "" {
		return nil
	}
	w, ok := m.web(f)
	if !ok || !w.below && !door {
		return nil
	}
	a := m.raised.get(w.key)
	if a == nil || f.at.UnixNano()-a.Last > int64(quiet) {
		if a == nil { // else: the episode is over, and nothing decides that another one begins
			a = m.anchor(w.identity, w.key, f)
			a.wait(&waitingFact{Evidence: f.evidence(role), Process: alert.Shorten(f.event.GetProcess()), Uncertainty: f.uncertainty, Door: door, Session: f.session})
		}
		return nil
	}
	first, last := time.Unix(0, a.First), time.Unix(0, a.Last)
	if door {
		waits := &waitingFact{Evidence: f.evidence(role), Process: alert.Shorten(f.event.GetProcess()), Uncertainty: f.uncertainty, Door: true, Session: f.session}
		m.touchAnchor(a)
		if throughDoor(a, waits) {
			m.take(a, waits.Evidence, waits.Uncertainty, waits.Process)
			m.belongs(a, f.session)
		} else {
			a.wait(waits)
		}
		return nil
	}
	if f.at.Before(first.Add(-contextWindow)) || !w.family && f.at.After(last.Add(contextWindow)) {
		return nil
	}
	m.touchAnchor(a)
	if w.family {
		m.adopt(a, f.event.GetProcess().GetId())
	}
	m.take(a, f.evidence(role), f.uncertainty, f.event.Process)
	m.belongs(a, f.session)
	return nil
}

func hasRoles(a *anchor, roles []string) bool {
	for _, role := range roles {
		if !slices.ContainsFunc(a.Alert.Evidence, hasRole(role)) {
			return false
		}
	}
	return true
}
