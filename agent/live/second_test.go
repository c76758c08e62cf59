package live

import (
	"context"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/seawall-security/seawall/agent/container"
	"github.com/seawall-security/seawall/agent/probe"
	"github.com/seawall-security/seawall/internal/event"
	"github.com/seawall-security/seawall/internal/testpriv"
)

// TestSecondAgent: an agent that starts beside another (a rolling update, or somebody
// types `seawall-agent probe`) proves its hooks, and the other has nothing to say of it.
func TestSecondAgent(t *testing.T) {
	testpriv.Root(t)
	seen := newRecording()
	w := newWorld(t, setup{sink: seen, wait: 100 * time.Millisecond, sensor: func(o *probe.Options) { o.Unfiltered = true }})
	w.settled(t)
	pid := run(t, self(t, actAgent, "lsm"))
	seen.await(t, "the second agent's end", func(ev *event.Event) bool {
		return ev.Kind == event.KindProcessExit && ev.Actor.TGID == pid
	})
	if n := len(seen.all(func(ev *event.Event) bool { return ev.Kind == event.KindMemoryProtect && ev.Actor.TGID == pid })); n == 0 {
		t.Error("the first agent does not see the second one's self-test")
	}
	seen.mu.Lock()
	defer seen.mu.Unlock()
	for _, d := range seen.detections {
		if p := d.GetEvent().GetProcess(); p.GetPid() == pid || strings.Contains(d.GetSummary(), "self-test") {
			t.Errorf("the first agent says of the second: %s: %s", d.GetRule(), d.GetSummary())
		}
	}
}

// beAgent attaches all hooks below a rung and proves them.
func beAgent(ceiling string) error {
	tree, err := container.FindHierarchy("/")
	if err != nil {
		return err
	}
	sensor, err := probe.Open(probe.Options{
		Log: zap.NewNop(), DecisiveBytes: 1 << 20, BulkBytes: 1 << 20, Ceiling: probe.Rung(ceiling),
		Hierarchy: probe.Hierarchy{ID: uint32(tree.ID), Controller: tree.Controller, Mount: tree.Mount},
	})
	if err != nil {
		return err
	}
	defer sensor.Close()
	group, ctx := errgroup.WithContext(context.Background())
	reading, stop := context.WithCancel(ctx)
	defer stop()
	group.Go(func() error { return sensor.Read(reading, func(probe.Ring, []byte) {}, func() {}) })
	group.Go(func() error {
		defer stop()
		return sensor.Confirm(ctx)
	})
	if err := group.Wait(); err != nil {
		return err
	}
	return sensor.Check()
}
