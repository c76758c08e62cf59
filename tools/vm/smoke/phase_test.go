package smoke

import (
	"bufio"
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"

	"github.com/seawall-security/seawall/internal/event"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

// seen is all that is known of a phase.
type seen struct {
	outcome
	boot       string
	events     []*sensorv1.Event
	detections []*sensorv1.Detection
}

// lineBytes bounds a line of the agent's output: an event with 16 ancestors, each with
// 8 KiB of arguments, thrice for escapes.
const lineBytes = 4 << 20

// look takes the phase's outcome apart, and fails if the phase was not carried through.
func look(t *testing.T, p phase, o outcome) *seen {
	t.Helper()
	s := &seen{outcome: o}
	t.Logf("agent started in %v, stopped in %v", s.Start, s.Stop)
	if s.Error != "" || s.Status != 0 {
		t.Fatalf("agent's status %d: %s\n%s", s.Status, s.Error, s.Stderr)
	}
	if bytes.Contains(s.Stderr, []byte(`"level":"warn"`)) || bytes.Contains(s.Stderr, []byte(`"level":"error"`)) {
		t.Errorf("agent complains:\n%s", s.Stderr)
	}
	if !p.Once {
		s.parse(t)
	}
	return s
}

// parse reads JSON lines by the schema: a name it does not know is a failure.
func (s *seen) parse(t *testing.T) {
	t.Helper()
	lines := bufio.NewScanner(bytes.NewReader(s.Stdout))
	lines.Buffer(nil, lineBytes)
	for lines.Scan() {
		r := &sensorv1.Record{}
		if err := protojson.Unmarshal(lines.Bytes(), r); err != nil {
			t.Fatalf("%v in line %q", err, lines.Text())
		}
		if s.boot == "" {
			s.boot = r.GetBootId()
		}
		if r.GetAgentId() == "" || r.GetBootId() == "" || r.GetBootId() != s.boot || r.GetNode() != "lab" {
			t.Fatalf("a record of agent %q, boot %q, node %q", r.GetAgentId(), r.GetBootId(), r.GetNode())
		}
		switch body := r.GetBody().(type) {
		case *sensorv1.Record_Event:
			s.events = append(s.events, body.Event)
		case *sensorv1.Record_Detection:
			s.detections = append(s.detections, body.Detection)
		default:
			t.Errorf("a gap: %s", lines.Text())
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
}

// of returns the events of some processes that are acts, in the order they were printed.
func (s *seen) of(pids []uint32) []*sensorv1.Event {
	return slices.DeleteFunc(slices.Clone(s.events), func(e *sensorv1.Event) bool {
		return !slices.Contains(pids, e.GetProcess().GetPid()) || incidental(e)
	})
}

// report is the actor's own word.
type report struct {
	PID      int      `json:"pid"`
	TID      uint32   `json:"tid"`
	Paths    []string `json:"paths"`
	Flows    []flow   `json:"flows"`
	Children []uint32 `json:"children"`
	Address  uint64   `json:"address"`
	Length   uint64   `json:"length_bytes"`
}

type flow struct {
	Local  string `json:"local"`
	Remote string `json:"remote"`
}

// report reads the actor's line. Programs that are no actors print none.
func (p *performed) report(t *testing.T) report {
	t.Helper()
	r := report{PID: p.PID}
	if !strings.HasPrefix(p.Stdout, "{") {
		return r
	}
	if err := json.Unmarshal([]byte(p.Stdout), &r); err != nil {
		t.Fatalf("%v in %q", err, p.Stdout)
	}
	if r.PID != p.PID {
		t.Errorf("process %d says it is %d", p.PID, r.PID)
	}
	return r
}

// keyOf names a process as the agent has to.
func keyOf(p *sensorv1.Process) event.Key {
	return event.Key{TGID: p.GetPid(), Start: event.Boot(p.GetStartTimeNs())}
}
