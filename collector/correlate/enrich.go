package correlate

import (
	"cmp"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	alertv1 "github.com/seawall-security/seawall/proto/alert/v1"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

// Bounds of what an alert says of who came in.
const (
	maxEntries  = 16
	maxRequests = 32
)

// Roles of requests, as alert.proto lists them.
const (
	rolePodCreated = "pod-created"
	rolePodChanged = "pod-changed"
	roleRule       = "rule"
)

// belongs notes that a fact of the alert is of a session.
func (m *Machine) belongs(a *anchor, key sessionKey) {
	if key.ID == "" || slices.Contains(a.Sessions, key) || len(a.Sessions) == maxEntries {
		return
	}
	a.Sessions = append(a.Sessions, key)
	m.touched[a.Key] = a
	if a.isRaised() {
		m.watch(a)
		m.enrich(a)
	}
}

// watch has the alert told what becomes known of its sessions and its pod.
func (m *Machine) watch(a *anchor) {
	for _, key := range a.Sessions {
		if m.concerned[key] == nil {
			m.concerned[key] = make(map[string]bool)
		}
		m.concerned[key][a.Key] = true
	}
	if key := a.pod(); key.Name != "" {
		m.pod(key).anchors[a.Key] = true
		in := namespaceKey{key.Cluster, key.Namespace}
		if m.alerted[in] == nil {
			m.alerted[in] = make(map[string]bool)
		}
		m.alerted[in][a.Key] = true
	}
}

func (m *Machine) unwatch(a *anchor) {
	for _, key := range a.Sessions {
		if delete(m.concerned[key], a.Key); len(m.concerned[key]) == 0 {
			delete(m.concerned, key)
		}
	}
	if key := a.pod(); m.pods[key] != nil {
		delete(m.pods[key].anchors, a.Key)
		m.leavePod(key)
		in := namespaceKey{key.Cluster, key.Namespace}
		if delete(m.alerted[in], a.Key); len(m.alerted[in]) == 0 {
			delete(m.alerted, in)
		}
	}
}

// pod is the pod of the alert's asset; without a name: it has none.
func (a *anchor) pod() podKey {
	p := a.Alert.GetAsset().GetContainer().GetPod()
	if p.GetName() == "" {
		return podKey{}
	}
	return podKey{cutID(a.Alert.Cluster), cutID(p.Namespace), cutName(p.Name)}
}

func (m *Machine) enrichSession(s *session) { m.enrichAll(m.concerned[s.Key]) }

func (m *Machine) enrichPod(key podKey) {
	if p := m.pods[key]; p != nil {
		m.enrichAll(p.anchors)
	}
}

// namespaceKey names a namespace of a cluster.
type namespaceKey struct{ Cluster, Name string }

// enrichNamespace looks at all alerts of a namespace again. There are far more pods than alerts.
func (m *Machine) enrichNamespace(cluster, namespace string) {
	m.enrichAll(m.alerted[namespaceKey{cluster, namespace}])
}

func (m *Machine) enrichAll(keys map[string]bool) {
	for _, key := range sortedKeys(keys) {
		if a := m.raised.get(key); a != nil {
			m.enrich(a)
		}
	}
}

// enrich says in an alert who came in and who made its pod, as far as it is known now.
// What was said before stays where it cannot be known any more.
func (m *Machine) enrich(a *anchor) {
	entries := make(map[string]*alertv1.Entry)
	for _, e := range a.Alert.Entries {
		entries[entryName(e)] = e
	}
	for _, key := range a.Sessions {
		s := m.sessions.get(key)
		if s == nil {
			continue
		}
		delete(entries, s.Key.ID) // it may turn out to be nobody's
		if e := s.entry(); e != nil {
			switch {
			case s.Past:
				e.Kind = entryNamespace
			case s.Foreign:
				e.Kind = entryRuntime
			}
			entries[entryName(e)] = e
		}
	}
	m.doors(a, entries)
	ordered := make([]*alertv1.Entry, 0, len(entries))
	for _, e := range entries {
		ordered = append(ordered, e)
	}
	slices.SortFunc(ordered, func(x, y *alertv1.Entry) int {
		return cmp.Or(x.Time.AsTime().Compare(y.Time.AsTime()), cmp.Compare(entryName(x), entryName(y)))
	})
	ordered = ordered[:min(len(ordered), maxEntries)]
	requests := m.connected(a, m.created(a))
	if slices.EqualFunc(ordered, a.Alert.Entries, equal[*alertv1.Entry]) && slices.EqualFunc(requests, a.Alert.Requests, equal[*alertv1.Request]) {
		return
	}
	worth := a.worth(ordered, requests)
	a.Alert.Entries, a.Alert.Requests = ordered, requests
	m.later(a, worth)
}

// entryName tells entries of an alert apart.
func entryName(e *alertv1.Entry) string {
	if e.Kind == entryAttach || e.Kind == entryForward {
		return e.Kind + e.SessionId
	}
	return e.SessionId
}

// doors adds the ways in that began no session of their own. Of a terminal attached to the
// container's first program, all that happens below that program may come; of a forwarded
// port, connections that the pod takes from itself. Neither leaves a mark on what it does:
// the requests that were open then are candidates, even a single one.
func (m *Machine) doors(a *anchor, entries map[string]*alertv1.Entry) {
	p := m.pods[a.pod()]
	if p == nil {
		return
	}
	var own *session // the container's first program
	for _, key := range a.Sessions {
		if s := m.sessions.get(key); s != nil && s.Init && s.Pod == a.pod() {
			own = s
		}
	}
	for name, e := range entries { // what is remembered is found again, if it still holds
		if e.Kind == entryAttach || e.Kind == entryForward {
			e = proto.CloneOf(e)
			e.Requests = slices.DeleteFunc(e.Requests, func(r *alertv1.Request) bool { return p.remembers(r.AuditId, unixNano(r.Time)) })
			entries[name] = e
		}
	}
	for _, r := range p.requests {
		var open func(*alertv1.Evidence) bool
		name := &alertv1.Entry{Kind: r.Kind, Attribution: ambiguous}
		switch r.Kind {
		case entryAttach:
			if own == nil || r.Container != "" && r.Container != own.Container {
				continue
			}
			name.SessionId, name.Args, name.Tty = own.Key.ID, shownArgs(own.Args), own.TTY
			open = func(e *alertv1.Evidence) bool { return e.ProcessId != "" }
		case entryForward:
			open = func(e *alertv1.Evidence) bool {
				return e.Kind == sensorv1.Kind_KIND_NETWORK_ACCEPT && e.GetRemote().GetLoopback()
			}
		default:
			continue
		}
		if !slices.ContainsFunc(a.Alert.Evidence, func(e *alertv1.Evidence) bool {
			at := unixNano(e.Time)
			return open(e) && at >= r.From-int64(bestWay) && (r.End == 0 || at <= r.End+int64(bestWay))
		}) {
			continue
		}
		known := entries[entryName(name)]
		if known == nil {
			known = name
			entries[entryName(name)] = known
		}
		if len(known.Requests) == maxCandidates {
			known.RequestsOmitted = max(known.RequestsOmitted, 1)
			continue
		}
		known.Requests = append(known.Requests, r.Told.Request)
	}
	for name, e := range entries {
		if e.Kind == entryAttach || e.Kind == entryForward {
			if len(e.Requests) == 0 {
				delete(entries, name)
				continue
			}
			e.Time = e.Requests[0].Time
		}
	}
}

// created is the alert's requests, with those that its pod came of if that has power over
// its node.
func (m *Machine) created(a *anchor) []*alertv1.Request {
	requests := a.Alert.Requests
	if a.pod().Name == "" {
		return requests
	}
	o := m.spec(a.pod(), a.Alert.GetAsset().GetContainer().GetPod().GetUid())
	if o == nil || len(o.Pod.Powers) == 0 {
		return requests
	}
	var by []*alertv1.Request
	made, changed := m.origin(o)
	for _, r := range []*storedRequest{made, changed} {
		if r != nil {
			by = append(by, r.Request)
		}
	}
	if len(by) == 0 {
		return requests
	}
	tags := union(slices.Clone(a.Alert.Tags), prefixed("pod:", o.Pod.Powers))
	if len(tags) != len(a.Alert.Tags) {
		a.Alert.Tags = tags
	}
	return append(by, slices.DeleteFunc(slices.Clone(requests), func(r *alertv1.Request) bool {
		return r.Role == rolePodCreated || r.Role == rolePodChanged
	})...)
}

func prefixed(prefix string, words []string) (out []string) {
	for _, w := range words {
		out = append(out, prefix+w)
	}
	return out
}

// whoCame says who came in, for a summary; "": there is nothing to say.
func whoCame(al *alertv1.Alert) string {
	var texts []string
	for _, e := range al.Entries {
		if text := tellEntry(e); text != "" && !slices.Contains(texts, text) {
			texts = append(texts, text)
		}
	}
	return strings.Join(texts, " ")
}

func equal[M proto.Message](x, y M) bool { return proto.Equal(x, y) }
