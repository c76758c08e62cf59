package powercut

import (
	"crypto/sha256"
	"encoding/hex"
	"path"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	alertv1 "github.com/seawall-security/seawall/proto/alert/v1"
)

// The guest's files.
const (
	guestPlan      = "/srv/plan.json"
	guestRules     = "/srv/rules.yaml"
	guestAgent     = "/bin/seawall-agent"
	guestCollector = "/bin/seawall-collector"
	guestBusybox   = "/lab/busybox"
	guestMarks     = "/run/marks" // programs that the rule detects
	guestDisk      = "/dev/vda"
	guestState     = "/state" // the disk, mounted
)

const rules = `rules:
  - id: power-cut-mark
    title: Mark of the power cut test
    severity: low
    kinds: [process_exec]
    condition: process.exe.path.startsWith("` + guestMarks + `/")
    summary: process.exe.path
`

// recurring is a program that is executed in every boot: its alert grows over all of them.
const recurring = "recurring"

// plan is what the guest does in one boot.
type plan struct {
	Name string `json:"name"` // of the boot; marks begin with it
	// StopAfter so many marks the collector stands still; 0: never.
	StopAfter int `json:"stop_after,omitempty"`
	// Final: no load; the boot ends by itself when all was told.
	Final bool `json:"final,omitempty"`
	// Probe: only the disk is tried.
	Probe string `json:"probe,omitempty"`
}

// warm are the boot's first marks. The second is executed when the first has been told of:
// revisions of one transaction have no order, so only the second comes behind all that
// was promised before.
func (p plan) warm() [2]string { return [2]string{p.Name + "-first", p.Name + "-second"} }

// report is a line of the guest's output: one of these.
type report struct {
	// Stage is where the guest has come to.
	Stage stage      `json:"stage,omitempty"`
	Ran   *execution `json:"ran,omitempty"`
	Spool *promise   `json:"spool,omitempty"`
	Told  *told      `json:"told,omitempty"`
	// Committed is a position that the subscription has acknowledged.
	Committed uint64 `json:"committed,omitempty"`
	// Found is what the disk's probe found.
	Found *string `json:"found,omitempty"`
}

type stage string

const (
	collectorRuns stage = "collector runs"
	agentRuns     stage = "agent runs" // and its hooks are proven
	warmedUp      stage = "warmed up"  // the witness was told of the boot's second mark
	loaded        stage = "under load" // promises count from here
	written       stage = "written"    // by the probe
	ended         stage = "ended"
)

// execution is a mark that was executed.
type execution struct {
	Mark string `json:"mark"`
	// At is the guest's clock when it had ended.
	At time.Time `json:"at"`
}

// promise is what the agent's metrics say of the marks since the stage "under load", in
// the order in which they were executed.
type promise struct {
	Durable int `json:"durable"` // on the spool's disk
	Acked   int `json:"acked"`   // on the collector's
	// Lost is what never got into the spool or was dropped by it: 0, or the others do not
	// count marks.
	Lost int `json:"lost,omitempty"`
}

// reader is who is told of revisions.
type reader string

const (
	siem    reader = "siem"    // has a cursor and acknowledges
	witness reader = "witness" // reads everything, in each boot
)

// told is a revision as a reader got it.
type told struct {
	Reader   reader   `json:"reader"`
	Position uint64   `json:"position"`
	Alert    string   `json:"alert"`
	Revision uint32   `json:"revision"`
	Content  string   `json:"content"` // hash of all of it
	Agent    string   `json:"agent"`
	Marks    []string `json:"marks,omitempty"`
	// Gap: the alert says that the youngest detections of an agent may be lost, Since then.
	Gap         bool          `json:"gap,omitempty"`
	Since       time.Time     `json:"since,omitzero"`
	Uncertainty time.Duration `json:"uncertainty,omitempty"` // of times in it
}

func tell(who reader, m *alertv1.SubscribeResponse) (*told, error) {
	a := m.GetAlert()
	content, err := proto.MarshalOptions{Deterministic: true}.Marshal(a)
	if err != nil {
		return nil, err
	}
	hash := sha256.Sum256(content)
	t := &told{Reader: who, Position: m.GetPosition(), Alert: a.GetId(), Revision: a.GetRevision(), Content: hex.EncodeToString(hash[:8]),
		Agent: a.GetAsset().GetAgentId(), Uncertainty: a.GetTimeUncertainty().AsDuration()}
	for _, e := range a.GetEvidence() {
		if dir, mark := path.Split(e.GetText()); e.GetRule() == "power-cut-mark" && strings.HasPrefix(dir, guestMarks) && !slices.Contains(t.Marks, mark) {
			t.Marks = append(t.Marks, mark)
		}
	}
	for _, g := range a.GetGaps() {
		if strings.Contains(g.GetReason(), "without closing its spool") && strings.Contains(g.GetReason(), "(lane detections)") {
			t.Gap, t.Since = true, g.GetSince().AsTime()
		}
	}
	return t, nil
}
