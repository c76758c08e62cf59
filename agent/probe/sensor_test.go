package probe

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"go.uber.org/zap/zaptest"

	"github.com/seawall-security/seawall/internal/testpriv"
)

// The test binary is what the self-test executes.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == SelfTestArgument {
		return
	}
	status := m.Run()
	if dir, err := actorFolder(); err == nil {
		if err := os.RemoveAll(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			status = 1
		}
	}
	os.Exit(status)
}

// hierarchy is the one runtimes use on this host, as agent/container would find it.
func hierarchy(t testing.TB) Hierarchy {
	t.Helper()
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err == nil {
		return Hierarchy{Mount: "/sys/fs/cgroup"}
	}
	membership, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	return parseHierarchy(t, string(membership))
}

func open(t testing.TB, change func(*Options)) *Sensor {
	t.Helper()
	testpriv.Root(t)
	o := Options{Log: zaptest.NewLogger(t), Hierarchy: hierarchy(t), DecisiveBytes: 1 << 20, BulkBytes: 1 << 20}
	if change != nil {
		change(&o)
	}
	s, err := Open(o)
	if err != nil {
		t.Fatalf("%+v", err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// read runs the reader until the test ends.
func read(t testing.TB, s *Sensor, handle func(Ring, []byte)) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Read(ctx, handle, func() {}) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestEveryHookIsConfirmed(t *testing.T) { confirm(t, "") }

// Every kernel has to have the rung that is left when it refuses all others.
func TestEveryHookIsConfirmedOnTheLowestRung(t *testing.T) { confirm(t, RungSyscall) }

// An agent in a container has a pid namespace of its own, where its number is not the one
// the kernel's programs see, and a procfs that shows nobody else. It sees its own acts and
// knows the host's namespaces all the same.
func TestHooksAreConfirmedInAnotherPIDNamespace(t *testing.T) {
	testpriv.Root(t)
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	host := namespacesOf(open(t, nil))
	c := exec.Command("sh", "-c", `mount -t proc proc /proc && echo number $$ && exec "$0" "$@"`,
		program, "-test.run=^TestEveryHookIsConfirmed$", "-test.v")
	// Unshared by Go's runtime, the mount stays in there.
	c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID, Unshareflags: syscall.CLONE_NEWNS}
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, line := range []string{"number 1\n", host, "--- PASS: TestEveryHookIsConfirmed "} {
		if !bytes.Contains(out, []byte(line)) {
			t.Errorf("%q is missing in\n%s", line, out)
		}
	}
}

func namespacesOf(s *Sensor) string {
	return fmt.Sprintf("the host's namespaces are %+v", s.Host().Namespaces)
}

func confirm(t *testing.T, ceiling Rung) {
	t.Helper()
	s := open(t, func(o *Options) { o.Ceiling = ceiling })
	read(t, s, func(Ring, []byte) {})
	if err := s.Confirm(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Log(namespacesOf(s))
	for _, h := range s.Hooks() {
		t.Logf("%-20s %-10s confirmed=%v %v", h.Hook, h.Rung, h.Confirmed, h.Refused)
		if !h.Confirmed {
			t.Errorf("%s is not confirmed", h)
		}
		if ceiling != "" && h.Rung.height() > ceiling.height() {
			t.Errorf("%s is above the ceiling %s", h, ceiling)
		}
	}
}
