package process

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seawall-security/seawall/internal/event"
)

// What the kernel saw come into a cgroup, and the table cannot tell for an entry though it
// may be one, is booked; what is none is not: sandboxed services of the host would be a gap
// each time they start.
func TestMissedEntriesAreBooked(t *testing.T) {
	const strange = 9100
	for name, test := range map[string]struct {
		act  func(n *node, shim event.Key) *event.Event
		want []Missed
	}{
		"an entry": {func(n *node, shim event.Key) *event.Event {
			return n.enterPod(shim, 510, podCgroup, podMount, false, "/bin/sh")
		}, nil},
		"the session goes on": {func(n *node, shim event.Key) *event.Event {
			root := n.enterPod(shim, 510, podCgroup, podMount, false, "/bin/sh").Actor
			return n.enters(root, false, "/bin/sh")
		}, nil},
		"a cgroup that nobody can tell": {func(n *node, shim event.Key) *event.Event {
			return n.enterPod(shim, 510, strange, podMount, false, "/bin/sh")
		}, []Missed{MissedContainer}},
		"a service of the host": {func(n *node, _ event.Key) *event.Event {
			k := n.started(700, "/usr/sbin/chronyd")
			n.cgroups[k], n.mounts[k] = 77, podMount
			return n.enters(k, false, "/usr/sbin/chronyd")
		}, nil},
		"all above was lost": {func(n *node, _ event.Key) *event.Event {
			k := event.Key{TGID: 800, Start: 5}
			n.parents[k] = event.Key{TGID: 799, Start: 4}
			n.cgroups[k], n.mounts[k] = podCgroup, podMount
			return n.enters(k, false, "/bin/sh")
		}, []Missed{MissedRuntime}},
	} {
		t.Run(name, func(t *testing.T) {
			n, shim := podNode(t)
			var got []Missed
			var at []time.Time
			n.table.opt.Unseen = func(cgroup uint64) bool { return cgroup == strange }
			n.table.opt.Missed = func(why Missed, when time.Time) { got, at = append(got, why), append(at, when) }
			ev := test.act(n, shim)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if len(at) > 0 && !at[len(at)-1].Equal(wall(ev.Time)) {
				t.Errorf("booked at %v, not when it was: %v", at, wall(ev.Time))
			}
			n.want("an entry", ev.Entry, len(test.want) == 0 && name == "an entry")
		})
	}
}
