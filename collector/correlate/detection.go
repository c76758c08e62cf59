package correlate

import (
	"cmp"
	"slices"
	"time"

	"github.com/seawall-security/seawall/collector/alert"
	alertv1 "github.com/seawall-security/seawall/proto/alert/v1"
)

// detection finds the one alert that a detection belongs to: that of a web server's
// tree, that of its container's escape, or that of its repeats.
func (m *Machine) detection(f *fact) error {
	var waits *anchor
	if w, ok := m.web(f); ok {
		a, alone, err := m.webDetection(f, w)
		if err != nil || !alone {
			return err
		}
		waits = a
	}
	var own *anchor
	var err error
	if isEscape(f.detection) && f.container() != "" {
		own, err = m.escape(f)
	} else {
		own, err = m.repeats(f)
	}
	if err != nil || waits == nil {
		return err
	}
	waits.wait(&waitingFact{
		Evidence: f.evidence(meaningOf(f.detection).role), Process: alert.Shorten(f.event.GetProcess()), Uncertainty: f.uncertainty, Link: own.Key, Session: f.session,
	})
	return nil
}

// escape joins what the processes of one container try at its walls: knobs, namespaces,
// devices, sockets.
func (m *Machine) escape(f *fact) (*anchor, error) {
	identity := alert.Identity{
		Kind: alert.KindEscape, Cluster: f.cluster, AnchorKind: alert.AnchorContainer, AnchorKey: f.container(), Fingerprint: f.agentID,
	}
	a := m.open(identity, identity.String(), f)
	if !a.isRaised() {
		if err := m.raise(a, f); err != nil {
			return nil, err
		}
	}
	m.detected(a, f, roleEscape, f.detection.Severity)
	// One try may be a clumsy program. Two ways of getting out are somebody looking for one.
	if slices.ContainsFunc(a.Alert.Evidence, func(e *alertv1.Evidence) bool { return e.Rule != a.Alert.Evidence[0].Rule }) {
		m.worsen(a, critical)
	}
	return a, nil
}

// repeats folds detections of one rule, workload and executable into one alert, which is
// anchored where it began.
func (m *Machine) repeats(f *fact) (*anchor, error) {
	fingerprint := alert.Fingerprint(f.detection.Rule, f.workload(), f.event.GetProcess().GetExe().GetPath())
	key := alert.Hash("repeats", f.cluster, fingerprint)
	identity := alert.Identity{
		Kind: alert.KindDetection, Cluster: f.cluster,
		AnchorKind: alert.AnchorProcess, AnchorKey: f.event.GetProcess().GetId(), Fingerprint: fingerprint,
	}
	if id := f.event.GetSession().GetId(); id != "" {
		identity.AnchorKind, identity.AnchorKey = alert.AnchorSession, cutID(id)
	}
	a := m.open(identity, key, f)
	if !a.isRaised() {
		if err := m.raise(a, f); err != nil {
			return nil, err
		}
		a.Alert.Title = line(cmp.Or(f.detection.Title, f.detection.Rule))
	}
	m.detected(a, f, meaningOf(f.detection).role, f.detection.Severity)
	if a.spread(f) {
		m.later(a, spreading)
	}
	return a, nil
}

const (
	// maxNodes bounds the nodes that repeats are said to be on.
	maxNodes = 64
	// spreading collects the nodes that one mistake in a workload shows up on.
	spreading = time.Minute
)

// spread notes the node of a repeat, and reports whether it is another one: that is told
// soon, however many repeats of others were told before. A node that was taken over could
// else hide a true one behind many of its own.
func (a *anchor) spread(f *fact) bool {
	asset, nodes := a.Alert.GetAsset(), a.Alert.Nodes
	if len(nodes) == 0 && asset.GetAgentId() == f.agentID || len(nodes) >= maxNodes ||
		slices.ContainsFunc(nodes, func(n *alertv1.Node) bool { return n.AgentId == f.agentID }) {
		return false
	}
	if len(nodes) == 0 {
		nodes = append(nodes, &alertv1.Node{AgentId: asset.GetAgentId(), Name: asset.GetNode()})
	}
	a.Alert.Nodes = append(nodes, &alertv1.Node{AgentId: f.agentID, Name: cutID(f.node)})
	return true
}

func hasRole(role string) func(*alertv1.Evidence) bool {
	return func(e *alertv1.Evidence) bool { return e.Role == role }
}
