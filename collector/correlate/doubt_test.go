package correlate

import (
	"fmt"
	"strings"
	"testing"
	"time"

	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

// TestContradictionsUndoJoins: three requests cannot have begun two sessions, so that one of
// them began none, and none of the joins made so far is a proof any more.
func TestContradictionsUndoJoins(t *testing.T) {
	s := newStory(t)
	s.record(after(seconds(10.1)), ask{id: "r1", at: after(seconds(10)), args: []string{"sh"}}) // of no session
	s.record(after(seconds(25.1)), ask{id: "r2", at: after(seconds(25)), args: []string{"sh"}})
	s.session(comeIn{id: "s1", at: after(seconds(25.1)), args: []string{"sh"}})
	s.session(comeIn{id: "s2", at: after(seconds(50)), args: []string{"sh"}})
	s.record(after(seconds(200)), ask{id: "r3", at: after(seconds(49.9)), args: []string{"sh"}})
	s.alive(testAgent, time.Second, 4*time.Minute)
	s.chatter(seconds(200), 4*time.Minute)
	m, _ := s.run(4 * time.Minute)
	if got := answersOf(m); got != "s1=r1|r2? s2=r2|r3?" {
		t.Errorf("got %s", got)
	}
}

// TestNamelessSessions: one whose pod its agent could not tell may be what a request began,
// until it is named.
func TestNamelessSessions(t *testing.T) {
	for named, want := range map[time.Duration]string{0: "thief=alice?", 80 * time.Second: "thief=unattributed alices=alice"} {
		s := newStory(t)
		c := comeIn{id: "alices", at: after(seconds(10.2)), args: []string{"sh"}}
		s.sessionOf(testAgent, seconds(14), c, func(e *sensorv1.Event) { e.Container = nil })
		s.session(comeIn{id: "thief", at: after(seconds(8)), args: []string{"sh"}})
		s.session(comeIn{id: "other", at: after(seconds(12)), args: []string{"id"}})
		s.record(after(seconds(12)), ask{id: "alice", at: after(seconds(8.5)), args: []string{"sh"}})
		s.record(after(seconds(13)), ask{id: "bob", at: after(seconds(11.9)), args: []string{"id"}})
		if named > 0 {
			s.sessionOf(testAgent, named, c, nil)
			want = "thief=alice? alices=alice?"
		}
		s.chatter(10*time.Second, 4*time.Minute)
		m, _ := s.run(4 * time.Minute)
		if got := answersOf(m); strings.ReplaceAll(got, " other=bob", "") != want || !strings.Contains(got, "other=bob") {
			t.Errorf("named at %v: got %s", named, got)
		}
	}
}

// TestASlowNode: that a node was quick says nothing of the next session, nor does it that the
// caller is gone.
func TestASlowNode(t *testing.T) {
	for _, thief := range []bool{true, false} {
		s := newStory(t)
		for i := range 6 {
			at := seconds(1 + float64(i))
			s.session(comeIn{id: fmt.Sprint("w", i), at: after(at), args: []string{"warm", fmt.Sprint(i)}})
			s.record(after(at+seconds(0.2)), ask{id: fmt.Sprint("rw", i), at: after(at - seconds(0.1)), args: []string{"warm", fmt.Sprint(i)}})
		}
		c, want := comeIn{id: "thief", at: after(seconds(61)), args: []string{"sh"}}, "thief=bob? bobs=bob?"
		if !thief { // hers, though she went away before the runtime began it
			c.id, want = "alices", "alices=alice|bob? bobs=alice|bob?"
			s.record(after(seconds(51.2)), ask{id: "alice", at: after(seconds(50)), end: after(seconds(51)), args: []string{"sh"}})
		}
		s.session(c)
		s.record(after(seconds(60.1)), ask{id: "bob", user: "bob", at: after(seconds(60)), args: []string{"sh"}})
		s.session(comeIn{id: "bobs", at: after(seconds(72)), args: []string{"sh"}})
		s.detected(62*time.Second, "escape-core-pattern", c, nil)
		s.chatter(60*time.Second, 4*time.Minute)
		m, revisions := s.run(4 * time.Minute)
		if got := answersOf(m); !strings.HasSuffix(got, want) {
			t.Errorf("got %s, want %s", got, want)
		}
		for _, a := range revisions {
			if strings.HasPrefix(a.Summary, "Came in: ") || strings.Contains(a.Summary, " Came in: bob") {
				t.Errorf("told at %v: %s", a.StoredTime.AsTime().Sub(noon), a.Summary)
			}
		}
	}
}

// TestASilentAgent: while nothing is heard of an agent its sessions may be on their way.
func TestASilentAgent(t *testing.T) {
	s := newStory(t)
	s.sessionOf(otherAgent, seconds(8.6), comeIn{id: "thief", at: after(seconds(8.5)), args: []string{"sh"}}, nil)
	s.record(after(seconds(10)), ask{id: "alice", at: after(seconds(9)), args: []string{"sh"}})
	s.sessionOf(otherAgent, seconds(80), comeIn{id: "alices", at: after(seconds(9.1)), args: []string{"sh"}}, nil) // it was cut off
	s.alive(otherAgent, seconds(81), 3*time.Minute)
	s.detected(seconds(9), "escape-core-pattern", comeIn{id: "unrelated", at: after(seconds(5)), args: []string{"x"}}, nil)
	for _, until := range []time.Duration{79 * time.Second, 2 * time.Minute} {
		m, _ := s.run(until)
		if got := answersOf(m); until < 80*time.Second && !strings.Contains(got, "thief=alice?") || strings.Contains(got, "thief=alice ") {
			t.Errorf("at %v: got %s", until, got)
		}
	}
	quiet := newStory(t)
	quiet.sessionOf(otherAgent, seconds(10), comeIn{id: "s", at: after(seconds(9.9)), args: []string{"sh"}}, nil)
	quiet.record(after(seconds(10)), ask{id: "r", at: after(seconds(9.8)), args: []string{"sh"}})
	if m, _ := quiet.run(4 * time.Minute); answersOf(m) != "s=r" {
		t.Errorf("of one that has nothing to say: got %s", answersOf(m))
	}
}

// TestOneClockIsAhead: where an API server's clock is ahead, the others' may be right.
func TestOneClockIsAhead(t *testing.T) {
	for _, ahead := range []float64{0, 0.9, 1.5, 3} {
		s := newStory(t)
		for d := 1; d < 120; d++ {
			s.record(after(seconds(float64(d))), ask{id: fmt.Sprint("A", d), at: after(seconds(float64(d) + ahead)), args: []string{"nothing"}})
		}
		s.session(comeIn{id: "alices", at: after(seconds(30)), args: []string{"true"}, tty: "pts/0"})
		s.record(after(seconds(31)), ask{id: "rB", at: after(seconds(29.9)), end: after(seconds(30.3)), args: []string{"true"}, tty: "y"})
		s.session(comeIn{id: "bobs", at: after(seconds(50)), args: []string{"id"}, tty: "pts/0"})
		s.record(after(seconds(51)), ask{id: "rA", at: after(seconds(49.9 + ahead)), end: after(seconds(50.3 + ahead)), args: []string{"id"}, tty: "y"})
		m, revisions := s.run(2 * time.Minute)
		if got := answersOf(m); got != "alices=rB bobs=rA" || len(revisions) > 0 {
			t.Errorf("%v s ahead: got %s, %d alerts", ahead, got, len(revisions))
		}
	}
}
