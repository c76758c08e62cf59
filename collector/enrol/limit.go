package enrol

import (
	"container/list"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Limits bound what strangers can make the collector do. A whole cluster may
// come from one address, behind its router.
type Limits struct {
	PerSource      rate.Limit // enrolments a second from one address
	PerSourceBurst int
	Total          rate.Limit
	TotalBurst     int
}

// DefaultLimits let 5,000 nodes behind one router in within a quarter of an
// hour, while one signature costs some 50 µs.
var DefaultLimits = Limits{PerSource: 5, PerSourceBurst: 50, Total: 50, TotalBurst: 200}

// An agent renews every 16 hours, and a few times more when it restarts.
const (
	renewalsPerAgent = rate.Limit(1.0 / 60)
	renewalsBurst    = 10
)

// maxSources is how many addresses or agents are remembered, at some 200 bytes
// each. Who makes it forget has come from as many addresses: the total holds.
const maxSources = 8192

// limiter has a bucket for each of the latest sources.
type limiter[K comparable] struct {
	every rate.Limit
	burst int

	mu      sync.Mutex // guards the rest
	order   list.List  // of *bucket[K], the latest first
	buckets map[K]*list.Element
}

type bucket[K comparable] struct {
	key  K
	rate *rate.Limiter
}

func newLimiter[K comparable](every rate.Limit, burst int) *limiter[K] {
	return &limiter[K]{every: every, burst: burst, buckets: make(map[K]*list.Element)}
}

func (l *limiter[K]) allow(key K, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	element, ok := l.buckets[key]
	if ok {
		l.order.MoveToFront(element)
	} else {
		if len(l.buckets) >= maxSources {
			oldest := l.order.Back()
			delete(l.buckets, l.order.Remove(oldest).(*bucket[K]).key)
		}
		element = l.order.PushFront(&bucket[K]{key: key, rate: rate.NewLimiter(l.every, l.burst)})
		l.buckets[key] = element
	}
	return element.Value.(*bucket[K]).rate.AllowN(now, 1)
}

// gate is in front of Enrol.
type gate struct {
	sources *limiter[netip.Addr]
	total   *rate.Limiter

	mu     sync.Mutex // guards the rest
	turned uint64     // away, since they were last told
	told   time.Time
}

func newGate(l Limits) *gate {
	return &gate{sources: newLimiter[netip.Addr](l.PerSource, l.PerSourceBurst), total: rate.NewLimiter(l.Total, l.TotalBurst)}
}

// allow asks the source's bucket first: who has emptied his own takes nothing
// from the others'.
func (g *gate) allow(from netip.Addr, now time.Time) bool {
	return g.sources.allow(network(from), now) && g.total.AllowN(now, 1)
}

// network is what one holder commonly has: an IPv4 address or an IPv6 /64.
func network(a netip.Addr) netip.Addr {
	a = a.Unmap().WithZone("")
	if !a.Is6() {
		return a
	}
	prefix, err := a.Prefix(64)
	if err != nil {
		return a
	}
	return prefix.Addr()
}

// tellEvery is how often a log line says that callers are turned away.
const tellEvery = time.Minute

// turnAway counts; now and then it returns the count for a log line.
func (g *gate) turnAway(now time.Time) (count uint64, tell bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.turned++
	if !g.told.IsZero() && now.Sub(g.told) < tellEvery {
		return 0, false
	}
	count, g.turned, g.told = g.turned, 0, now
	return count, true
}
