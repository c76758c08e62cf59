package process

import (
	"testing"

	"github.com/seawall-security/seawall/internal/event"
)

// BenchmarkApply is the cost of one event on a node that runs 4000 processes.
func BenchmarkApply(b *testing.B) {
	for name, run := range map[string]func(*testing.B, *node, []event.Key){
		"open": func(b *testing.B, n *node, keys []event.Key) {
			ev := n.event(keys[0], event.KindFileOpen, &event.Open{})
			for i := 0; b.Loop(); i++ {
				ev.Actor = keys[i*7919%len(keys)]
				ev.TID = ev.Actor.TGID
				n.table.Apply(ev)
			}
		},
		"fork-exit": func(b *testing.B, n *node, keys []event.Key) {
			fork := &event.Fork{ChildParent: keys[0]}
			ev := n.event(keys[0], event.KindProcessFork, fork)
			exit := n.event(keys[0], event.KindProcessExit, &event.Exit{})
			for i := 0; b.Loop(); i++ {
				fork.Child = event.Key{TGID: 100_000 + uint32(i%30000), Start: ev.Time}
				n.table.Apply(ev)
				exit.Actor, exit.Time = fork.Child, ev.Time
				n.table.Apply(exit)
				ev.Time += 100_000
			}
		},
		"exec": func(b *testing.B, n *node, keys []event.Key) {
			ev := n.event(keys[0], event.KindProcessExec, &event.Exec{Image: n.image(keys[0], "/usr/bin/curl", "-s", "-o", "/tmp/x", "http://a/b")})
			for i := 0; b.Loop(); i++ {
				ev.Actor = keys[i*7919%len(keys)]
				n.table.Apply(ev)
			}
		},
		"namespace": func(b *testing.B, n *node, keys []event.Key) {
			p := &event.Namespace{}
			ev := n.event(keys[0], event.KindProcessNamespace, p)
			for i := 0; b.Loop(); i++ {
				p.After.Net = uint32(1 + i&1)
				n.table.Apply(ev)
			}
		},
		"unknown": func(b *testing.B, n *node, keys []event.Key) {
			ev := n.event(keys[0], event.KindFileOpen, &event.Open{})
			n.table.repair.spend(1 << 40) // without procfs
			for i := 0; b.Loop(); i++ {
				ev.Actor = event.Key{TGID: 200_000 + uint32(i%30000), Start: ev.Time + event.Boot(i)}
				n.table.Apply(ev)
			}
		},
	} {
		b.Run(name, func(b *testing.B) {
			n := newNode(b, nil)
			var keys []event.Key
			for i := range uint32(4000) {
				keys = append(keys, n.started(10+i, "/usr/sbin/nginx", "-g", "daemon off;"))
			}
			b.ReportAllocs()
			run(b, n, keys)
		})
	}
}

// BenchmarkDescribe is what a repair costs: reading this process from procfs.
func BenchmarkDescribe(b *testing.B) {
	k := uint32(1)
	r := procReader{root: "/proc"}
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := r.describe(k, true); err != nil {
			b.Fatal(err)
		}
	}
}
