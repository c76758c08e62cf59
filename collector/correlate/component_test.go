package correlate

import (
	"fmt"
	"testing"
	"time"

	"github.com/seawall-security/seawall/collector/alert"
	auditv1 "github.com/seawall-security/seawall/proto/audit/v1"
)

// flood is equal commands and their requests, all within twenty seconds, or of so many sorts.
func flood(t testing.TB, n, sorts int, late time.Duration) []Message {
	s := &stream{t: t}
	s.at(noon, func(l *logWriter) { l.receiving(t, noon, noon.Add(-time.Hour), 0) })
	var behind []*auditv1.Event
	for i := range n {
		at := after(seconds(10 + 20*float64(i)/float64(n)))
		args := []string{"true", fmt.Sprint(i % sorts)}
		r := comeIn{id: fmt.Sprint("s", i), at: at, args: args}.record(uint64(i + 1))
		s.at(at.Add(100*time.Millisecond), func(l *logWriter) { l.send(t, testAgent, at.Add(100*time.Millisecond), 0, r) })
		e := ask{id: fmt.Sprint("r", i), at: at.Add(-50 * time.Millisecond), args: args}.event(auditv1.Stage_STAGE_STARTED)
		if late == 0 {
			s.at(at.Add(200*time.Millisecond), func(l *logWriter) { l.audit(t, at.Add(200*time.Millisecond), e) })
		}
		behind = append(behind, e)
	}
	if late > 0 {
		s.at(after(late), func(l *logWriter) { l.audit(t, after(late), behind...) })
	}
	return s.log(noon, after(4*time.Minute))
}

func apply(t testing.TB, m *Machine, messages []Message) {
	for _, message := range messages {
		if _, err := m.Apply(message, func(alert.Identity) (uint32, error) { return 0, nil }); err != nil {
			t.Fatal(err)
		}
	}
}

// TestFloodsOfEqualCommands cost no more for each when they are more, however their records
// come; and all are told as ambiguous.
func TestFloodsOfEqualCommands(t *testing.T) {
	for _, late := range []time.Duration{0, 100 * time.Second} {
		var each []int
		for _, n := range []int{200, 400, 800, 1600} {
			m := NewMachine(Limits{})
			apply(t, m, flood(t, n, 1, late))
			each = append(each, m.effort/n)
			for _, s := range m.sessions.all() {
				if s.Attribution != ambiguous || len(s.Requests) == 0 {
					t.Fatalf("%d, late %v: %s is %v of %d", n, late, s.Key.ID, s.Attribution, len(s.Requests))
				}
			}
		}
		t.Logf("late %v: comparisons and steps for each session %v", late, each)
		if last := each[len(each)-1]; last > 2*each[0] || last > 32*maxComponent {
			t.Errorf("late %v: for each session %v", late, each)
		}
	}
}

// TestComponentsBelowTheBound are told apart, and cost what the bound allows.
func TestComponentsBelowTheBound(t *testing.T) {
	m := NewMachine(Limits{})
	apply(t, m, flood(t, 60, 60, 0))
	for _, s := range m.sessions.all() {
		if s.Attribution != joined {
			t.Errorf("%s is %v", s.Key.ID, s.Attribution)
		}
	}
	m = NewMachine(Limits{})
	messages, most := flood(t, 60, 1, 0), 0
	for _, message := range messages {
		before := m.effort
		apply(t, m, []Message{message})
		most = max(most, m.effort-before)
	}
	if t.Logf("at most %d comparisons and steps of a message", most); most > maxComponent*maxComponent*maxComponent {
		t.Errorf("%d comparisons and steps of a message", most)
	}
}

// BenchmarkFlood is per session, of so many with one command and one pod within 20 s.
func BenchmarkFlood(b *testing.B) {
	for _, bench := range []struct{ n, sorts int }{{60, 1}, {200, 1}, {1600, 1}, {1600, 1600}} {
		b.Run(fmt.Sprintf("%d-of-%d-sorts", bench.n, bench.sorts), func(b *testing.B) {
			messages := flood(b, bench.n, bench.sorts, 0)
			for b.Loop() {
				apply(b, NewMachine(Limits{}), messages)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*bench.n), "ns/session")
		})
	}
}
