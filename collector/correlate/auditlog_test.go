package correlate

import (
	"fmt"
	"testing"
	"time"

	"github.com/seawall-security/seawall/collector/alert"
	collectorv1 "github.com/seawall-security/seawall/proto/collector/v1"
)

// TestAuditGapsAreTakenUp: what was decided before a gap of the audit log was told, or
// before it was filled, is decided again.
func TestAuditGapsAreTakenUp(t *testing.T) {
	state := func(s *story, at time.Duration, c collectorv1.AuditCondition, since time.Duration) {
		s.at(after(at), func(l *logWriter) { l.condition(t, after(at), after(since), 0, c) })
	}
	entry := func(s *story, at time.Duration) {
		s.session(comeIn{id: "s", at: after(at), args: []string{"sh"}, tty: "pts/0"})
	}
	const receiving, stale = collectorv1.AuditCondition_AUDIT_CONDITION_RECEIVING, collectorv1.AuditCondition_AUDIT_CONDITION_STALE
	for _, test := range []struct {
		name  string
		tell  func(s *story)
		want  string
		told  int // alerts of entries that ever were high
		stays bool
	}{
		{"a-silence-is-waited-for", func(s *story) {
			s.chatter(time.Second, 5*time.Second)
			entry(s, 10*time.Second)
			s.chatter(80*time.Second, 900*time.Second)
			s.auditGaps(250*time.Second, auditGapOf("1", 4*time.Second, 80*time.Second, false))
		}, "s=unavailable", 0, false},
		{"a-silence-that-was-none", func(s *story) {
			s.chatter(time.Second, 5*time.Second)
			entry(s, 10*time.Second)
			s.chatter(80*time.Second, 900*time.Second)
		}, "s=unattributed", 1, true},
		{"a-silence-that-is-filled", func(s *story) {
			s.chatter(time.Second, 5*time.Second)
			entry(s, 10*time.Second)
			s.chatter(80*time.Second, 900*time.Second)
			for _, at := range []float64{20, 50} { // another server's events, late
				s.record(after(seconds(100)), ask{id: fmt.Sprint("x", at), at: after(seconds(at)), args: []string{"nothing"}})
			}
		}, "s=unattributed", 1, true},
		{"a-gap-told-afterwards", func(s *story) { // refused among others that were taken
			s.chatter(time.Second, 900*time.Second)
			entry(s, 10*time.Second)
			s.auditGaps(190*time.Second, auditGapOf("1", 9*time.Second, 11*time.Second, false))
		}, "s=unavailable", 1, false},
		{"a-gap-that-is-filled", func(s *story) {
			s.chatter(time.Second, 900*time.Second)
			entry(s, 30*time.Second)
			s.auditGaps(31*time.Second, auditGapOf("1", 5*time.Second, 35*time.Second, false))
			s.auditGaps(150*time.Second, auditGapOf("1", 5*time.Second, 35*time.Second, true))
		}, "s=unattributed", 1, true},
		{"an-outage-of-which-all-has-come", func(s *story) {
			s.chatter(time.Second, 5*time.Second)
			state(s, 100*time.Second, stale, 5*time.Second)
			entry(s, 101*time.Second)
			s.chatter(102*time.Second, 900*time.Second)
			state(s, 103*time.Second, receiving, 103*time.Second)
		}, "s=unattributed", 1, true},
		{"an-outage-with-a-gap", func(s *story) {
			s.chatter(time.Second, 5*time.Second)
			state(s, 100*time.Second, stale, 5*time.Second)
			entry(s, 101*time.Second)
			s.chatter(102*time.Second, 900*time.Second)
			state(s, 103*time.Second, receiving, 103*time.Second)
			s.auditGaps(230*time.Second, auditGapOf("1", 4*time.Second, 102*time.Second, false))
		}, "s=unavailable", 0, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newStory(t)
			test.tell(s)
			m, revisions := s.run(15 * time.Minute)
			if got := answersOf(m); got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
			told := make(map[string]bool)
			for _, a := range revisions {
				if a.Kind == alert.KindEntry && a.Severity >= high {
					told[a.Id] = true
				}
			}
			stays := false
			for _, a := range entryAlerts(revisions) {
				stays = stays || a.Severity >= high
			}
			if len(told) != test.told || stays != test.stays {
				t.Errorf("%d alerts, one stays: %v", len(told), stays)
			}
		})
	}
}
