package correlate

import (
	"fmt"
	"strings"
	"testing"
	"time"

	auditv1 "github.com/seawall-security/seawall/proto/audit/v1"
)

// TestAFloodOfRequestsCostsTheFlooder: whoever else asked is still found; of his own
// sessions it is not said that nobody asked for them.
func TestAFloodOfRequestsCostsTheFlooder(t *testing.T) {
	for _, test := range []struct {
		name  string
		user  func(i int) string
		where string // the pod of the flood
		asks  string
		want  string
	}{
		{"others", func(int) string { return "mallory" }, testPod, "bob", "s=bob"},
		{"accounts-of-a-namespace", func(i int) string { return fmt.Sprint("system:serviceaccount:lair:a", i) }, testPod, "bob", "s=bob"},
		{"own", func(int) string { return "" }, testPod, "", "s=unavailable"},
		{"own-of-another-pod", func(int) string { return "" }, "web-1", "", "s=unavailable"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newStory(t)
			s.events(after(time.Second), created(after(0), probedSpec))
			s.record(after(9950*time.Millisecond), ask{id: "bob", user: test.asks, at: after(9900 * time.Millisecond), args: []string{"sh"}, tty: "y"})
			for i := range 100 {
				e := ask{id: fmt.Sprint("x", i), user: test.user(i), at: after(9900 * time.Millisecond), args: []string{"x", fmt.Sprint(i)}}.event(auditv1.Stage_STAGE_STARTED)
				e.Entry.Pod, e.Object.Name = test.where, test.where
				s.events(after(9960*time.Millisecond), e)
			}
			s.session(comeIn{id: "s", at: after(10 * time.Second), args: []string{"sh"}, tty: "pts/0"})
			s.chatter(11*time.Second, 20*time.Minute)
			m, revisions := s.runIn(Limits{RequestBytes: 32 << 10}, 20*time.Minute)
			if got := answersOf(m); got != test.want || len(revisions) != 0 {
				t.Errorf("got %s, %d alerts", got, len(revisions))
			}
			if m.requestBytes > 32<<10 {
				t.Errorf("%d bytes", m.requestBytes)
			}
		})
	}
}

// TestAccountsOfANamespacePayTogether: whoever may make one can make many.
func TestAccountsOfANamespacePayTogether(t *testing.T) {
	payer := func(user string) requestPayer {
		e := ask{user: user, at: noon}.event(auditv1.Stage_STAGE_STARTED)
		r := newRequest(entryExec, testCluster, e)
		r.Told = storedRequest{tellRequest(roleEntry, e, noon.UnixNano())}
		return r.payer()
	}
	if payer("system:serviceaccount:lair:a") != payer("system:serviceaccount:lair:b") {
		t.Error("accounts of one namespace pay apart")
	}
	if payer("system:serviceaccount:lair:a") == payer("system:serviceaccount:store:a") || payer("alice") == payer("bob") {
		t.Error("users that have nothing in common pay together")
	}
}

// TestLostRequestsConcernTheirPod and their time alone, and are forgotten.
func TestLostRequestsConcernTheirPod(t *testing.T) {
	s := newStory(t)
	for i := range 100 {
		e := ask{id: fmt.Sprint("x", i), at: after(10 * time.Second), args: []string{"x", fmt.Sprint(i)}}.event(auditv1.Stage_STAGE_STARTED)
		e.Entry.Pod, e.Object.Name = "web-1", "web-1"
		s.events(after(10*time.Second), e)
	}
	s.session(comeIn{id: "s", at: after(12 * time.Second), args: []string{"sh"}, tty: "pts/0"})
	s.chatter(13*time.Second, 2*time.Minute)
	m, revisions := s.runIn(Limits{RequestBytes: 32 << 10}, 2*time.Minute)
	if got := answersOf(m); got != "s=unattributed" || len(entryAlerts(revisions)) != 1 {
		t.Errorf("got %s, %d alerts", got, len(revisions))
	}
	other := &session{Pod: podKey{testCluster, "store", "web-1"}, From: after(20 * time.Second).UnixNano(), Until: after(20 * time.Second).UnixNano()}
	late := &session{Pod: other.Pod, From: after(time.Hour).UnixNano(), Until: after(time.Hour).UnixNano()}
	if !m.hasLost(other) || m.hasLost(late) {
		t.Errorf("lost at the time: %v, an hour later: %v", m.hasLost(other), m.hasLost(late))
	}
	m.sweepEntries(func(age time.Duration) int64 { return after(2*time.Hour).UnixNano() - int64(age) })
	if m.lost.len() != 0 {
		t.Errorf("%d pods have lost requests hours later", m.lost.len())
	}
}

// TestLostRequestsAreBounded: what cannot be said of a pod is said of its cluster.
func TestLostRequestsAreBounded(t *testing.T) {
	m := NewMachine(Limits{RequestBytes: 16 << 10})
	m.place.Now = after(time.Minute).UnixNano()
	for i := range maxLost + 100 {
		e := ask{id: "r", at: after(10 * time.Second), args: []string{"sh"}}.event(auditv1.Stage_STAGE_STARTED)
		e.Entry.Pod = fmt.Sprint("web-", i)
		e.AuditId = e.Entry.Pod
		m.enters(entryExec, testCluster, &skew{}, e)
		m.evictEntries()
	}
	at := after(12 * time.Second).UnixNano()
	if m.lost.len() > maxLost || !m.audit(testCluster).missed(at, at) || m.audit(testCluster).missed(at+int64(time.Hour), at+int64(time.Hour)) {
		t.Errorf("%d pods; gaps %v", m.lost.len(), m.audit(testCluster).Gaps)
	}
}

// TestAFloodOfObjectsCostsTheFlooder: what is known of a pod that runs stays.
func TestAFloodOfObjectsCostsTheFlooder(t *testing.T) {
	for _, test := range []struct {
		name       string
		user       string
		namespace  string
		everywhere bool
		seen       bool // an agent told of the pod before
	}{
		{"in-a-namespace-of-ones-own", "mallory", "lair", false, false},
		{"beside-it", "mallory", "store", false, false},
		{"by-a-controller-beside-it", "system:serviceaccount:kube-system:statefulset-controller", "store", false, true},
		{"in-many-namespaces", "mallory", "lair", true, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newStory(t)
			s.events(after(time.Second), created(after(time.Second), probedSpec))
			if test.seen {
				s.session(comeIn{id: "own", at: after(1500 * time.Millisecond), args: []string{"server"}, init: true})
			}
			for i := range 300 {
				w := written{at: 2 * time.Second, user: test.user, verb: "create", resource: "jobs", name: fmt.Sprint("job-", i), sent: `{"kind":"Job"}`}.event()
				w.Object.Namespace = test.namespace
				if test.everywhere {
					w.Object.Namespace += fmt.Sprint(i)
				}
				s.events(after(2*time.Second), w)
			}
			s.session(comeIn{id: "thief", at: after(10 * time.Second), args: []string{"sh", "-c", "evil"}})
			s.chatter(11*time.Second, 2*time.Minute)
			m, revisions := s.runIn(Limits{ObjectBytes: 32 << 10}, 2*time.Minute)
			if n := len(entryAlerts(revisions)); n != 1 {
				t.Errorf("%d alerts of an entry without a terminal", n)
			}
			if m.objectBytes > 32<<10 || m.objects.len() < 20 || m.objects.len() > 200 {
				t.Errorf("%d objects of %d bytes", m.objects.len(), m.objectBytes)
			}
		})
	}
}

// TestPodsThatRunAreRemembered however old they are, what was deleted for half an hour.
func TestPodsThatRunAreRemembered(t *testing.T) {
	const day = 24 * time.Hour
	m := NewMachine(Limits{})
	at := func(d time.Duration) { m.place.Now = after(d).UnixNano() }
	sweep := func() {
		m.sweepObjects(func(age time.Duration) int64 { return m.place.Now - int64(age) })
	}
	learn := func(d time.Duration, name string) {
		e := created(after(d), probedSpec)
		e.Response = []byte(strings.ReplaceAll(string(e.Response), testPod, name))
		m.learnObject(testCluster, e)
	}
	set := func(d time.Duration) {
		m.learnObject(testCluster, written{at: d, user: "bob", verb: "create", sent: `{"kind":"StatefulSet"}`}.event())
	}
	known := func(name string) bool { return m.spec(podKey{testCluster, "store", name}, "u1") != nil }
	at(0)
	set(0)
	learn(time.Second, "runs")
	learn(time.Second, "rests")
	for d := time.Hour; d < 40*day; d += 12 * time.Hour {
		at(d)
		m.alive(podKey{testCluster, "store", "runs"}, "u1", after(d))
		m.alive(podKey{testCluster, "store", "rests"}, "u0", after(d)) // another one of that name
		sweep()
	}
	if made, _ := m.origin(m.spec(podKey{testCluster, "store", "runs"}, "u1")); !known("runs") || known("rests") || made.GetUser().GetName() != "bob" {
		t.Errorf("what runs is known: %v, what rests: %v", known("runs"), known("rests"))
	}

	at(40 * day)
	gone := func(user, name string) {
		m.learnObject(testCluster, written{at: 40 * day, user: user, verb: "delete", resource: "pods", name: name}.event())
	}
	learn(40*day-time.Hour, "goes")
	learn(40*day-time.Hour, "tried")
	gone("system:node:node-1", "goes")
	gone("system:node:node-1", "runs")
	gone("mallory", "tried")
	m.alive(podKey{testCluster, "store", "goes"}, "u1", after(40*day-time.Minute)) // told late
	m.alive(podKey{testCluster, "store", "runs"}, "u1", after(40*day+time.Minute)) // nobody deleted it after all
	at(40*day + 20*time.Minute)
	if sweep(); !known("goes") || !known("runs") {
		t.Error("a pod is forgotten at once")
	}
	at(40*day + 31*time.Minute)
	if sweep(); known("goes") || !known("runs") || !known("tried") {
		t.Errorf("half an hour later what goes is known: %v, what runs: %v", known("goes"), known("runs"))
	}
}

// TestASpecificationLearntLate decides of an entry without a terminal whether it is told.
func TestASpecificationLearntLate(t *testing.T) {
	for _, test := range []struct {
		command []string
		want    string
		alerts  int
	}{{[]string{"sh", "-c", "evil"}, "s=unattributed", 1}, {[]string{"/bin/stop"}, "s=kubelet", 0}} {
		s := newStory(t)
		s.session(comeIn{id: "s", at: after(10 * time.Second), args: test.command})
		s.chatter(10*time.Second, 5*time.Minute)
		for i := range 3 { // and again, which is no news
			e := created(after(time.Duration(100+i)*time.Second), probedSpec)
			e.Verb, e.Code, e.Object.Name, e.AuditId = "patch", 200, testPod, fmt.Sprint("p", i)
			s.events(after(time.Duration(100+i)*time.Second), e)
		}
		m, revisions := s.run(5 * time.Minute)
		if got := answersOf(m); got != test.want || len(revisions) != test.alerts {
			t.Errorf("%q: got %s, %d revisions", test.command, got, len(revisions))
		}
	}
}

// TestPool: groups are cut down to one level, and so are the parties within; what is below
// stays, and so does what was touched last.
func TestPool(t *testing.T) {
	p := newPool[string, int, int](func(payer string) string { return payer[:1] }, strings.Compare)
	owner, total := make(map[int]string), 0
	for _, of := range []struct {
		payer string
		n     int
	}{{"a1", 30}, {"a2", 30}, {"a3", 2}, {"b1", 50}, {"c1", 5}} {
		for range of.n {
			total++
			owner[total] = of.payer
			p.add(of.payer, total, total)
			p.resize(of.payer, 1)
		}
	}
	p.touch("b1", 63) // its first
	relieve := func(free int) string {
		p.relieve(free, func(v int) { p.remove(owner[v], v, 1) })
		var left []string
		for _, payer := range sortedKeys(p.portions) {
			left = append(left, fmt.Sprint(payer, ":", p.portions[payer].bytes))
		}
		return strings.Join(left, " ")
	}
	if got := relieve(37); got != "a1:17 a2:17 a3:2 b1:37 c1:5" {
		t.Errorf("got %s", got)
	}
	if first := p.portions["b1"].values; first.get(63) == 0 || first.get(64) != 0 {
		t.Error("not what was touched longest ago is gone")
	}
	if got := relieve(0); got != "a1:17 a2:17 a3:2 b1:37 c1:5" {
		t.Errorf("got %s", got)
	}
	if got := relieve(1000); got != "" {
		t.Errorf("got %s", got)
	}
}

// BenchmarkFloodOfObjects is per object of a flood over many namespaces, with no room left.
func BenchmarkFloodOfObjects(b *testing.B) {
	m := NewMachine(Limits{ObjectBytes: 16 << 20})
	m.place.Now = after(0).UnixNano()
	flood := func(i int) {
		w := written{at: time.Duration(i), user: "mallory", verb: "create", resource: "jobs", name: fmt.Sprint("job-", i), sent: `{"kind":"Job"}`}.event()
		w.Object.Namespace = fmt.Sprint("n", i%10000)
		m.learnObject(testCluster, w)
		m.evictEntries()
		clear(m.movedObjects)
	}
	for i := range 40000 {
		flood(i + 1)
	}
	b.ReportAllocs()
	for i := 40001; b.Loop(); i++ {
		flood(i)
	}
}
