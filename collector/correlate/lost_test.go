package correlate

import (
	"bytes"
	"testing"
	"time"

	alertv1 "github.com/seawall-security/seawall/proto/alert/v1"
)

// TestLossesStayKnown: floods of other losses do not make forget that sessions were lost.
func TestLossesStayKnown(t *testing.T) {
	s := newStory(t)
	s.lost(11*time.Second, testAgent, "process_exec", seconds(9.5), seconds(10.5)) // the victim's session is in it
	s.session(comeIn{id: "thief", at: after(12 * time.Second), args: []string{"sh"}})
	for i := range 2 * maxLosses {
		class := "file_open"
		if i%2 == 0 {
			class = "entry"
		}
		s.lost(seconds(60+float64(i)), testAgent, class, seconds(59.5+float64(i)), seconds(60+float64(i)))
	}
	s.record(after(300*time.Second), ask{id: "victim", at: after(seconds(9.9)), args: []string{"sh"}})
	m, _ := s.run(310 * time.Second)
	if got := answersOf(m); got != "thief=victim?" {
		t.Errorf("got %s", got)
	}
	if n := len(m.agents.get(testAgent).Losses); n > maxLosses {
		t.Errorf("%d losses are kept", n)
	}
}

// TestRefusedMessagesAreLosses: a session in a message that is passed over is one that may be missing.
func TestRefusedMessagesAreLosses(t *testing.T) {
	s := newStory(t)
	s.session(comeIn{id: "victim", at: after(seconds(10)), args: []string{"sh"}})
	s.session(comeIn{id: "thief", at: after(seconds(12)), args: []string{"sh"}})
	s.record(after(seconds(100)), ask{id: "r", at: after(seconds(9.9)), args: []string{"sh"}})
	s.alive(testAgent, time.Second, 2*time.Minute)
	s.chatter(seconds(100), 3*time.Minute)
	m := NewMachine(Limits{})
	var revisions []*alertv1.Alert
	refused := 0
	for _, message := range s.log(noon, after(3*time.Minute)) {
		if bytes.Contains(message.Data, []byte("victim")) {
			refused++
			m.skip(message, true)
		} else if _, err := m.Apply(message, past(&revisions)); err != nil {
			t.Fatal(err)
		}
	}
	if got := answersOf(m); refused != 1 || got != "thief=r?" {
		t.Errorf("%d refused, %s", refused, got)
	}
}

// TestLossesOverlapOrMerge: however many there are, what was lost stays covered.
func TestLossesOverlapOrMerge(t *testing.T) {
	a, hour := &agentState{}, int64(time.Hour)
	var all []loss
	for i := range 500 {
		at := int64(i*7919%5000) * int64(time.Second)
		l := loss{at, at + int64(i%5)*int64(time.Second)}
		all = append(all, l)
		a.book(l, hour)
		for k, kept := range a.Losses {
			if kept.Since > kept.Until || k > 0 && kept.Since <= a.Losses[k-1].Until {
				t.Fatalf("after %d: got %v", i, a.Losses)
			}
		}
	}
	if len(a.Losses) > maxLosses {
		t.Errorf("%d are kept", len(a.Losses))
	}
	for _, l := range all {
		if !a.lost(l.Since, l.Until) {
			t.Errorf("%v is forgotten", l)
		}
	}
	a.book(loss{hour, hour}, hour+2*int64(forgetLoss))
	if len(a.Losses) != 1 {
		t.Errorf("got %v, all but one of which concern nothing any more", a.Losses)
	}
}

// TestAPodOfTheSameName: what was lost where a pod was before counts, and a pod that was not
// there yet was not asked for.
func TestAPodOfTheSameName(t *testing.T) {
	for _, test := range []struct {
		name string
		tell func(s *story)
	}{
		{"its-first-program-is-seen-on-both", func(s *story) {
			s.sessionOf(testAgent, seconds(2.1), comeIn{id: "own1", init: true, at: after(seconds(2)), args: []string{"server"}}, ofPod("u1"))
			s.sessionOf(otherAgent, seconds(20.1), comeIn{id: "own2", init: true, container: "c2", at: after(seconds(20)), args: []string{"server"}}, ofPod("u2"))
		}},
		{"on-the-second", func(s *story) {
			s.sessionOf(otherAgent, seconds(20.1), comeIn{id: "own2", init: true, container: "c2", at: after(seconds(20)), args: []string{"server"}}, ofPod("u2"))
		}},
		{"nobody-knows-where-it-was", func(s *story) {
			s.lost(seconds(11), testAgent, "process_exec", seconds(9.5), seconds(10.5))
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newStory(t)
			s.alive(otherAgent, time.Second, 2*time.Minute)
			test.tell(s)
			s.sessionOf(otherAgent, seconds(25.1), comeIn{id: "thief", container: "c2", at: after(seconds(25)), args: []string{"sh"}}, ofPod("u2"))
			s.record(after(seconds(70)), ask{id: "victim", at: after(seconds(9.9)), args: []string{"sh"}})
			m, _ := s.run(2 * time.Minute)
			if got := answersOf(m); got != "thief=victim?" {
				t.Errorf("got %s", got)
			}
		})
	}
}
