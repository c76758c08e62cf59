package correlate

import (
	"cmp"
	"encoding/json"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/seawall-security/seawall/collector/alert"
	alertv1 "github.com/seawall-security/seawall/proto/alert/v1"
	auditv1 "github.com/seawall-security/seawall/proto/audit/v1"
)

// What went through forwarded ports. A runtime forwards a port by connecting to it within the
// pod's network, and agents tell of that as of an entry (Event.entry). A request to forward
// ports says in nearly all cases not which ones, and nothing in a connection says for whom it
// is. So a request has the connections that were made while it stood; those that another one
// of the same pod may have brought are counted as such, for both.
//
// A connection that no request covers is counted ([Stats]), and raises no alert: a port-forward
// stands for hours, longer than a collector may have had the audit log, and node agents that
// look into pods' networks make such connections too.

const (
	// maxReaches bounds the places in pods of which an agent's connections are remembered.
	maxReaches = 256
	// maxBursts are told apart of one place; then the two nearest become one, which may be
	// of more requests than each was.
	maxBursts = 16
	// burstPause ends a burst.
	burstPause = time.Second
	// maxForwards bounds the port-forwards of a pod that are looked at, the latest; when there
	// are more, every connection may be another one's.
	maxForwards = 32
	// maxConnections are told of one request.
	maxConnections = 32
	// maxTellers bounds the alerts of other pods that tell of one request.
	maxTellers = 8
)

// reachKey is a place in a pod that an agent saw connections to.
type reachKey struct {
	Agent string
	Pod   podKey
	IP    string
	Port  uint32
}

func (k reachKey) row() string {
	return alert.Hash("reach", k.Agent, k.Pod.Cluster, k.Pod.Namespace, k.Pod.Name, k.IP, strconv.FormatUint(uint64(k.Port), 10))
}

func reachOrder(x, y *reach) int {
	return cmp.Or(cmp.Compare(x.Key.IP, y.Key.IP), cmp.Compare(x.Key.Port, y.Key.Port), cmp.Compare(x.Key.Agent, y.Key.Agent))
}

// reach is what is known of the connections to one place.
type reach struct {
	Key    reachKey
	Bursts []burst // by From
	stamp
}

// burst is connections that followed each other. They were not made before From, nor after
// Until; First and Last are the agent's word, corrected.
type burst struct {
	From, Until, First, Last int64
	Count                    uint64
	Asked                    bool // a request covers it
}

// reached takes in a connection that the node made within a pod's network.
func (m *Machine) reached(f *fact) {
	to, pod := f.event.GetConnect().GetRemote(), entered(f.event).GetPod()
	if !f.event.Entry || to == nil || pod.GetName() == "" {
		return
	}
	key := reachKey{f.agentID, podKey{cutID(f.cluster), cutID(pod.Namespace), cutName(pod.Name)}, cutID(to.Ip), to.Port}
	if m.strange(key.Pod, cutID(pod.Uid), f) {
		m.stats.Unasked++
		return
	}
	share := m.share(f.agentID)
	r := share.reaches.get(key)
	if r == nil {
		r = &reach{Key: key}
		m.addReach(r)
	}
	from, until := f.agent.Skew.bounds(f.event.Time, m.now())
	r.add(burst{from.UnixNano(), until.UnixNano(), f.at.UnixNano(), f.at.UnixNano(), 1, false})
	m.touch(&r.stamp)
	share.reaches.touch(key)
	m.movedReaches[key] = true
	m.forwarded[key.Pod] = true
	if share.reaches.len() > maxReaches {
		for _, old := range share.reaches.all() {
			m.stats.Forgotten++
			m.forgetReach(old)
			break
		}
	}
}

func (m *Machine) addReach(r *reach) {
	m.share(r.Key.Agent).reaches.add(r.Key, r)
	if m.reaches[r.Key.Pod] == nil {
		m.reaches[r.Key.Pod] = make(map[reachKey]*reach)
	}
	m.reaches[r.Key.Pod][r.Key] = r
}

func (m *Machine) forgetReach(r *reach) {
	for _, b := range r.Bursts {
		if !b.Asked {
			m.stats.Unasked += b.Count
		}
	}
	m.share(r.Key.Agent).reaches.remove(r.Key)
	delete(m.reaches[r.Key.Pod], r.Key)
	if len(m.reaches[r.Key.Pod]) == 0 {
		delete(m.reaches, r.Key.Pod)
	}
	m.movedReaches[r.Key] = true
	m.leave(r.Key.Agent)
}

// add puts connections to those of their time.
func (r *reach) add(b burst) {
	at, _ := slices.BinarySearchFunc(r.Bursts, b, func(x, y burst) int { return cmp.Compare(x.From, y.From) })
	r.Bursts = slices.Insert(r.Bursts, at, b)
	if at > 0 && r.Bursts[at-1].near(b) {
		at--
		r.join(at)
	}
	if at+1 < len(r.Bursts) && r.Bursts[at].near(r.Bursts[at+1]) {
		r.join(at)
	}
	if len(r.Bursts) <= maxBursts {
		return
	}
	nearest := 0
	for i := range len(r.Bursts) - 1 {
		if r.Bursts[i+1].From-r.Bursts[i].Until < r.Bursts[nearest+1].From-r.Bursts[nearest].Until {
			nearest = i
		}
	}
	r.join(nearest)
}

func (b burst) near(next burst) bool { return next.First-b.Last <= int64(burstPause) }

// join makes one of a burst and the next.
func (r *reach) join(at int) {
	b, next := &r.Bursts[at], r.Bursts[at+1]
	b.From, b.First = min(b.From, next.From), min(b.First, next.First)
	b.Until, b.Last = max(b.Until, next.Until), max(b.Last, next.Last)
	b.Count = alert.AddUp(b.Count, next.Count)
	b.Asked = b.Asked && next.Asked
	r.Bursts = slices.Delete(r.Bursts, at+1, at+2)
}

// covers reports whether connections may be the request's: it stood at some time of theirs,
// and forwards their port if it says which.
func (r *request) covers(port uint32, b burst) bool {
	return b.Until >= r.From && (r.End == 0 || b.From <= r.End+int64(afterEnd)) &&
		(len(r.Ports) == 0 || slices.Contains(r.Ports, port))
}

// forwardedPorts are those that the request names; none: it does not say.
func forwardedPorts(e *auditv1.Event) (ports []uint32) {
	_, query, _ := strings.Cut(e.RequestUri, "?")
	values, err := url.ParseQuery(query)
	if err != nil {
		return nil
	}
	for _, list := range values["ports"] {
		for _, text := range strings.Split(list, ",") {
			if port, err := strconv.ParseUint(text, 10, 16); err == nil && len(ports) < maxConnections {
				ports = append(ports, uint32(port))
			} else {
				return nil // of what it says a part is not understood, or left out
			}
		}
	}
	return ports
}

// joinForwards says anew which connections were made while requests stood, of the pods of
// which something came with this message.
func (m *Machine) joinForwards() {
	for _, key := range sortedPods(m.forwarded) {
		m.joinForward(key)
	}
	clear(m.forwarded)
}

func (m *Machine) joinForward(key podKey) {
	var requests []*request
	if p := m.pods[key]; p != nil {
		for _, r := range slices.Backward(p.requests) {
			if r.Kind == entryForward {
				requests = append(requests, r)
			}
		}
	}
	more := len(requests) > maxForwards
	requests = requests[:min(len(requests), maxForwards)]
	told := make([]map[string]*alertv1.Connection, len(requests))
	for i := range told {
		told[i] = make(map[string]*alertv1.Connection)
	}
	for _, place := range sortedReaches(m.reaches[key]) {
		for n := range place.Bursts {
			b := &place.Bursts[n]
			var of []int
			for i, r := range requests {
				if r.covers(place.Key.Port, *b) {
					of = append(of, i)
				}
			}
			if len(of) > 0 && !b.Asked {
				b.Asked = true
				m.movedReaches[place.Key] = true
			}
			for _, i := range of {
				name := connectionName(place.Key.IP, place.Key.Port)
				c := told[i][name]
				if c == nil {
					c = &alertv1.Connection{Ip: place.Key.IP, Port: place.Key.Port, First: timestamp(b.First), Last: timestamp(b.Last)}
					told[i][name] = c
				}
				c.Count = alert.AddUp(c.Count, b.Count)
				if len(of) > 1 || more {
					c.Ambiguous = alert.AddUp(c.Ambiguous, b.Count)
				}
				if b.First < unixNano(c.First) {
					c.First = timestamp(b.First)
				}
				if b.Last > unixNano(c.Last) {
					c.Last = timestamp(b.Last)
				}
			}
		}
	}
	for i, r := range requests {
		m.connects(r, told[i])
	}
}

// connects notes the connections of a request, and tells alerts that have it.
func (m *Machine) connects(r *request, connections map[string]*alertv1.Connection) {
	told := proto.CloneOf(r.Told.Request)
	told.Connections, told.ConnectionsOmitted = nil, 0
	for _, name := range sortedKeys(connections) {
		if len(told.Connections) == maxConnections {
			told.ConnectionsOmitted++
			continue
		}
		told.Connections = append(told.Connections, connections[name])
	}
	if proto.Equal(told, r.Told.Request) {
		return
	}
	r.Told = storedRequest{told}
	m.resizeRequest(r)
	m.movedRequests[r.Key] = true
	m.enrichPod(r.Pod)
	for _, key := range r.Tellers {
		if a := m.raised.get(key); a != nil {
			m.enrich(a)
		}
	}
}

func connectionName(ip string, port uint32) string {
	return ip + " " + strconv.FormatUint(uint64(port), 10)
}

// tells has an alert of rules told of the connections of a request that it has, if that
// forwards ports. The alert may be anchored at another pod: it has requests of several.
func (m *Machine) tells(a *anchor, key requestKey) {
	r := m.requests.get(key)
	if r == nil || r.Kind != entryForward || slices.Contains(r.Tellers, a.Key) || len(r.Tellers) == maxTellers {
		return
	}
	r.Tellers = append(r.Tellers, a.Key)
	m.movedRequests[r.Key] = true
	m.forwarded[r.Pod] = true
	m.enrich(a)
}

// connected puts what is known of connections to the requests of an alert. What was told of
// requests that are forgotten stays.
func (m *Machine) connected(a *anchor, requests []*alertv1.Request) []*alertv1.Request {
	for i, told := range requests {
		if told.GetObject().GetSubresource() != "portforward" {
			continue
		}
		r := m.requests.get(requestKey{cutID(a.Alert.Cluster), told.AuditId, unixNano(told.Time)})
		if r == nil || equal(&alertv1.Request{Connections: told.Connections, ConnectionsOmitted: told.ConnectionsOmitted},
			&alertv1.Request{Connections: r.Told.Connections, ConnectionsOmitted: r.Told.ConnectionsOmitted}) {
			continue
		}
		told = proto.CloneOf(told)
		told.Connections, told.ConnectionsOmitted = r.Told.Connections, r.Told.ConnectionsOmitted
		requests = slices.Clone(requests)
		requests[i] = told
	}
	return requests
}

// worth is how soon an alert is told whose entries and requests become others: at once,
// unless it is but the connections of requests; of those, where they went to is told before
// how many there were.
func (a *anchor) worth(entries []*alertv1.Entry, requests []*alertv1.Request) time.Duration {
	bare := func(entries []*alertv1.Entry, requests []*alertv1.Request, places bool) *alertv1.Alert {
		al := proto.CloneOf(&alertv1.Alert{Entries: entries, Requests: requests})
		all := al.Requests
		for _, e := range al.Entries {
			all = append(all, e.Requests...)
		}
		for _, r := range all {
			if !places {
				r.Connections, r.ConnectionsOmitted = nil, 0
			}
			for _, c := range r.Connections {
				c.Count, c.Last, c.First, c.Ambiguous = 0, nil, nil, min(c.Ambiguous, 1)
			}
		}
		return al
	}
	same := func(places bool) bool {
		return equal(bare(a.Alert.Entries, a.Alert.Requests, places), bare(entries, requests, places))
	}
	switch {
	case !same(false):
		return 0
	case !same(true):
		return growth(a)
	}
	return recount
}

// sweepReaches forgets connections whose requests are forgotten, or never came.
func (m *Machine) sweepReaches(before func(time.Duration) int64) {
	for _, id := range sortedKeys(m.shares) {
		for _, r := range m.shares[id].reaches.all() {
			if r.At >= before(recordKept) {
				break
			}
			stands := func(r *request) bool { return r.Kind == entryForward }
			if p := m.pods[r.Key.Pod]; p == nil || !slices.ContainsFunc(p.requests, stands) {
				m.forgetReach(r)
			}
		}
	}
}

// reachRows are the rows of connections that changed.
func (m *Machine) reachRows(rows []Row) []Row {
	for key := range m.movedReaches {
		row := Row{Kind: rowReach, Key: key.row()}
		if r := m.reaches[key.Pod][key]; r != nil {
			row.Body = encode(r)
		}
		rows = append(rows, row)
	}
	clear(m.movedReaches)
	return rows
}

func (m *Machine) restoreReach(row Row) error {
	r := &reach{}
	if err := json.Unmarshal(row.Body, r); err != nil {
		return err
	}
	m.addReach(r)
	return nil
}

func sortedReaches(of map[reachKey]*reach) []*reach {
	all := make([]*reach, 0, len(of))
	for _, r := range of {
		all = append(all, r)
	}
	slices.SortFunc(all, reachOrder)
	return all
}

func sortedPods(of map[podKey]bool) []podKey {
	all := make([]podKey, 0, len(of))
	for key := range of {
		all = append(all, key)
	}
	slices.SortFunc(all, func(x, y podKey) int {
		return cmp.Or(cmp.Compare(x.Cluster, y.Cluster), cmp.Compare(x.Namespace, y.Namespace), cmp.Compare(x.Name, y.Name))
	})
	return all
}
