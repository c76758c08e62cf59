package pipeline

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seawall-security/seawall/agent/container"
	"github.com/seawall-security/seawall/agent/decode"
	"github.com/seawall-security/seawall/internal/event"
)

const entersRunning = 1 << 0 // EXEC_ENTERED

// An entry whose container has no name as it goes up, or may have none for as long as the
// collector takes entries to need, is booked: once, whatever becomes of it.
func TestNamelessEntriesAreBooked(t *testing.T) {
	const wait, booted = 4 * time.Second, 50 * time.Second
	for name, test := range map[string]struct {
		state container.State
		pen   int
		then  func(*scene)
		want  int
		flags uint32
	}{
		"named at once":      {container.Known, 100, func(*scene) {}, 0, 0},
		"named soon":         {container.Pending, 100, func(s *scene) { s.cgroups.resolve(podCgroup, container.Known) }, 0, 0},
		"waits":              {container.Pending, 100, func(s *scene) { s.now = s.now.Add(warnAfter) }, 1, 0},
		"waits on":           {container.Pending, 100, func(s *scene) { s.now = s.now.Add(warnAfter); s.Idle(); s.now = s.now.Add(warnAfter) }, 1, 0},
		"named late":         {container.Pending, 100, late, 1, 0},
		"overdue":            {container.Pending, 100, func(s *scene) { s.now = s.now.Add(wait) }, 1, 0},
		"warned and overdue": {container.Pending, 100, func(s *scene) { s.now = s.now.Add(warnAfter); s.Idle(); s.now = s.now.Add(wait) }, 1, 0},
		"the pen is full": {container.Pending, 2, func(s *scene) {
			for range 3 {
				s.Record(openRecord(podCgroup, 0, "/a"))
			}
		}, 1, 0},
		"the agent ends": {container.Pending, 100, func(s *scene) { s.Flush() }, 1, 0},
		"refuted":        {container.Pending, 100, func(s *scene) { s.cgroups.resolve(podCgroup, container.Host) }, 1, 0},
		"two": {container.Pending, 100, func(s *scene) {
			s.now = s.now.Add(warnAfter)
			s.Idle()
			actor{22, podMount, podCgroup}.comes(s, entersRunning)
			s.now = s.now.Add(wait)
		}, 2, 0},
		"a container's first waits":      {state: container.Pending, pen: 100, then: func(s *scene) { s.now = s.now.Add(warnAfter) }, flags: entersRunning | 1<<1},
		"a container's first is overdue": {state: container.Pending, pen: 100, then: func(s *scene) { s.now = s.now.Add(warnAfter); s.Idle(); s.now = s.now.Add(wait) }, want: 1, flags: entersRunning | 1<<1},
	} {
		t.Run(name, func(t *testing.T) {
			test.flags |= entersRunning
			s := newScene(t, test.pen)
			s.pen.wait = wait
			s.SetClock(decode.Clock{Offset: booted})
			var got []string
			s.options.Missed = func(why Missed, class event.Kind, since, until time.Time) {
				got = append(got, fmt.Sprint(why, class, since.Unix(), until.Unix()))
			}
			s.cgroups.states[podCgroup] = test.state
			actor{21, podMount, podCgroup}.comes(s, test.flags)
			test.then(s)
			s.Idle()
			s.Idle()
			var want []string
			for range test.want {
				want = append(want, fmt.Sprint(Nameless, event.KindProcessExec, 50, 50)) // when it was, not when it is booked
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			s.balanced(t)
		})
	}
}

func late(s *scene) {
	s.now = s.now.Add(warnAfter)
	s.Idle()
	s.cgroups.resolve(podCgroup, container.Known)
}

// A record that cannot be read may have been an entry's.
func TestUnreadRecordsAreBooked(t *testing.T) {
	s := newScene(t, 100)
	n := 0
	s.options.Missed = func(why Missed, class event.Kind, since, until time.Time) {
		if n++; why != Unread || class != event.KindProcessExec || !until.Equal(s.now) || !since.Before(until) {
			t.Errorf("%v of %s from %v to %v", why, class, since, until)
		}
	}
	s.Record([]byte{1, 2, 3})
	s.Record(openRecord(1, 0, "/a"))
	if n != 1 {
		t.Errorf("%d are booked", n)
	}
}
