package pipeline

import (
	"errors"
	"fmt"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/seawall-security/seawall/agent/container"
)

func TestRefusedMarksAreBooked(t *testing.T) {
	s := newScene(t, 100)
	s.cgroups.states[2] = container.Pending
	hit := func(refusal error) {
		s.refusal = refusal
		s.Record(openRecord(1, 0, "/srv/wanted"))
	}
	hit(fmt.Errorf("mark: %w", syscall.E2BIG))
	hit(fmt.Errorf("mark: %w", syscall.E2BIG))
	hit(fmt.Errorf("mark: %w", syscall.ESRCH))
	hit(errors.New("map is gone"))
	if len(s.Pipeline.marked) != 0 {
		t.Errorf("marked, as it believes: %v", s.Pipeline.marked)
	}
	hit(nil)

	// Its event waits for a name; meanwhile it ends.
	s.Record(openRecord(2, 0, "/srv/wanted"))
	s.Record(exitRecord(7))
	s.Flush()
	if len(s.sink.detections) != 6 || len(s.marked) != 1 {
		t.Errorf("%d detections, %d marks", len(s.sink.detections), len(s.marked))
	}
	l := s.Ledger()
	want := map[string]uint64{"full": 2, "gone": 2, "error": 1}
	if diff := cmp.Diff(want, l.MarksRefused); diff != "" || l.Marks != 1 {
		t.Errorf("%d marks; refused -want +got:\n%s", l.Marks, diff)
	}
}
