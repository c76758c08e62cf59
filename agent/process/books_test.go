package process

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/seawall-security/seawall/internal/event"
)

// Events in an order no kernel would send must neither unbalance the count of
// what the table holds nor make a circle.
func TestRandomEventsKeepTheBooks(t *testing.T) {
	for seed := range uint64(8) {
		r := rand.New(rand.NewPCG(seed, 1))
		root := coarseFixture(t)
		n := newNode(t, func(o *Options) {
			o.Proc = root
			o.Limits = Limits{Live: 25, Dead: 20, Bytes: 200_000, Grace: 50 * time.Millisecond}
		})
		n.containers[podCgroup] = podID
		key := func() event.Key {
			return event.Key{TGID: r.Uint32N(35), Start: 30*second + event.Boot(r.Uint64N(4))*tick/2}
		}
		for range 5000 {
			k := key()
			n.parents[k], n.cgroups[k], n.mounts[k] = key(), podCgroup, podMount+r.Uint32N(2)
			switch r.IntN(8) {
			case 0, 1, 2:
				c := key()
				n.apply(n.event(k, event.KindProcessFork, &event.Fork{Child: c, ChildParent: key(), ChildCgroupID: podCgroup}))
			case 3:
				n.enters(k, false, "/usr/bin/runc", "x")
			case 4:
				n.exit(k)
			case 5:
				n.apply(n.event(k, event.KindProcessNamespace, &event.Namespace{After: event.Namespaces{Net: r.Uint32N(3)}}))
			case 6:
				n.open(k)
			case 7:
				if r.IntN(20) == 0 {
					if err := n.table.SeedProcfs(); err != nil {
						t.Fatal(err)
					}
					n.seed(key(), key(), true, "/bin/seed")
					n.seed(key(), key(), false, "/bin/seed")
					n.table.Seeded()
				}
			}
		}
		check(t, n.table)
		for _, q := range []*queue{&n.table.live, &n.table.dead} {
			for q.length > 0 {
				n.table.remove(q.first)
			}
		}
		check(t, n.table)
		n.want("bytes of an empty table", n.table.bytes, 0)
	}
}

// check compares the table's counts with what can be reached from it.
func check(t *testing.T, table *Table) {
	t.Helper()
	reached := map[*snapshot]bool{}
	bytes, entries := 0, 0
	for _, q := range []*queue{&table.live, &table.dead} {
		length := 0
		for e := q.first; e != nil; e = e.next {
			length++
			entries++
			if e.in != q || e.pending {
				t.Errorf("entry of %v is out of place", e.now.Key)
			}
			depth := 0
			for s := e.now; s != nil; s = s.parent {
				if depth++; depth > maxDepth+1 {
					t.Fatalf("chain above %v has no end", e.now.Key)
				}
				if (s.parent == nil) != (s.Parent == nil) || s.parent != nil && s.Parent != &s.parent.Process {
					t.Errorf("two parents above %v", s.Key)
				}
				if !reached[s] {
					reached[s] = true
					bytes += s.bytes
				}
			}
		}
		if length != q.length {
			t.Errorf("queue of %d counts %d", length, q.length)
		}
	}
	if bytes != table.bytes {
		t.Errorf("%d bytes are held, %d counted", bytes, table.bytes)
	}
	if indexed := len(table.exact) + len(table.coarse); indexed != entries {
		t.Errorf("%d entries, %d indexed", entries, indexed)
	}
	for tgid, e := range table.newest {
		if e.in != &table.live || e.now.Key.TGID != tgid || e.now.Coarse {
			t.Errorf("newest of %d is %v", tgid, e.now.Key)
		}
	}
	l := table.opt.Limits
	if table.live.length > l.Live || table.dead.length > l.Dead || table.bytes > l.Bytes {
		t.Errorf("over the bounds: %d live, %d dead, %d bytes", table.live.length, table.dead.length, table.bytes)
	}
}
