package correlate

import (
	"cmp"
	"encoding/json"
	"slices"
	"time"

	"github.com/seawall-security/seawall/collector/alert"
	auditv1 "github.com/seawall-security/seawall/proto/audit/v1"
)

// Whose word counts for a pod: any agent can name any pod of its cluster. A pod, by its UID, is
// on one node; the agent there is the one that spoke of it first, unless the audit log
// says on which node it is. What another one says came into the pod is kept apart: it takes
// part in no join, and raises no alert of an entry. Node names are the agents' own word, so
// they count against an agent, not for one, and only where an agent has the node that the
// audit log names.

const (
	// hostSilent is how long an agent is not heard of before another one may have its node:
	// who enrols anew has another id. Then neither is kept apart.
	hostSilent = 10 * time.Minute
	// maxHosts are remembered of one agent, maxAudited of the audit log alone. A node has some
	// hundred pods.
	maxHosts   = 1024
	maxAudited = 1 << 16
)

type hostKey struct {
	Pod podKey
	UID string // "": the agent does not know
}

func (k hostKey) row() string {
	return alert.Hash("host", k.Pod.Cluster, k.Pod.Namespace, k.Pod.Name, k.UID)
}

// host is where a pod is.
type host struct {
	Key   hostKey
	Agent string // "": none spoke of it yet
	Node  string // by the audit log; "": it does not say
	// Bound says that the audit log told it as the pod got its node: so it does of others.
	Bound bool `json:",omitempty"`
	// Contested says that another agent spoke of it when the first one was silent.
	Contested bool
	// First is since when it is known. Born says that it was not there before.
	First int64
	Born  bool
	stamp
}

func hostOrder(x, y *host) int {
	return cmp.Or(cmp.Compare(x.First, y.First), cmp.Compare(x.Key.UID, y.Key.UID))
}

// claim notes that the session's agent has its pod, and reports whether it must not.
func (m *Machine) claim(s *session) (apart bool) {
	key := hostKey{s.Pod, s.UID}
	h := m.hosts.get(key)
	switch {
	case h == nil && m.another(s):
		return true
	case h == nil:
		h = m.addHost(&host{Key: key, Agent: s.Key.Agent, First: s.From, Born: s.Init})
	case h.Node != "" && h.Node != s.Node && m.staffed(s.Pod.Cluster, h.Node):
		return true
	case h.Agent == "":
		m.rehost(h, s.Key.Agent)
	case h.Agent == s.Key.Agent, h.Contested:
	case m.silent(h.Agent):
		m.rehost(h, s.Key.Agent)
		h.Contested, m.contested[s.Pod] = true, true
	case h.Node != "" && h.Node == s.Node:
		h.Contested, m.contested[s.Pod] = true, true // both say that they have it
	default:
		return true
	}
	if s.From < h.First {
		p := m.pod(s.Pod)
		p.hosts = remove(p.hosts, h, hostOrder)
		h.First = s.From
		p.hosts = insert(p.hosts, h, hostOrder)
		m.movedHosts[key] = true
	}
	if m.place.Now-h.At > int64(sessionTouched) {
		m.touchHost(h)
	}
	return false
}

// another reports whether the session's pod, by its name, is known to be another agent's:
// the audit log tells where pods come to be, lacks nothing since, and does not know of a newer
// one; or the session's agent does not say which one it means.
func (m *Machine) another(s *session) bool {
	p := m.pods[s.Pod]
	if p == nil || len(p.hosts) == 0 {
		return false
	}
	last := p.hosts[len(p.hosts)-1]
	if last.Contested || last.Agent == "" || last.Agent == s.Key.Agent || m.silent(last.Agent) {
		return false
	}
	source := m.audits[s.Pod.Cluster]
	return s.UID == "" || last.Bound && last.Node != s.Node && source != nil && source.receives() && !source.missed(last.First, m.place.Now)
}

// strange reports whether a pod is known not to be where the fact comes from, as claim
// has it. It notes nothing.
func (m *Machine) strange(pod podKey, uid string, f *fact) bool {
	h := m.hosts.get(hostKey{pod, uid})
	switch {
	case h == nil || h.Contested:
		return false
	case h.Node != "":
		return h.Node != cutID(f.node) && m.staffed(pod.Cluster, h.Node)
	}
	return h.Agent != f.agentID && !m.silent(h.Agent)
}

// silent reports whether an agent was not heard of lately.
func (m *Machine) silent(agentID string) bool {
	agent := m.agents.get(agentID)
	return agent == nil || m.place.Now-agent.At > int64(hostSilent)
}

// staffed reports whether there is an agent that calls its node so.
func (m *Machine) staffed(cluster, node string) bool {
	for _, agent := range m.agents.all() {
		if agent.Node == node && agent.Cluster == cluster {
			return true
		}
	}
	return false
}

// wireBinding is the part of a record that says on which node a pod is.
type wireBinding struct {
	Metadata struct {
		Name string `json:"name"`
		UID  string `json:"uid"`
	} `json:"metadata"`
	Spec struct {
		NodeName string `json:"nodeName"`
	} `json:"spec"`
	Target struct {
		Name string `json:"name"`
	} `json:"target"`
}

// learnHost takes in what an event says of where a pod is.
func (m *Machine) learnHost(cluster string, clock *skew, e *auditv1.Event) {
	o := e.GetObject()
	if o.GetResource() != "pods" || e.Stage != auditv1.Stage_STAGE_COMPLETE || !granted(e) || isDryRun(e) || !known(e.StageTime) || !plausible(e.StageTime) {
		return
	}
	var node, uid string
	var w wireBinding
	switch {
	case o.Subresource == "binding" && e.Verb == "create":
		if json.Unmarshal(e.Request, &w) != nil {
			return
		}
		node, uid = w.Target.Name, cmp.Or(w.Metadata.UID, o.Uid)
	case e.Verb == "update" || e.Verb == "patch" || e.Verb == "create":
		if len(e.Response) == 0 || json.Unmarshal(e.Response, &w) != nil {
			return
		}
		node, uid = w.Spec.NodeName, w.Metadata.UID
	}
	name := cmp.Or(o.Name, w.Metadata.Name)
	if node == "" || uid == "" || name == "" {
		return
	}
	key := hostKey{podKey{cutID(cluster), cutID(o.Namespace), cutName(name)}, cutID(uid)}
	h := m.hosts.get(key)
	if h == nil {
		from, _ := clock.auditBounds(e.StageTime.AsTime())
		h = m.addHost(&host{Key: key, First: from.UnixNano(), Born: o.Subresource == "binding"})
	}
	if bound := h.Bound || o.Subresource == "binding"; h.Node != cutName(node) || h.Bound != bound {
		h.Node, h.Bound = cutName(node), bound
		m.movedHosts[key] = true
		m.sortOut(key.Pod)
	}
}

// sortOut asks again whose word counts for a pod.
func (m *Machine) sortOut(key podKey) {
	p := m.pods[key]
	for _, s := range slices.Concat(p.sessions, p.apart) {
		apart := m.claim(s)
		if apart == s.Apart {
			continue
		}
		m.reopen(s)
		m.unindexSession(s)
		s.Apart, s.Old = apart, s.Old || m.place.Now-s.Until > int64(recordKept)
		m.indexSession(s)
		m.resizeSession(s)
		m.reopenAround(s)
		m.look(s, m.place.Now)
	}
}

func (m *Machine) addHost(h *host) *host {
	m.insertHost(h)
	m.touchHost(h)
	most := maxHosts
	if h.Agent == auditShare {
		most = maxAudited
	}
	if s := m.share(h.Agent); s.hosts.len() > most {
		for _, oldest := range s.hosts.all() {
			m.forgetHost(oldest)
			break
		}
	}
	return h
}

func (m *Machine) insertHost(h *host) {
	m.hosts.add(h.Key, h)
	m.share(h.Agent).hosts.add(h.Key, h)
	p := m.pod(h.Key.Pod)
	p.hosts = insert(p.hosts, h, hostOrder)
}

func (m *Machine) touchHost(h *host) {
	m.touch(&h.stamp)
	m.hosts.touch(h.Key)
	m.share(h.Agent).hosts.touch(h.Key)
	m.movedHosts[h.Key] = true
}

// rehost gives a pod to an agent.
func (m *Machine) rehost(h *host, agentID string) {
	m.share(h.Agent).hosts.remove(h.Key)
	m.leave(h.Agent)
	h.Agent = agentID
	m.share(agentID).hosts.add(h.Key, h)
	m.touchHost(h)
}

func (m *Machine) forgetHost(h *host) {
	m.hosts.remove(h.Key)
	m.share(h.Agent).hosts.remove(h.Key)
	m.leave(h.Agent)
	p := m.pods[h.Key.Pod]
	p.hosts = remove(p.hosts, h, hostOrder)
	m.leavePod(h.Key.Pod)
	m.movedHosts[h.Key] = true
}
