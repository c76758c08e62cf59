package enrol

import (
	"net/netip"
	"testing"
	"time"
)

func TestGate(t *testing.T) {
	g := newGate(Limits{PerSource: 1, PerSourceBurst: 3, Total: 10, TotalBurst: 10})
	a, b := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	passed := func(from netip.Addr, n int, now time.Time) (passed int) {
		for range n {
			if g.allow(from, now) {
				passed++
			}
		}
		return passed
	}
	if n := passed(a, 1000, today); n != 3 {
		t.Errorf("%d from one address", n)
	}
	if n := passed(netip.MustParseAddr("::ffff:192.0.2.1"), 10, today); n != 0 {
		t.Errorf("%d from the same address in another form", n)
	}
	if n := passed(b, 5, today); n != 3 {
		t.Errorf("%d from the next: the first one's excess took from the total", n)
	}
	if n := passed(netip.MustParseAddr("2001:db8::1"), 2, today) + passed(netip.MustParseAddr("2001:db8::2"), 2, today); n != 3 {
		t.Errorf("%d from one IPv6 network", n)
	}
	var many int
	for i := range 100 {
		many += passed(netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}), 1, today)
	}
	if many != 1 { // 3 + 3 + 3 are gone of 10
		t.Errorf("%d from everywhere", many)
	}
	if n := passed(a, 10, today.Add(2*time.Second)); n != 2 {
		t.Errorf("%d two seconds later", n)
	}
}

func TestLimiterForgetsTheOldest(t *testing.T) {
	l := newLimiter[int](1, 1)
	passed := 0
	for i := range 3 * maxSources {
		l.allow(i+1, today)
		if l.allow(0, today) { // keeps coming
			passed++
		}
	}
	if len(l.buckets) != maxSources || l.order.Len() != maxSources {
		t.Errorf("%d and %d are remembered", len(l.buckets), l.order.Len())
	}
	if passed != 1 {
		t.Errorf("one that keeps coming is forgotten %d times", passed-1)
	}
	if !l.allow(1, today) {
		t.Error("one that has long gone is not")
	}
}

func TestTurnedAwayAreToldOnceAMinute(t *testing.T) {
	g := newGate(DefaultLimits)
	var told []uint64
	for i := range 121 {
		if count, tell := g.turnAway(today.Add(time.Duration(i) * time.Second)); tell {
			told = append(told, count)
		}
	}
	if len(told) != 3 || told[0]+told[1]+told[2] != 121 {
		t.Errorf("told %v", told)
	}
}
