package correlate

import (
	"slices"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/seawall-security/seawall/collector/alert"
	alertv1 "github.com/seawall-security/seawall/proto/alert/v1"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

// Bounds of one anchor.
const (
	maxContext = 32  // facts that wait for something decisive
	maxDoors   = 8   // connections of the server that wait
	maxFamily  = 256 // processes known to be the intruder's
	maxTags    = 64
	maxName    = 512 // bytes of a name that came with a container too large
)

// anchor is what alerts are about, and the alert of its present episode as it stands.
// Nothing was raised yet while the alert has no id.
type anchor struct {
	Key      string // what its facts have in common
	Identity alert.Identity
	Agent    string // whose share it is of
	Alert    *alertv1.Alert
	// Waiting are facts that may become part of the alert.
	Waiting []*waitingFact
	// Family are processes known to be the intruder's.
	Family []string
	// Sessions are those that facts are of.
	Sessions []sessionKey `json:",omitempty"`
	// Explained counts entries that turned out to have been asked for.
	Explained uint64 `json:",omitempty"`
	// First and Last are the times of the first and the last detection that decided or joined.
	First, Last int64
	// Told is when the last revision was made, Due when the next is to be; log time.
	Told, Due int64
	stamp

	size    int
	decided time.Time // the first fact of this message that raised the alert or made it worse
}

// waitingFact is a fact before it is known whether it matters.
type waitingFact struct {
	Evidence    *alertv1.Evidence
	Process     *sensorv1.Process
	Uncertainty time.Duration
	Door        bool
	Link        string // anchor of the alert that was raised of it
	Session     sessionKey
}

func (a *anchor) isRaised() bool { return a.Alert.Id != "" }

func (a *anchor) measure() int {
	size := proto.Size(a.Alert) + 40*len(a.Family)
	for _, w := range a.Waiting {
		size += proto.Size(w.Evidence) + proto.Size(w.Process)
	}
	return size + 512
}

// anchor finds or makes the anchor of an identity, and touches it.
func (m *Machine) anchor(identity alert.Identity, key string, f *fact) *anchor {
	if a := m.known(key); a != nil {
		m.touchAnchor(a)
		return a
	}
	a := &anchor{Key: key, Identity: identity, Agent: f.agentID, Alert: &alertv1.Alert{}}
	m.waiting.add(key, a)
	m.share(a.Agent).anchors++
	m.touchAnchor(a)
	return a
}

// known is nil for an anchor that is not remembered.
func (m *Machine) known(key string) *anchor {
	if a := m.raised.get(key); a != nil {
		return a
	}
	return m.waiting.get(key)
}

func (m *Machine) touchAnchor(a *anchor) {
	m.touch(&a.stamp)
	m.waiting.touch(a.Key)
	m.raised.touch(a.Key)
	m.share(a.Agent).raised.touch(a.Key)
	m.touched[a.Key] = a
}

// open returns the anchor as it is for a fact: an episode that had been quiet by its time
// is closed, and another one begins.
func (m *Machine) open(identity alert.Identity, key string, f *fact) *anchor {
	if a := m.raised.get(key); a != nil && f.at.UnixNano()-a.Last > int64(quiet) {
		m.close(a)
	}
	return m.anchor(identity, key, f)
}

// raise begins the alert with what decided it. What waited is not taken over yet.
func (m *Machine) raise(a *anchor, f *fact) error {
	episode, err := m.episode(a.Identity)
	if err != nil {
		return err
	}
	a.Alert = &alertv1.Alert{
		Id:      a.Identity.ID(episode),
		Kind:    a.Identity.Kind,
		Cluster: a.Identity.Cluster,
		Anchor:  &alertv1.Anchor{Kind: a.Identity.AnchorKind, Key: a.Identity.AnchorKey, Episode: episode},
		Asset:   &alertv1.Asset{AgentId: f.agentID, Node: cutID(f.node), Container: slim(f.event.Container)},
	}
	a.First, a.Last = f.at.UnixNano(), f.at.UnixNano()
	m.waiting.remove(a.Key)
	m.raised.add(a.Key, a)
	m.share(a.Agent).raised.add(a.Key, a)
	m.stats.Raised++
	m.decide(a)
	m.watch(a)
	m.belongs(a, f.session)
	m.enrich(a)
	return nil
}

// episode is the next one of an identity. What an agent brings that was away for days can
// be several of them in one message: those are not stored yet.
func (m *Machine) episode(identity alert.Identity) (uint32, error) {
	last, err := m.past(identity)
	if err != nil {
		return 0, err
	}
	key := identity.String()
	last = max(last, m.begun[key]) + 1
	m.begun[key] = last
	return last, nil
}

// take makes a fact part of a raised alert.
func (m *Machine) take(a *anchor, evidence *alertv1.Evidence, uncertainty time.Duration, processes ...*sensorv1.Process) alert.Taken {
	before := a.span()
	taken := alert.AddEvidence(a.Alert, evidence)
	switch taken {
	case alert.Known:
		return taken
	case alert.Shown:
		m.later(a, growth(a))
	case alert.Counted:
		m.later(a, recount)
	}
	alert.AddProcesses(a.Alert, processes...)
	if t := evidence.Time; a.Alert.FirstTime == nil || t.AsTime().Before(a.Alert.FirstTime.AsTime()) {
		a.Alert.FirstTime = t
	}
	if t := evidence.Time; a.Alert.LastTime == nil || t.AsTime().After(a.Alert.LastTime.AsTime()) {
		a.Alert.LastTime = t
	}
	if uncertainty > a.Alert.GetTimeUncertainty().AsDuration() {
		a.Alert.TimeUncertainty = durationpb.New(uncertainty)
	}
	m.overlap(a, before)
	if p := m.pods[a.pod()]; p != nil && len(p.requests) > 0 {
		m.enrich(a) // the fact may have come through a door
	}
	return taken
}

// growth is how soon new evidence is told: repeats of a detection say little, and so does
// what comes to an alert that was revised again and again.
func growth(a *anchor) time.Duration {
	if a.Identity.Kind == alert.KindDetection {
		return recount
	}
	pace := settle
	for n := a.Alert.Revision; n >= manyRevisions && pace < recount; n-- {
		pace *= 2
	}
	return min(pace, recount)
}

// detected takes a detection into a raised alert, with what its rule adds.
func (m *Machine) detected(a *anchor, f *fact, role string, severity sensorv1.Severity) {
	if m.take(a, f.evidence(role), f.uncertainty, f.lineage()...) == alert.Known {
		return
	}
	m.belongs(a, f.session)
	a.First, a.Last = min(a.First, f.at.UnixNano()), max(a.Last, f.at.UnixNano())
	a.Alert.Tactics = union(a.Alert.Tactics, f.detection.Tactics)
	a.Alert.Techniques = union(a.Alert.Techniques, f.detection.Techniques)
	a.Alert.Tags = union(a.Alert.Tags, f.detection.Tags)
	m.worsen(a, severity)
}

// worsen raises the severity, which is told at once.
func (m *Machine) worsen(a *anchor, severity sensorv1.Severity) {
	if severity > a.Alert.Severity {
		a.Alert.Severity = severity
		m.decide(a)
	}
}

// decide has the alert told at once, because of the fact that is being taken in.
func (m *Machine) decide(a *anchor) {
	if a.decided.IsZero() {
		a.decided = m.fact
	}
	m.later(a, 0)
}

// revise makes a revision of the alert as it stands.
func (m *Machine) revise(a *anchor) {
	a.Alert.Revision++
	for _, e := range a.Alert.Evidence {
		if e.Revision == 0 {
			e.Revision = a.Alert.Revision
		}
	}
	a.Alert.StoredTime, a.Alert.DecidedTime = timestamppb.New(m.now()), nil
	if a.Alert.CreatedTime == nil {
		a.Alert.CreatedTime = a.Alert.StoredTime
	}
	if !a.decided.IsZero() {
		a.Alert.DecidedTime, a.decided = timestamppb.New(a.decided), time.Time{}
	}
	describe(a)
	a.Told, a.Due = m.place.Now, 0
	delete(m.due, a.Key)
	m.touched[a.Key] = a
	m.out = append(m.out, alert.Revision{Identity: a.Identity, Alert: a.Alert})
}

// close forgets an anchor. What of its alert was not told yet is told now.
func (m *Machine) close(a *anchor) {
	if a.Due != 0 {
		m.revise(a)
	}
	m.unwatch(a)
	m.bytes -= a.size
	m.waiting.remove(a.Key)
	m.raised.remove(a.Key)
	s := m.share(a.Agent)
	s.anchors--
	s.bytes -= a.size
	s.raised.remove(a.Key)
	m.leave(a.Agent)
	delete(m.touched, a.Key)
	for _, id := range a.Family {
		m.disown(a, id)
	}
	m.change(rowAnchor, a.Key)
}

// adopt makes a process one of the intruder's.
func (m *Machine) adopt(a *anchor, process string) {
	if process == "" || slices.Contains(a.Family, process) {
		return
	}
	if len(a.Family) == maxFamily {
		m.disown(a, a.Family[0])
		a.Family = a.Family[1:]
	}
	a.Family = append(a.Family, process)
	m.family[processKey{a.Alert.GetAsset().GetAgentId(), process}] = a.Key
}

func (m *Machine) disown(a *anchor, process string) {
	key := processKey{a.Alert.GetAsset().GetAgentId(), process}
	if m.family[key] == a.Key {
		delete(m.family, key)
	}
}

// wait keeps a fact in case it matters later: the latest ones of each sort.
func (a *anchor) wait(w *waitingFact) {
	limit, same := maxContext, 0
	if w.Door {
		limit = maxDoors
	}
	oldest := -1
	for i, other := range a.Waiting {
		if alert.SameFact(other.Evidence, w.Evidence) {
			return
		}
		if other.Door != w.Door {
			continue
		}
		if same++; oldest < 0 || other.Evidence.Time.AsTime().Before(a.Waiting[oldest].Evidence.Time.AsTime()) {
			oldest = i
		}
	}
	if same == limit {
		a.Waiting = slices.Delete(a.Waiting, oldest, oldest+1)
	}
	a.Waiting = append(a.Waiting, w)
}

// union is both without doubles, in order, bounded.
func union(words, more []string) []string {
	for _, word := range more {
		if at, found := slices.BinarySearch(words, word); !found && len(words) < maxTags && len(word) <= maxID {
			words = slices.Insert(words, at, word)
		}
	}
	return words
}

// maxContainerBytes bounds what an alert says of its container.
const maxContainerBytes = 16 << 10

// slim is the container without its labels if they are too much for an alert.
func slim(c *sensorv1.Container) *sensorv1.Container {
	if proto.Size(c) <= maxContainerBytes {
		return c
	}
	pod := c.GetPod()
	return &sensorv1.Container{
		Id: cutID(c.Id), Runtime: cutID(c.Runtime), RuntimeNamespace: cutID(c.RuntimeNamespace),
		Name: alert.Cut(c.Name, maxName), Image: alert.Cut(c.Image, maxName), ImageDigest: cutID(c.ImageDigest), CgroupId: c.CgroupId,
		Pod: &sensorv1.Pod{Name: alert.Cut(pod.GetName(), maxName), Namespace: alert.Cut(pod.GetNamespace(), maxName), Uid: cutID(pod.GetUid())},
	}
}

func cutID(s string) string { return alert.Cut(s, maxID) }
