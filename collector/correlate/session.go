package correlate

import (
	"encoding/json"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/seawall-security/seawall/collector/alert"
	alertv1 "github.com/seawall-security/seawall/proto/alert/v1"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

// Attributions, by shorter names.
const (
	unsaid       = alertv1.Attribution_ATTRIBUTION_UNSPECIFIED
	waiting      = alertv1.Attribution_ATTRIBUTION_WAITING
	joined       = alertv1.Attribution_ATTRIBUTION_JOINED
	ambiguous    = alertv1.Attribution_ATTRIBUTION_AMBIGUOUS
	unattributed = alertv1.Attribution_ATTRIBUTION_UNATTRIBUTED
	unavailable  = alertv1.Attribution_ATTRIBUTION_UNAVAILABLE
	byKubelet    = alertv1.Attribution_ATTRIBUTION_KUBELET
)

const (
	// sessionKept is how long sessions are remembered after their last event: who came in
	// may do the decisive thing hours later. Those of which nothing is to be told (a
	// container's own, the kubelet's) only as long as a late record may be a rival's.
	sessionKept     = 24 * time.Hour
	sessionKeptIdle = recordKept
	// maxArgs and maxArgsBytes bound what is kept of a command; an agent sends 8 KiB.
	maxArgs      = 1024
	maxArgsBytes = 9 << 10
)

// sessionKey names a session of an agent: what one agent says is not another one's.
type sessionKey struct{ Agent, ID string }

func (k sessionKey) row() string { return alert.Hash("session", k.Agent, k.ID) }

// podKey names a pod for as long as nothing else has its name.
type podKey struct{ Cluster, Namespace, Name string }

// session is one way into a container, and what is known of who came.
type session struct {
	Key  sessionKey
	Pod  podKey // without a name: the container is of none
	UID  string // the pod's
	Node string
	// Container and ContainerID are the container that was entered.
	Container, ContainerID, Image string
	// Past says that it came past the runtime, Foreign that it came through it, but not by
	// the kubelet's door to it: no request to the API does.
	Past, Foreign bool
	Init          bool
	// Nameless says that its agent could not tell which container it is in, Apart that its
	// agent does not have the pod it names.
	Nameless bool `json:",omitempty"`
	Apart    bool `json:",omitempty"`
	Root     string
	// Filename is the program as it was called: of a script the script. Empty: not known.
	Filename  string
	Args      []string
	Truncated bool // the last of Args may be cut
	Escaped   bool // bytes that are no UTF-8 are written \xNN
	TTY       string
	// LocalMasks says that masks in Args can be of any text: they were made with another key.
	LocalMasks bool `json:",omitempty"`
	// Begun is the beginning as the agent has it, corrected; it was not before From, nor after
	// Until. All by the collector's clock.
	Begun, From, Until int64
	Event              string
	Cluster            string
	// Old says that what it may be joined with was forgotten before it was heard of.
	Old bool

	Attribution alertv1.Attribution
	Kind        string
	Requests    []storedRequest
	Omitted     uint64
	// Told is the anchor of the alert that tells of it as an entry; empty: none does.
	Told string `json:",omitempty"`
	// Explained says that an alert of several counts it as one that was asked for.
	Explained bool `json:",omitempty"`
	// Open says that it is joined, but something became known since that may undo it.
	Open bool `json:",omitempty"`
	// Over says that it is one of more entries than there are requests for; Set is the first
	// of those, which their alert goes by.
	Over bool       `json:",omitempty"`
	Set  sessionKey `json:",omitzero"`
	// Due is when it is looked at again, log time; 0: when something comes.
	Due int64
	stamp

	size int
}

// storedRequest is a request as a row has it.
type storedRequest struct{ *alertv1.Request }

// MarshalJSON implements json.Marshaler.
func (r storedRequest) MarshalJSON() ([]byte, error) { return json.Marshal(pack(r.Request)) }

// UnmarshalJSON implements json.Unmarshaler.
func (r *storedRequest) UnmarshalJSON(text []byte) error {
	var body []byte
	if err := json.Unmarshal(text, &body); err != nil {
		return err
	}
	r.Request = &alertv1.Request{}
	return proto.Unmarshal(body, r.Request)
}

// sighted takes in what an event says of the session it is of, and returns the session;
// nil: the event is of none.
func (m *Machine) sighted(f *fact) *session {
	told := f.event.GetSession()
	if told.GetId() == "" || len(told.Id) > maxID {
		return nil
	}
	key := sessionKey{f.agentID, told.Id}
	s := m.sessions.get(key)
	if s == nil {
		s = m.newSession(key, f, told)
		m.insertSession(s)
		m.arrived(s)
	} else {
		nameless := s.Nameless
		learnt, joins := s.learn(f, told)
		if nameless && !s.Nameless {
			m.nameNow(s)
		}
		switch {
		case joins:
			m.unindexSession(s)
			s.Apart = s.Pod.Name != "" && m.claim(s)
			m.indexSession(s)
			m.resizeSession(s)
			m.arrived(s)
		case learnt:
			m.resizeSession(s)
		case m.place.Now-s.stamp.At <= int64(sessionTouched):
			return s // seen a moment ago: it is not written for each event
		}
	}
	m.touch(&s.stamp)
	m.sessions.touch(key)
	m.movedSessions[key] = true
	return s
}

// sessionTouched is how often a session that goes on is written again, at most.
const sessionTouched = 10 * time.Minute

func (m *Machine) newSession(key sessionKey, f *fact, told *sensorv1.Session) *session {
	s := &session{
		Key: key, Cluster: cutID(f.cluster), Node: cutID(f.node), Init: told.Init, Root: cutID(told.RootId), ContainerID: cutID(told.ContainerId),
		TTY: cutID(told.Tty), Escaped: f.event.Escaped, Past: isPast(told), Foreign: isForeign(f.event), Event: f.eventID(),
	}
	s.Args, s.Truncated = cutArgs(told.Args, told.ArgsTruncated)
	s.LocalMasks = f.localMasks
	begun := told.Time
	if !known(begun) {
		begun = f.event.Time
	}
	at, _ := f.agent.Skew.correct(begun, m.now())
	s.Begun = at.UnixNano()
	from, until := f.agent.Skew.bounds(begun, m.now())
	s.From, s.Until = from.UnixNano(), until.UnixNano()
	s.Old = m.place.Now-s.Until > int64(recordKept) || f.agent.Horizon >= s.From
	s.Nameless = isNameless(f.event)
	s.learn(f, told)
	if s.Apart = s.Pod.Name != "" && m.claim(s); s.Apart {
		m.stats.Apart++
	}
	return s
}

// learn takes what was not known yet, and reports whether there was something, and of it
// something that the join goes by: a detection may come before the event that began the
// session.
func (s *session) learn(f *fact, told *sensorv1.Session) (learnt, joins bool) {
	if c := entered(f.event); c.GetPod().GetName() != "" && s.Pod.Name == "" && (s.ContainerID == "" || c.Id == told.ContainerId) {
		s.Pod = podKey{s.Cluster, cutID(c.Pod.Namespace), cutName(c.Pod.Name)}
		s.UID, s.Container, s.Image = cutID(c.Pod.Uid), cutName(c.Name), cutName(c.Image)
		s.Nameless = false
		learnt, joins = true, true
	} else if s.Image == "" && c.GetImage() != "" && c.Id == told.ContainerId && s.Pod.Name == "" {
		s.Container, s.Image = cutName(c.Name), cutName(c.Image)
		learnt, joins = true, s.Nameless
		s.Nameless = false
	}
	if begins(f.event) && s.Filename == "" && f.event.GetProcess().GetFilename() != "" {
		s.Filename, s.Escaped = cutName(f.event.Process.Filename), f.event.Escaped
		s.Event = f.eventID()
		learnt, joins = true, true
	}
	return learnt, joins
}

// begins reports whether with the event its session began.
func begins(e *sensorv1.Event) bool {
	return e.Entry || e.GetExec().GetEntered() && e.GetProcess().GetId() == e.GetSession().GetRootId()
}

// entered is the container that the event's session is in, as far as the event says: of
// one that came past the runtime the event's own container is where it came from.
func entered(e *sensorv1.Event) *sensorv1.Container {
	if e.EnteredContainer != nil {
		return e.EnteredContainer
	}
	return e.Container
}

// isNameless reports whether the agent could not tell which container was entered.
func isNameless(e *sensorv1.Event) bool {
	c := entered(e)
	return c.GetPod().GetName() == "" && c.GetName() == "" && c.GetImage() == "" && (c.GetRuntime() == "" || c.GetRuntime() == "unknown")
}

// isPast reports whether a session came past the runtime.
func isPast(s *sensorv1.Session) bool { return s.EnteredBy == "namespace" && !s.Init }

// isForeign reports whether a session was asked of containerd by another door than the
// kubelet's, which names what is run by 64 hexadecimal digits.
func isForeign(e *sensorv1.Event) bool {
	id := e.GetSession().GetExecId()
	return id != "" && entered(e).GetRuntimeNamespace() == "k8s.io" && (len(id) != 64 || strings.Trim(id, "0123456789abcdef") != "")
}

// cutArgs bounds a command. What it has to leave out, it says.
func cutArgs(args []string, truncated bool) ([]string, bool) {
	total := 0
	for i, arg := range args {
		if total += len(arg); total > maxArgsBytes || i == maxArgs {
			return slices.Clone(args[:i]), true
		}
	}
	return slices.Clone(args), truncated
}

func (s *session) measure() int {
	size := 512 + len(s.Image) + len(s.Container) + len(s.Pod.Name) + len(s.Filename)
	for _, arg := range s.Args {
		size += len(arg) + 16
	}
	for _, r := range s.Requests {
		size += proto.Size(r.Request)
	}
	return size
}

// entry is the session as alerts tell it; nil: it is the container's own, and nobody's way in.
func (s *session) entry() *alertv1.Entry {
	if s.Attribution == unsaid {
		return nil
	}
	e := &alertv1.Entry{
		SessionId: s.Key.ID, Kind: s.Kind, Attribution: s.Attribution, RequestsOmitted: s.Omitted,
		Time: timestamp(s.Begun), Tty: s.TTY, Args: shownArgs(s.Args), MayBePast: s.Over,
	}
	for _, r := range s.Requests {
		e.Requests = append(e.Requests, r.Request)
	}
	return e
}

// shownArgs is as much of a command as an alert tells.
func shownArgs(args []string) []string {
	const shown = 1 << 10
	total := 0
	for i, arg := range args {
		if total += len(arg) + 1; total > shown {
			return append(slices.Clone(args[:i]), alert.Cut(arg, max(shown-(total-len(arg)-1), len("…"))))
		}
	}
	return args
}

func (m *Machine) insertSession(s *session) {
	m.sessions.add(s.Key, s)
	m.share(s.Key.Agent).sessions.add(s.Key, s)
	m.indexSession(s)
	m.resizeSession(s)
}

// resizeSession books what the session now takes.
func (m *Machine) resizeSession(s *session) {
	size := s.measure()
	m.sessionBytes += size - s.size
	m.share(s.Key.Agent).sessionBytes += size - s.size
	s.size = size
	m.movedSessions[s.Key] = true
}

// forgetSession removes a session. What came in about that time can no longer be told
// apart from it: the agent's horizon remembers that.
func (m *Machine) forgetSession(s *session) {
	m.unindexSession(s)
	m.sessions.remove(s.Key)
	if s.fixed() {
		m.fixes(s, false)
	}
	share := m.share(s.Key.Agent)
	share.sessions.remove(s.Key)
	share.sessionBytes -= s.size
	m.sessionBytes -= s.size
	m.movedSessions[s.Key] = true
	if agent := m.agents.get(s.Key.Agent); agent != nil && (s.Pod.Name != "" && !s.Apart || s.Nameless) && s.Until > agent.Horizon {
		agent.Horizon = s.Until
		m.change(rowAgent, s.Key.Agent)
	}
	m.leave(s.Key.Agent)
}
