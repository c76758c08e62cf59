package probe

import (
	"fmt"
	"os/exec"
	"syscall"
	"testing"

	"github.com/seawall-security/seawall/internal/event"
)

// testReach: a connection that the host's side makes within another network namespace is
// told of, with that namespace, though nobody asks for its port; others are not.
func testReach(t *testing.T, w *watch) {
	host := w.Host().Namespaces
	for _, test := range []struct {
		name  string
		clone uintptr
		told  int
	}{
		{"in the host's network", 0, 0},
		{"in another network", syscall.CLONE_NEWNET, 1},
		{"of who has a mount namespace of its own", syscall.CLONE_NEWNET | syscall.CLONE_NEWNS, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := attack(t, t.TempDir(), "connect", "127.0.0.1:9")
			c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: test.clone}
			pid := perform(t, c)[0].PID // nobody listens
			flows := w.until(t, pid, event.KindNetworkConnect)
			if len(flows) != test.told {
				t.Fatalf("%d connections are told of", len(flows))
			}
			for _, ev := range flows {
				f := ev.Payload.(*event.Flow)
				if f.Local.NetNamespace == 0 || f.Local.NetNamespace == host.Net || ev.MountNS != host.Mount || f.Remote.Port != 9 {
					t.Errorf("flow %+v in mount namespace %d; the host's are %+v", f, ev.MountNS, host)
				}
			}
		})
	}
}

// testJoin: who joins another's mount namespace is told of with that.
func testJoin(t *testing.T, w *watch) {
	there := exec.Command("sh", "-c", "read line")
	there.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	in, err := there.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := there.Start(); err != nil {
		t.Fatal(err)
	}
	first := w.find(t, "who is joined", func(ev *event.Event) bool {
		return ev.Kind == event.KindProcessExec && ev.Actor.TGID == uint32(there.Process.Pid)
	})
	r := must(t, attack(t, t.TempDir(), "setns", fmt.Sprintf("/proc/%d/ns/mnt", there.Process.Pid)))
	moves := w.until(t, r.PID, event.KindProcessNamespace)
	if len(moves) == 0 {
		t.Fatal("the move is not told of")
	}
	last := moves[len(moves)-1]
	if n := last.Payload.(*event.Namespace); n.After.Mount != first.MountNS || n.After.Mount == w.Host().Namespaces.Mount {
		t.Errorf("it moves to %+v, not to mount namespace %d", n.After, first.MountNS)
	}
	if err := in.Close(); err != nil {
		t.Error(err)
	}
	_ = there.Wait() // sh has read nothing
}
