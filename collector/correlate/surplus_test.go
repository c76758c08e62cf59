package correlate

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seawall-security/seawall/collector/alert"
	auditv1 "github.com/seawall-security/seawall/proto/audit/v1"
)

// TestMoreEntriesThanRequests: behind one honest request others cannot hide.
func TestMoreEntriesThanRequests(t *testing.T) {
	s := newStory(t)
	s.session(comeIn{id: "victim", at: after(10 * time.Second), args: []string{"sh"}, tty: "pts/0"})
	for i := range 5 {
		s.session(comeIn{id: fmt.Sprint("thief", i), at: after(seconds(12 + 2*float64(i))), args: []string{"sh"}, tty: "pts/1"})
	}
	s.detected(30*time.Second, "escape-core-pattern", comeIn{id: "thief0", at: after(12 * time.Second), args: []string{"sh"}, tty: "pts/1"}, nil)
	s.record(after(11*time.Second), ask{id: "r", at: after(seconds(9.9)), args: []string{"sh"}, tty: "y"})
	s.chatter(11*time.Second, 10*time.Minute)
	_, revisions := s.run(5 * time.Minute)
	alerts := entryAlerts(revisions)
	if len(alerts) != 1 {
		t.Fatalf("got %s", brief(latest(revisions)))
	}
	a := alerts[0]
	if a.Severity != high || len(a.Entries) != 6 || !strings.HasPrefix(a.Title, "Entries past the Kubernetes API in container app") ||
		!strings.HasPrefix(a.Summary, "6 entries, 1 request: at least 5 came past the Kubernetes API.") || a.Revision > 6 {
		t.Errorf("got %v", a)
	}
	for _, other := range latest(revisions) {
		if other.Kind == alert.KindEscape && !strings.Contains(other.Summary, "May have come in: alice@example.test from 10.77.0.10 by kubectl exec, or somebody past the API (sh).") {
			t.Errorf("got %q", other.Summary)
		}
	}
	for i := range 5 { // it was all in order: the records were very late
		s.record(after(6*time.Minute), ask{id: fmt.Sprint("r", i), at: after(seconds(11.9 + 2*float64(i))), args: []string{"sh"}, tty: "y"})
	}
	m, revisions := s.run(8 * time.Minute)
	if a := entryAlerts(revisions)[0]; len(entryAlerts(revisions)) != 1 || a.Severity >= low || !strings.HasPrefix(a.Title, "Entries whose requests were recorded late") {
		t.Errorf("got %v, %s", a, answersOf(m))
	}
	for _, found := range m.sessions.all() {
		if found.Over || found.Set.ID != "" {
			t.Errorf("%s is still one too many", found.Key.ID)
		}
	}
}

// TestACrowdIsTooMany: more entries than are looked at together hide nothing, and are taken
// back as fewer are.
func TestACrowdIsTooMany(t *testing.T) {
	const n = maxComponent + 20
	s := newStory(t)
	var late []*auditv1.Event
	for i := range n {
		at := after(seconds(10 + 20*float64(i)/n))
		s.session(comeIn{id: fmt.Sprint("s", i), at: at, args: []string{"sh"}, tty: "pts/0"})
		a := ask{id: fmt.Sprint("r", i), at: at.Add(-50 * time.Millisecond), args: []string{"sh"}, tty: "y"}
		if i == 0 {
			s.record(after(seconds(11)), a)
		} else {
			late = append(late, a.event(auditv1.Stage_STAGE_STARTED))
		}
	}
	s.events(after(4*time.Minute), late...)
	s.chatter(seconds(11), 5*time.Minute)
	for until, want := range map[time.Duration]bool{3 * time.Minute: true, 5 * time.Minute: false} {
		_, revisions := s.run(until)
		alerts := entryAlerts(revisions)
		if len(alerts) != 1 || !slices.Contains(alerts[0].Tags, tagSurplus) || (alerts[0].Severity >= high) != want {
			t.Errorf("by %v: %s", until, brief(alerts))
		}
	}
}

// TestProbesAreNotTooMany: what the kubelet runs counts for nothing, nor does what may be it.
func TestProbesAreNotTooMany(t *testing.T) {
	s := newStory(t)
	for i := range 6 { // without a terminal, of a pod that nothing is known of
		s.session(comeIn{id: fmt.Sprint("s", i), at: after(seconds(10 + 3*float64(i))), args: []string{"sh"}})
	}
	s.record(after(11*time.Second), ask{id: "r", at: after(seconds(9.9)), args: []string{"sh"}})
	s.chatter(11*time.Second, 5*time.Minute)
	if _, revisions := s.run(5 * time.Minute); len(revisions) > 0 {
		t.Errorf("got %s", brief(revisions))
	}
}
