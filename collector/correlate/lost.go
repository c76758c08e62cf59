package correlate

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/seawall-security/seawall/collector/alert"
)

// A request that has to go before it is known what it began leaves a session over, which
// must not be taken for one that nobody asked for. So it is remembered of its pod when
// requests were lost.

// lostRequests is a time in which sessions of a pod may have begun whose requests had to go.
type lostRequests struct {
	Pod         podKey
	From, Until int64 // by the collector's clock
	stamp
}

const (
	// maxLost pods are remembered like this. Beyond, it is the cluster's audit log that has
	// a gap.
	maxLost = 4096
	// lostKept is how long: sessions are told of as late as records.
	lostKept = 2 * recordKept
)

func (k podKey) row() string { return alert.Hash("lost", k.Cluster, k.Namespace, k.Name) }

// requestPayer is whose share a request's memory is of. Accounts of a namespace share one:
// whoever may make them can make as many as he likes.
type requestPayer struct{ Cluster, User string }

func newRequestPool() *pool[requestPayer, requestKey, *request] {
	return newPool[requestPayer, requestKey, *request](
		func(p requestPayer) string { return p.Cluster + "/" + p.User },
		func(x, y requestPayer) int {
			return cmp.Or(cmp.Compare(x.Cluster, y.Cluster), cmp.Compare(x.User, y.User))
		})
}

func (r *request) payer() requestPayer {
	user := r.Told.GetUser().GetName()
	if account, found := strings.CutPrefix(user, serviceAccount); found {
		namespace, _, _ := strings.Cut(account, ":")
		user = serviceAccount + namespace
	}
	return requestPayer{r.Key.Cluster, user}
}

const serviceAccount = "system:serviceaccount:"

// evictRequests keeps the bound: whose requests take most, his oldest go.
func (m *Machine) evictRequests() {
	if m.requestBytes <= m.limits.RequestBytes {
		return
	}
	m.requestPool.relieve(m.requestBytes-room(m.limits.RequestBytes), func(r *request) {
		m.stats.Forgotten++
		m.loseRequest(r)
		m.forgetRequest(r)
	})
	for _, l := range m.lost.all() {
		if m.lost.len() <= maxLost {
			break
		}
		m.auditHole(l.Pod.Cluster, "lost "+l.Pod.row(), l.From, l.Until)
		m.dropLost(l)
	}
}

// loseRequest remembers of a request that goes when it may have begun a session, if it is not
// known to have.
func (m *Machine) loseRequest(r *request) {
	if r.Kind != entryExec && r.Kind != entryDebug || m.isServed(r) {
		return
	}
	l := m.lost.get(r.Pod)
	if l == nil {
		l = &lostRequests{Pod: r.Pod, From: r.From, Until: r.latest()}
		m.lost.add(r.Pod, l)
	}
	l.From, l.Until = min(l.From, r.From), max(l.Until, r.latest())
	m.touch(&l.stamp)
	m.lost.touch(r.Pod)
	m.movedLost[r.Pod] = true
}

// isServed reports whether a session is joined with the request.
func (m *Machine) isServed(r *request) bool {
	p := m.pods[r.Pod]
	from, _ := slices.BinarySearchFunc(p.sessions, r.From-int64(widest), func(s *session, at int64) int { return cmp.Compare(s.From, at) })
	for _, s := range p.sessions[from:] {
		if s.From > r.latest() {
			break
		}
		if s.Attribution == joined && sameRequest(s.Requests[0].Request, r.Told.Request) {
			return true
		}
	}
	return false
}

// hasLost reports whether the session's request may be among those that had to go.
func (m *Machine) hasLost(s *session) bool {
	l := m.lost.get(s.Pod)
	return l != nil && s.Until >= l.From && s.From <= l.Until
}

func (m *Machine) dropLost(l *lostRequests) {
	m.lost.remove(l.Pod)
	m.movedLost[l.Pod] = true
}

func (m *Machine) sweepLost(before func(time.Duration) int64) {
	for _, l := range m.lost.all() {
		if l.At >= before(lostKept) {
			break
		}
		m.dropLost(l)
	}
}
