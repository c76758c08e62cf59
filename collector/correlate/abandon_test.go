package correlate

import (
	"path/filepath"
	"testing"
	"time"

	alertv1 "github.com/seawall-security/seawall/proto/alert/v1"
)

// After a part of the log is lost nobody can believe that nothing happened in it: readers
// have an alert that says so, and the alerts of that time a gap.
func TestAbandon(t *testing.T) {
	s, book, c := openStore(t, filepath.Join(t.TempDir(), "store.db"))
	defer s.Close()
	l, scene := newLog(), &scene{container: "c"}
	l.send(t, testAgent, noon, 0, scene.shell(0))
	for range 5 {
		l.tick(t, time.Second)
	}
	if err := c.Apply(t.Context(), l.messages...); err != nil {
		t.Fatal(err)
	}
	before, _, _ := stored(t, s, book)
	ids := map[string]bool{}
	for _, a := range before {
		ids[a.Id] = true
	}
	lost := l.now

	// A new log begins at 1, an hour later, with what the agent repeats and what is new.
	until := lost.Add(time.Hour)
	hole := Hole{Cluster: testCluster, Position: 0, Until: until}
	first, err := c.Abandon(t.Context(), hole)
	if err != nil {
		t.Fatal(err)
	}
	g := first.Gaps[0]
	if first.Kind != "gap" || first.Severity == 0 || ids[first.Id] || len(first.Gaps) != 1 || g.Stage != "collector" || g.Count != 0 ||
		!g.Since.AsTime().Equal(lost) || !g.Until.AsTime().Equal(until) {
		t.Errorf("the alert says %v", first)
	}
	if position(t, c) != 0 {
		t.Errorf("goes on behind %d", position(t, c))
	}
	next := newLog()
	next.now = until
	next.send(t, testAgent, until, 0, scene.shell(0))
	next.sequence[testAgent] = 100
	next.send(t, testAgent, until.Add(time.Second), 0, scene.script(time.Second))
	next.tick(t, recount)
	if err := c.Apply(t.Context(), next.messages...); err != nil {
		t.Fatal(err)
	}
	if got := c.Stats().Duplicates; got != 1 {
		t.Errorf("%d repeats were told, want 1", got)
	}
	_, listed, _ := stored(t, s, book)
	if len(listed) != 2 || listed[0].Id != first.Id || !ids[listed[1].Id] || listed[1].Revision < 2 {
		t.Fatalf("alerts %s", brief(listed))
	}
	if grown := listed[1]; len(grown.Gaps) != 1 || grown.Gaps[0].Reason != "log_lost" {
		t.Errorf("the alert of that time has gaps %v", grown.Gaps)
	}

	// It happens again: another alert, with what is known of it.
	hole.Position, hole.Until, hole.Messages = 500, next.now.Add(time.Hour), 40
	second, err := c.Abandon(t.Context(), hole)
	if err != nil {
		t.Fatal(err)
	}
	if second.Id == first.Id || second.Anchor.Episode != 2 || second.Gaps[0].Count != 40 || position(t, c) != 500 {
		t.Errorf("the second time: %v", second)
	}
	all, _, _ := stored(t, s, book) // positions have no holes, revisions are once
	seen := map[string]map[uint32]*alertv1.Alert{}
	for _, a := range all {
		if seen[a.Id] == nil {
			seen[a.Id] = map[uint32]*alertv1.Alert{}
		}
		if seen[a.Id][a.Revision] != nil {
			t.Errorf("revision %d of %s twice", a.Revision, a.Id)
		}
		seen[a.Id][a.Revision] = a
	}
}

// A store that never saw anything has no time from which something could be lost.
func TestAbandonOfNothing(t *testing.T) {
	s, _, c := openStore(t, filepath.Join(t.TempDir(), "store.db"))
	defer s.Close()
	told, err := c.Abandon(t.Context(), Hole{Cluster: testCluster, Position: 7, Until: noon})
	if err != nil || !told.FirstTime.AsTime().Equal(noon) || position(t, c) != 7 {
		t.Errorf("%v, %v", told, err)
	}
}
