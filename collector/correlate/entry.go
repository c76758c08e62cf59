package correlate

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/seawall-security/seawall/collector/alert"
	alertv1 "github.com/seawall-security/seawall/proto/alert/v1"
	auditv1 "github.com/seawall-security/seawall/proto/audit/v1"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

// Tags of alerts of entries.
const (
	tagUnattributed = "unattributed"
	tagExplained    = "explained"
	tagPastRuntime  = "past-runtime"
	tagSurplus      = "too-many" // more entries than requests, see surplus.go
)

// worthAlert reports whether an entry that nobody asked the API for is told by itself. A
// probe or a hook of the pod looks the same, but has no terminal and stands in the pod's
// specification: where that is not known (the pod is older than its cluster's audit log
// here), an entry without a terminal is only noted. Where the audit log is off nobody is
// told of entries that would not be in it either: who came how is not watched there.
func (m *Machine) worthAlert(s *session) bool {
	if source := m.audits[s.Cluster]; source == nil || !source.receives() {
		return false
	}
	return s.Attribution == unattributed && !s.Old && (s.Past || s.Foreign || s.TTY != "" || m.spec(s.Pod, s.UID) != nil)
}

// entryAlert raises the alert of an entry without a request, and takes it back where it
// turns out that there was one.
func (m *Machine) entryAlert(s *session) {
	identity := alert.Identity{
		Kind: alert.KindEntry, Cluster: s.Cluster, AnchorKind: alert.AnchorSession, AnchorKey: s.Key.ID, Fingerprint: alert.Hash("of", s.Key.Agent),
	}
	key := identity.String()
	switch told := cmp.Or(s.Told, key); {
	case told != key:
		m.explainRepeat(s)
	case m.raised.get(key) != nil:
		m.explain(m.raised.get(key), s.Attribution != unattributed)
	case s.Told != "" || !m.worthAlert(s):
	case m.isRepeat(s):
		m.raiseRepeat(s)
	default:
		m.raiseEntry(s, identity, key, tagUnattributed)
	}
}

// explain says in an alert whether there were requests for what it tells after all.
func (m *Machine) explain(a *anchor, explained bool) {
	severity, tag, other := high, tagUnattributed, tagExplained
	if explained {
		severity, tag, other = sensorv1.Severity_SEVERITY_INFO, tagExplained, tagUnattributed
	}
	if a.Alert.Severity == severity && slices.Contains(a.Alert.Tags, tag) {
		return
	}
	a.Alert.Severity = severity
	a.Alert.Tags = union(slices.DeleteFunc(a.Alert.Tags, func(t string) bool { return t == other }), []string{tag})
	m.later(a, 0)
}

// raiseEntry tells of an entry in the alert of an identity, and raises that if need be.
func (m *Machine) raiseEntry(s *session, identity alert.Identity, key string, tags ...string) {
	f := s.fact()
	a := m.anchor(identity, key, f)
	first := !a.isRaised()
	if first && !m.try(m.raise(a, f)) {
		return
	}
	s.Told = key
	m.movedSessions[s.Key] = true
	if first { // of repeats this one is shown
		m.belongs(a, s.Key)
	}
	process := &sensorv1.Process{Id: s.Root, Args: s.Args, ArgsTruncated: s.Truncated, Tty: s.TTY, Filename: s.Filename}
	m.take(a, s.cameIn(), f.uncertainty, alert.Shorten(process))
	a.First, a.Last = min(a.First, s.Begun), max(a.Last, s.Begun)
	a.Alert.Tags = union(slices.DeleteFunc(a.Alert.Tags, func(t string) bool { return t == tagExplained }), tags)
	if s.Past {
		a.Alert.Tags = union(a.Alert.Tags, []string{tagPastRuntime})
	}
	a.Alert.Tactics = union(a.Alert.Tactics, []string{"TA0002"})
	a.Alert.Techniques = union(a.Alert.Techniques, []string{"T1609"})
	m.worsen(a, high)
}

// fact is the session's beginning.
func (s *session) fact() *fact {
	return &fact{
		cluster: s.Cluster, agentID: s.Key.Agent, node: s.Node, at: time.Unix(0, s.Begun), uncertainty: time.Duration(s.Until - s.From),
		event: &sensorv1.Event{Container: s.container()},
	}
}

// cameIn is the fact as alerts tell it.
func (s *session) cameIn() *alertv1.Evidence {
	text := "a program came into the container"
	if len(s.Args) > 0 {
		text = alert.Cut(strings.Join(s.Args, " "), 400) + " came into the container"
	}
	return &alertv1.Evidence{
		EventId: s.Event, Time: timestamp(s.Begun), Role: roleEntry, Text: line(text), Severity: high, ProcessId: s.Root,
		Kind: sensorv1.Kind_KIND_PROCESS_EXEC,
	}
}

// entryTitle is what became of an entry that nobody seemed to have asked for.
func entryTitle(al *alertv1.Alert) string {
	if slices.Contains(al.Tags, tagSurplus) {
		if slices.Contains(al.Tags, tagExplained) {
			return "Entries whose requests were recorded late"
		}
		return "Entries past the Kubernetes API"
	}
	if len(al.Entries) > 0 && !slices.Contains(al.Tags, tagRepeated) {
		switch al.Entries[0].Attribution {
		case joined, ambiguous:
			return "Entry whose request was recorded late"
		case byKubelet:
			return "Probe of the pod's own"
		case unavailable:
			return "Entry of which records are missing"
		}
	}
	title := "Entry"
	if slices.Contains(al.Tags, tagRepeated) {
		title = "Repeated entry"
		if slices.Contains(al.Tags, tagExplained) {
			return title + " whose requests were recorded late"
		}
	}
	if slices.Contains(al.Tags, tagPastRuntime) {
		return title + " past the container runtime"
	}
	return title + " past the Kubernetes API"
}

// container is the session's as far as it is remembered.
func (s *session) container() *sensorv1.Container {
	c := &sensorv1.Container{Id: s.ContainerID, Name: s.Container, Image: s.Image}
	if s.Pod.Name != "" {
		c.Pod = &sensorv1.Pod{Name: s.Pod.Name, Namespace: s.Pod.Namespace, Uid: s.UID}
	}
	return c
}

// blind tells, once for each outage, that entries are not told apart: the audit log of the
// session's cluster is off, or has stopped.
func (m *Machine) blind(s *session) {
	source := m.audits[s.Pod.Cluster]
	if source == nil || source.Condition == 0 || source.Blind {
		return // nothing was told of it yet
	}
	m.audit(s.Pod.Cluster) // it changes
	source.Blind = true
	identity := alert.Identity{Kind: alert.KindGap, Cluster: s.Cluster, AnchorKind: alert.AnchorLog, AnchorKey: anchorAudit}
	f := &fact{cluster: s.Cluster, agentID: auditShare, at: m.now(), event: &sensorv1.Event{}}
	m.end(identity)
	a := m.anchor(identity, identity.String(), f)
	if !m.try(m.raise(a, f)) {
		return
	}
	a.Alert.Asset = nil
	title, text, severity := "No audit log says who enters containers", "no audit log of the Kubernetes API comes here", low
	if source.Newest != 0 {
		title, severity = "The audit log that says who enters containers has stopped", medium
		text = "the audit log of the Kubernetes API has brought nothing since " + time.Unix(0, source.Newest).UTC().Format(time.DateTime) + " UTC"
	}
	a.Alert.Title = title
	m.take(a, &alertv1.Evidence{
		EventId: "audit:" + alert.Hash(s.Cluster, fmt.Sprint(m.place.Now)), Time: timestamp(m.place.Now), Role: roleOther, Severity: severity,
		Text: line(text + ": entries into containers of cluster " + s.Cluster + " are not attributed, and raise no alerts"),
	}, 0)
	m.worsen(a, severity)
}

// sees ends the outage that was told of.
func (m *Machine) sees(source *auditState) error {
	identity := alert.Identity{Kind: alert.KindGap, Cluster: source.Cluster, AnchorKind: alert.AnchorLog, AnchorKey: anchorAudit}
	a := m.raised.get(identity.String())
	if a == nil || slices.Contains(a.Alert.Tags, tagOver) {
		return nil
	}
	m.touchAnchor(a)
	m.take(a, &alertv1.Evidence{
		EventId: "audit:" + alert.Hash(source.Cluster, fmt.Sprint(m.place.Now)), Time: timestamp(m.place.Now), Role: roleOther,
		Text: "the audit log comes again",
	}, 0)
	a.Alert.Tags = union(a.Alert.Tags, []string{tagOver})
	m.later(a, 0)
	return nil
}

// end closes what is open of an identity: what comes is another episode.
func (m *Machine) end(identity alert.Identity) {
	if a := m.raised.get(identity.String()); a != nil {
		m.close(a)
	}
}

const (
	anchorAudit = "audit-log"
	tagOver     = "over"
	// auditShare is whose share of the bounds alerts of no agent are of.
	auditShare = ""
)

// tellEntry says in a sentence who came in; "": nothing can be said.
func tellEntry(e *alertv1.Entry) string {
	by := map[string]string{
		entryExec: "by kubectl exec", entryAttach: "by kubectl attach", entryDebug: "by kubectl debug", entryForward: "through a forwarded port",
	}[e.Kind]
	command := ""
	if e.Kind == entryExec && len(e.Args) > 0 {
		command = " (" + alert.Cut(strings.Join(e.Args, " "), maxToldText) + ")"
	}
	switch {
	case e.Attribution == joined && len(e.Requests) == 1:
		return "Came in: " + tellWho(e.Requests[0]) + " " + by + command + "."
	case e.Attribution == ambiguous && len(e.Requests) > 0:
		var who []string
		for _, r := range e.Requests {
			if text := tellWho(r); !slices.Contains(who, text) {
				who = append(who, text)
			}
		}
		more := ""
		if len(who) > maxTold {
			more = fmt.Sprintf(" or one of %d more", len(who)-maxTold)
			who = who[:maxTold]
		}
		if e.MayBePast {
			return "May have come in: " + strings.Join(who, " or ") + more + " " + by + ", or somebody past the API" + command + "."
		}
		return "May have come in: " + strings.Join(who, " or ") + more + " " + by + command + "."
	case e.Kind == entryNamespace:
		return "Came in past the container runtime (nsenter or the like)."
	case e.Kind == entryRuntime:
		return "Came in through the container runtime, past the kubelet (ctr or the like)."
	case e.Attribution == unattributed: // said only where the audit log of the API comes here
		return "Came in past the Kubernetes API" + command + ": no request asked for it."
	}
	return ""
}

// tellWho names who sent a request, and from where.
func tellWho(r *alertv1.Request) string {
	name := func(u *auditv1.User) string { return alert.Cut(cmp.Or(u.GetName(), "nobody"), maxToldText) }
	who := name(r.User)
	if r.Impersonated != nil {
		who += " as " + name(r.Impersonated)
	}
	if p := r.TokenPod; p != nil {
		who += fmt.Sprintf(" (token of pod %s/%s)", p.Namespace, p.Name)
	}
	if r.SourceIp != "" {
		who += " from " + r.SourceIp
	}
	return who
}

// tellCreated says who made the alert's pod; "": it is not known, or has no power.
func tellCreated(al *alertv1.Alert) string {
	var made, changed *alertv1.Request
	for _, r := range al.Requests {
		switch r.Role {
		case rolePodCreated:
			made = r
		case rolePodChanged:
			changed = r
		}
	}
	of := cmp.Or(made, changed)
	if of == nil {
		return ""
	}
	var powers []string
	for _, tag := range al.Tags {
		if power, ok := strings.CutPrefix(tag, "pod:"); ok {
			powers = append(powers, power)
		}
	}
	what := "The pod"
	if o := of.Object; o.GetResource() != "pods" {
		what = "What runs it, " + o.GetResource() + " " + o.GetNamespace() + "/" + o.GetName() + ","
	}
	by := ""
	switch {
	case changed == nil:
		by = "made by " + tellWho(made)
	case made == nil:
		by = "last changed by " + tellWho(changed) + "; who made it is not known"
	case tellWho(made) == tellWho(changed):
		by = "made and last changed by " + tellWho(made)
	default:
		by = "made by " + tellWho(made) + ", and last changed by " + tellWho(changed)
	}
	return fmt.Sprintf("%s (%s) was %s.", what, strings.Join(powers, ", "), by)
}

// auditTitle is a rule's title, and whether it was but tried.
func auditTitle(al *alertv1.Alert) string {
	const tried = "Tried: "
	title := strings.TrimPrefix(al.Title, tried)
	if slices.Contains(al.Tags, tagAttempt) {
		title = tried + title
	}
	return title
}

// whoAsked says who sent the requests of an alert.
func whoAsked(al *alertv1.Alert) string {
	var who []string
	for _, r := range al.Requests {
		if text := tellWho(r); r.Role == roleRule && !slices.Contains(who, text) {
			who = append(who, text)
		}
	}
	more := ""
	if len(who) > maxTold {
		more = fmt.Sprintf(" and %d more", len(who)-maxTold)
		who = who[:maxTold]
	}
	if len(who) == 0 {
		return ""
	}
	return "Asked for by " + strings.Join(who, ", ") + more + "."
}

func asSentence(text string) string { return strings.TrimSuffix(text, ".") + "." }
