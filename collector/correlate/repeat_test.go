package correlate

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seawall-security/seawall/collector/alert"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

// TestRepeatedEntries: of entries alike the first three are told one by one, the others by
// one alert that counts them; what differs is told beside it.
func TestRepeatedEntries(t *testing.T) {
	s := newStory(t)
	s.events(after(time.Second), created(after(0), probedSpec))
	for i := range 300 {
		s.session(comeIn{id: fmt.Sprintf("c%03d", i), at: after(time.Duration(10+i) * time.Second), args: []string{"check"}})
	}
	s.session(comeIn{id: "terminal", at: after(200 * time.Second), args: []string{"check"}, tty: "pts/0"})
	s.session(comeIn{id: "other", at: after(201 * time.Second), args: []string{"check", "x"}})
	s.session(comeIn{id: "later", at: after(2 * time.Hour), args: []string{"check"}})
	s.chatter(10*time.Second, 8*time.Minute)
	s.chatter(2*time.Hour, 2*time.Hour+2*time.Minute)
	m, revisions := s.run(2*time.Hour + 5*time.Minute)
	var keys []string
	for _, a := range entryAlerts(revisions) {
		if !slices.Contains(a.Tags, tagRepeated) {
			keys = append(keys, a.Anchor.Key)
			continue
		}
		keys = append(keys, fmt.Sprint("repeated ", facts(a)))
		if a.Title != "Repeated entry past the Kubernetes API in container app of pod store/web-0" || a.Severity != high || a.Revision > 4 ||
			!strings.HasPrefix(a.Summary, "check came into the container. So 297 times, behind 3 that were told one by one. Came in past the Kubernetes API (check): no request asked for it.") {
			t.Errorf("after %d revisions: %q, %q", a.Revision, a.Title, a.Summary)
		}
	}
	slices.Sort(keys)
	if want := "c000 c001 c002 later other repeated 297 terminal"; strings.Join(keys, " ") != want {
		t.Errorf("got %q", keys)
	}
	for key, found := range m.sessions.all() {
		if key.ID != "own" && found.Attribution == unattributed && found.Told == "" {
			t.Errorf("%s is told nowhere", key.ID)
		}
	}
}

// TestRepeatsOnOtherNodes and in other workloads are told beside each other.
func TestRepeatsOnOtherNodes(t *testing.T) {
	s := newStory(t)
	for i := range 8 {
		c := comeIn{id: fmt.Sprint("c", i), at: after(time.Duration(10+i) * time.Second), args: []string{"sh"}, tty: "pts/0"}
		s.sequence++
		r := c.record(s.sequence)
		if i%4 >= 2 {
			r.GetEvent().Container.Image = "registry.example/other:1"
		}
		agent := testAgent
		if i%2 == 1 { // another pod of the workload
			agent = badAgent
			r.GetEvent().Container.Pod = &sensorv1.Pod{Name: "web-1", Namespace: "store", Uid: "u2"}
		}
		s.at(c.at, func(l *logWriter) { l.send(t, agent, c.at, 0, r) })
	}
	s.chatter(10*time.Second, 3*time.Minute)
	if _, revisions := s.run(5 * time.Minute); len(entryAlerts(revisions)) != 8 || len(revisions) != 8 {
		t.Errorf("%d alerts", len(entryAlerts(revisions)))
	}
}

// TestRepeatsThatWereAskedFor: an alert of many is taken back when of all of them the
// requests came late, and holds again with another one.
func TestRepeatsThatWereAskedFor(t *testing.T) {
	const n = 6
	story := func(records int, more bool) *alertState {
		s := newStory(t)
		for i := range n {
			at := after(time.Duration(10+40*i) * time.Second)
			s.session(comeIn{id: fmt.Sprint("s", i), at: at, args: []string{"sh"}, tty: "pts/0"})
			if i >= n-records {
				s.record(after(9*time.Minute), ask{id: fmt.Sprint("r", i), at: at.Add(-100 * time.Millisecond), end: at.Add(500 * time.Millisecond), args: []string{"sh"}, tty: "y"})
			}
		}
		if more {
			s.session(comeIn{id: "more", at: after(15 * time.Minute), args: []string{"sh"}, tty: "pts/0"})
		}
		s.chatter(10*time.Second, 20*time.Minute)
		_, revisions := s.run(40 * time.Minute)
		for _, a := range entryAlerts(revisions) {
			if slices.Contains(a.Tags, tagRepeated) {
				return &alertState{a.Kind, a.Title, a.Summary, int(a.Severity), a.Tags}
			}
		}
		t.Fatal("there is no alert of repeats")
		return nil
	}
	if a := story(1, false); a.severity != int(high) || !strings.Contains(a.summary, "So 3 times") || !strings.Contains(a.summary, "Of 1 of these requests came late.") {
		t.Errorf("one: got %+v", a)
	}
	if a := story(3, false); a.kind != alert.KindEntry || a.severity >= int(low) || !strings.HasPrefix(a.title, "Repeated entry whose requests were recorded late") || !slices.Contains(a.tags, tagExplained) {
		t.Errorf("all: got %+v", a)
	}
	if a := story(3, true); a.severity != int(high) || !strings.Contains(a.summary, "So 4 times") || slices.Contains(a.tags, tagExplained) {
		t.Errorf("and one more: got %+v", a)
	}
}

type alertState struct {
	kind, title, summary string
	severity             int
	tags                 []string
}
