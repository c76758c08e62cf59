package probe

import (
	"context"
	"os"
	"testing"

	"go.uber.org/zap/zaptest"

	"github.com/seawall-security/seawall/internal/testpriv"
)

// The test binary is what the self-test executes.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == SelfTestArgument {
		return
	}
	os.Exit(m.Run())
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

func confirm(t *testing.T, ceiling Rung) {
	t.Helper()
	s := open(t, func(o *Options) { o.Ceiling = ceiling })
	read(t, s, func(Ring, []byte) {})
	if err := s.Confirm(t.Context()); err != nil {
		t.Fatal(err)
	}
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
