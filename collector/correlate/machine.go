package correlate

import (
	"cmp"
	"slices"
	"time"

	"github.com/seawall-security/seawall/collector/alert"
	"github.com/seawall-security/seawall/internal/rule/auditrule"
	collectorv1 "github.com/seawall-security/seawall/proto/collector/v1"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

// Limits bound the machine's memory. The zero value stands for the defaults.
type Limits struct {
	// Anchors and Bytes bound what alerts are about: those that are open, and trees
	// that wait with their context. The bytes are those of the messages in it; what
	// they take in memory is about three times as much.
	Anchors int
	Bytes   int
	// Marks bounds high-water marks: agents × boots × lanes × shards they send to.
	Marks int
	// Agents bounds clocks and recent gaps of agents.
	Agents int
	// SessionBytes, RequestBytes and ObjectBytes bound who came into containers, the
	// requests that may have been theirs, and what is known of pods and what makes them.
	SessionBytes int
	RequestBytes int
	ObjectBytes  int
	// Hosts bounds the pods of which it is known where they are.
	Hosts int
}

// DefaultLimits are for a cluster of some thousand nodes.
var DefaultLimits = Limits{
	Anchors: 16384, Bytes: 128 << 20, Marks: 1 << 20, Agents: 16384, SessionBytes: 64 << 20, RequestBytes: 32 << 20, ObjectBytes: 64 << 20,
	Hosts: 1 << 18,
}

func (l Limits) orDefault() Limits {
	return Limits{
		Anchors: cmp.Or(l.Anchors, DefaultLimits.Anchors), Bytes: cmp.Or(l.Bytes, DefaultLimits.Bytes),
		Marks: cmp.Or(l.Marks, DefaultLimits.Marks), Agents: cmp.Or(l.Agents, DefaultLimits.Agents),
		SessionBytes: cmp.Or(l.SessionBytes, DefaultLimits.SessionBytes), RequestBytes: cmp.Or(l.RequestBytes, DefaultLimits.RequestBytes),
		ObjectBytes: cmp.Or(l.ObjectBytes, DefaultLimits.ObjectBytes), Hosts: cmp.Or(l.Hosts, DefaultLimits.Hosts),
	}
}

const (
	// quiet ends an episode: the next fact, by its own time, begins another one.
	quiet = 24 * time.Hour
	// late is how much later than that a fact of the episode may still arrive.
	late = 6 * time.Hour
	// contextWindow is how long before something decisive other facts are a part of
	// it, and how long after a detection whatever the tree does is.
	contextWindow = 10 * time.Minute
	// contextKept is how long, by the log, a tree that nothing was decided of is remembered.
	contextKept = 30 * time.Minute
	// forget is when marks and agents that are not heard of are forgotten. It is longer
	// than any spool lasts.
	forget = 30 * 24 * time.Hour
	// settle collects what an alert grows by, recount what only counts, into one revision.
	// That there is an alert, and that it became worse, is told at once.
	settle  = 2 * time.Second
	recount = 10 * time.Minute
	// manyRevisions of an alert came one settle after the other; each further one takes twice
	// as long as the one before, up to recount.
	manyRevisions = 16
	// sweepEvery is how often what is to be forgotten is looked for.
	sweepEvery = time.Minute
)

// Past tells the last episode of an identity that was ever stored.
type Past func(alert.Identity) (uint32, error)

// Stats counts what a machine did since it was made.
type Stats struct {
	Messages   uint64
	Detections uint64
	Events     uint64
	Gaps       uint64
	// AuditEvents are stages of requests to Kubernetes APIs.
	AuditEvents uint64
	Duplicates  uint64
	// Unreadable records are booked as gaps. Unknown ones are of kinds this version
	// does not know, of an agent's test of itself, or without an event.
	Unreadable uint64
	Unknown    uint64
	Raised     uint64
	Revisions  uint64
	// Refused messages were skipped: a fault of ours.
	Refused uint64
	// Evicted anchors had to go although their time was not over; so had sessions and
	// requests Forgotten, which makes joins fewer.
	Evicted   uint64
	Forgotten uint64
	// Unasked connections within pods' networks are forgotten without a request to forward
	// ports that stood then.
	Unasked uint64
	// Apart are sessions told of by an agent that does not have the pod, as far as is known.
	Apart uint64
}

// Machine is the state machine. It is for one goroutine.
type Machine struct {
	limits Limits
	place  place
	stats  Stats

	agents  recency[string, *agentState]
	waiting recency[string, *anchor] // nothing decided
	raised  recency[string, *anchor]
	family  map[processKey]string // processes of intruders: the anchor they belong to
	bytes   int                   // of all anchors
	shares  map[string]*share     // of those and of marks, by agent
	marked  int                   // marks

	sessions     recency[sessionKey, *session]
	requests     recency[requestKey, *request]
	objects      recency[objectKey, *manifest]
	hosts        recency[hostKey, *host]
	audits       map[string]*auditState // by cluster
	lost         recency[podKey, *lostRequests]
	movedLost    map[podKey]bool
	requestPool  *pool[requestPayer, requestKey, *request]
	seen, gone   recency[objectKey, *manifest] // of the objects, those that are
	idleObjects  *pool[objectPayer, objectKey, *manifest]
	seenObjects  *pool[objectPayer, objectKey, *manifest]
	pods         map[podKey]*pod
	sessionBytes int
	requestBytes int
	objectBytes  int
	// Rows that changed.
	movedSessions map[sessionKey]bool
	movedRequests map[requestKey]bool
	movedObjects  map[objectKey]bool
	movedReaches  map[reachKey]bool

	reaches    map[podKey]map[reachKey]*reach // connections that nodes made within pods' networks
	forwarded  map[podKey]bool                // of which connections or port-forwards came with this message
	movedHosts map[hostKey]bool
	contested  map[podKey]bool // pods that another agent may have, as became known with this message

	looks     map[sessionKey]*session          // to be looked at
	nextLook  int64                            // none before; 0: none
	sought    map[podKey]stretch               // times of requests that are new
	doubted   map[string]loss                  // of agents, that are new
	stages    []int64                          // of a batch
	effort    int                              // comparisons and steps of proofs, for tests
	concerned map[sessionKey]map[string]bool   // anchors that are about a session
	alerted   map[namespaceKey]map[string]bool // raised ones that are about its pods

	matcher  *auditrule.Matcher // nil: there are no rules
	ruleRows []Row              // for it, until it is there

	failed  error              // what this message came to nothing by
	touched map[string]*anchor // by this message
	due     map[string]*anchor // raised, with something to tell
	nextDue int64              // nothing is due before; 0: nothing is due
	fact    time.Time          // when the fact happened that is being taken in
	out     []alert.Revision
	past    Past
	begun   map[string]uint32 // episodes that this message began, by identity

	gaps     int           // of this message
	moreGaps *sensorv1.Gap // those beyond maxMessageGaps

	changed map[rowName]bool
	moved   map[markKey]bool
}

// place is where in the log the machine stands.
type place struct {
	Position uint64
	Now      int64  // the log's clock, which never goes back
	Serial   uint64 // counts touches
	Swept    int64
}

// stamp is when something was touched: Serial orders, At is the log's clock.
type stamp struct {
	Serial uint64
	At     int64
}

// processKey names a process of an agent: what one agent says never reaches into
// what another one saw.
type processKey struct{ agentID, process string }

// NewMachine makes a machine that has seen nothing.
func NewMachine(limits Limits) *Machine {
	return &Machine{
		limits: limits.orDefault(),
		agents: newRecency[string, *agentState](), shares: make(map[string]*share),
		waiting: newRecency[string, *anchor](), raised: newRecency[string, *anchor](),
		sessions: newRecency[sessionKey, *session](), requests: newRecency[requestKey, *request](), objects: newRecency[objectKey, *manifest](), hosts: newRecency[hostKey, *host](),
		lost: newRecency[podKey, *lostRequests](), movedLost: make(map[podKey]bool), requestPool: newRequestPool(),
		seen: newRecency[objectKey, *manifest](), gone: newRecency[objectKey, *manifest](), idleObjects: newObjectPool(), seenObjects: newObjectPool(),
		sought: make(map[podKey]stretch), doubted: make(map[string]loss), movedHosts: make(map[hostKey]bool), contested: make(map[podKey]bool),
		audits: make(map[string]*auditState), pods: make(map[podKey]*pod), movedSessions: make(map[sessionKey]bool), movedRequests: make(map[requestKey]bool), movedObjects: make(map[objectKey]bool),
		movedReaches: make(map[reachKey]bool), reaches: make(map[podKey]map[reachKey]*reach), forwarded: make(map[podKey]bool),
		looks: make(map[sessionKey]*session), concerned: make(map[sessionKey]map[string]bool), alerted: make(map[namespaceKey]map[string]bool),
		family: make(map[processKey]string), begun: make(map[string]uint32),
		touched: make(map[string]*anchor), due: make(map[string]*anchor), changed: make(map[rowName]bool), moved: make(map[markKey]bool),
	}
}

// Apply takes the next message in and returns the revisions that come of it, at most one
// of each alert. They are valid, and the machine's, until the next call. A message that
// was taken in before changes nothing. After an error, which is one of past, the machine
// is of no use any more.
func (m *Machine) Apply(message Message, past Past) ([]alert.Revision, error) {
	if message.Position <= m.place.Position {
		return nil, nil
	}
	m.stats.Messages++
	m.place.Position = message.Position
	m.change(rowPlace, "")
	m.past, m.out = past, nil
	clear(m.begun)
	log, now := m.decode(message)
	if now != nil && now.IsValid() {
		m.place.Now = max(m.place.Now, now.AsTime().UnixNano())
	}
	if err := m.body(log, message.Shard); err != nil {
		return nil, err
	}
	m.fact = time.Time{}
	m.joinForwards()
	m.lookAround()
	if m.failed != nil {
		return nil, m.failed
	}
	m.tell()
	m.measure()
	m.sweep()
	m.evict()
	m.evictEntries()
	m.stats.Revisions += uint64(len(m.out))
	return m.out, nil
}

// body takes in what a message says.
func (m *Machine) body(log *collectorv1.LogMessage, shard int) error {
	switch body := log.GetBody().(type) {
	case *collectorv1.LogMessage_Envelope:
		return m.envelope(body.Envelope, shard)
	case *collectorv1.LogMessage_Audit:
		return m.batch(body.Audit)
	case *collectorv1.LogMessage_AuditState:
		if err := m.unfinished(body.AuditState); err != nil {
			return err
		}
		return m.auditHealth(body.AuditState)
	}
	return nil
}

// try notes an error that the message comes to nothing by.
func (m *Machine) try(err error) bool {
	m.failed = cmp.Or(m.failed, err)
	return err == nil
}

func (m *Machine) now() time.Time { return time.Unix(0, m.place.Now) }

func (m *Machine) touch(s *stamp) {
	m.place.Serial++
	s.Serial, s.At = m.place.Serial, m.place.Now
}

// measure books what the anchors of this message now hold.
func (m *Machine) measure() {
	for key, a := range m.touched {
		size := a.measure()
		m.bytes += size - a.size
		m.share(a.Agent).bytes += size - a.size
		a.size = size
		m.change(rowAnchor, key)
	}
	clear(m.touched)
}

// tell makes revisions of what is due.
func (m *Machine) tell() {
	now := due(m.due, &m.nextDue, m.place.Now, func(a *anchor) int64 { return a.Due })
	slices.SortFunc(now, func(x, y *anchor) int { return cmp.Or(cmp.Compare(x.Due, y.Due), cmp.Compare(x.Key, y.Key)) })
	for _, a := range now {
		m.revise(a)
	}
}

// due are those of a waiting set whose time has come, in any order; next is no later than
// the first of the others afterwards, 0 if there are none.
func due[K comparable, V any](waiting map[K]V, next *int64, now int64, when func(V) int64) (ready []V) {
	if *next == 0 || now < *next {
		return nil
	}
	*next = 0
	for _, v := range waiting {
		if at := when(v); at <= now {
			ready = append(ready, v)
		} else if *next == 0 || at < *next {
			*next = at
		}
	}
	return ready
}

// later has the anchor told at a time, unless it is to be told before.
func (m *Machine) later(a *anchor, at time.Duration) {
	when := m.place.Now
	if at > 0 {
		when = max(when, a.Told+int64(at))
	}
	if a.Due == 0 || when < a.Due {
		a.Due = when
		m.due[a.Key] = a
		if m.nextDue == 0 || when < m.nextDue {
			m.nextDue = when
		}
	}
	m.touched[a.Key] = a
}

// sweep forgets what is over.
func (m *Machine) sweep() {
	if m.place.Now-m.place.Swept < int64(sweepEvery) {
		return
	}
	m.place.Swept = m.place.Now
	before := func(age time.Duration) int64 { return m.place.Now - int64(age) }
	for _, a := range m.waiting.all() {
		if a.At >= before(contextKept) {
			break
		}
		m.close(a)
	}
	for _, a := range m.raised.all() {
		if a.At >= before(quiet+late) {
			break
		}
		m.close(a)
	}
	for _, s := range m.shares {
		for key, known := range s.marks.all() {
			if known.At >= before(forget) {
				break
			}
			m.forgetMark(key)
		}
	}
	for id, agent := range m.agents.all() {
		if agent.At >= before(forget) {
			break
		}
		m.agents.remove(id)
		m.change(rowAgent, id)
	}
	m.sweepEntries(before)
	m.sweepReaches(before)
}
