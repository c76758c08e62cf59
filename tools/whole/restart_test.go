package whole

import (
	"fmt"
	"testing"
	"time"
)

// TestRestartIsOneGap: while an agent does not run nobody knows what happened. A stop and a
// start, as of an update, are one gap, of just that time; and so are a kill and a start.
func TestRestartIsOneGap(t *testing.T) {
	w := newWorld(t, nil, "")
	w.start()
	archive := newOutlet("archive", w.path("archive.json"))
	act := func() {
		t.Helper()
		mark := w.actor.act(t.Context())
		w.until(time.Minute, "what was done is told", func() error {
			if err := archive.catchUp(); err != nil {
				return err
			}
			if len(archive.marks[mark]) == 0 {
				return fmt.Errorf("%s is not told", mark)
			}
			return nil
		})
	}
	// away are the times at which the agent is told not to have run, "" for a first run.
	away := func() map[string]bool {
		found := map[string]bool{}
		for _, g := range archive.gaps {
			if g.GetStage() == "agent" && g.GetClass() == "all" {
				since := ""
				if g.GetSince() != nil {
					since = g.GetSince().AsTime().Format(time.RFC3339Nano)
				}
				found[since+" "+g.GetUntil().AsTime().Format(time.RFC3339Nano)] = true
			}
		}
		return found
	}
	act()
	if got := away(); len(got) != 1 {
		t.Errorf("before its first start: %v", got)
	}
	for n, end := range []func(){w.agent.stop, func() { w.agent.kill() }} {
		last := time.Now()
		end()
		gone := time.Now()
		if err := w.agent.start(); err != nil {
			t.Fatal(err)
		}
		act()
		if got := away(); len(got) != n+2 {
			t.Errorf("after %d starts: %v", n+2, got)
		}
		if n > 0 {
			continue // nobody knows until when it saw what happened
		}
		found := false
		for _, g := range archive.gaps {
			found = found || g.GetStage() == "agent" && g.GetSince() != nil && g.GetSince().AsTime().After(last.Add(-time.Second)) &&
				g.GetSince().AsTime().Before(gone) && g.GetUntil().AsTime().After(gone)
		}
		if !found {
			t.Errorf("it was stopped between %v and %v: %v", last, gone, archive.gaps)
		}
	}
}
