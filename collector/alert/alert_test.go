package alert

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	alertv1 "github.com/seawall-security/seawall/proto/alert/v1"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

func at(second int) *timestamppb.Timestamp {
	return timestamppb.New(time.Unix(1_790_000_000, 0).Add(time.Duration(second) * time.Second))
}

// Ids are in what was delivered: they never change.
func TestIDsAreFixed(t *testing.T) {
	i := Identity{KindWebShell, "harbour", AnchorProcess, "ad328e", "x"}
	if got := i.ID(1); got != "ace88447d844cde27f169e9bde3c2136" {
		t.Errorf("got %s", got)
	}
	ids := map[string]bool{}
	for _, other := range []Identity{
		i, {KindEscape, "harbour", AnchorProcess, "ad328e", "x"}, {KindWebShell, "harbou", AnchorProcess, "rad328e", "x"},
		{KindWebShell, "harbour", AnchorSession, "ad328e", "x"}, {KindWebShell, "harbour", AnchorProcess, "ad328ex", ""},
	} {
		for episode := range uint32(3) {
			ids[other.ID(episode+1)] = true
		}
	}
	if len(ids) != 15 || len(i.ID(1)) != 32 {
		t.Errorf("%d ids for 15 episodes, such as %s", len(ids), i.ID(1))
	}
}

func fact(second int, rule string, severity sensorv1.Severity, text string) *alertv1.Evidence {
	e := &alertv1.Evidence{EventId: fmt.Sprint("event:", second, text), Time: at(second), Rule: rule, Severity: severity, Text: text, Role: "other"}
	if rule != "" {
		e.DetectionId = "d"
	}
	return e
}

func TestEvidenceKeepsWhatMatters(t *testing.T) {
	const high = sensorv1.Severity_SEVERITY_HIGH
	a := &alertv1.Alert{}
	take := func(e *alertv1.Evidence, want Taken) {
		t.Helper()
		if got := AddEvidence(a, e); got != want {
			t.Errorf("%s: taken %v, want %v", e.Text, got, want)
		}
	}
	for i := range MaxEvidence {
		take(fact(1000+i, "", 0, fmt.Sprint("context ", i)), Shown)
	}
	take(fact(2000, "", 0, "one more"), Counted)
	take(fact(1003, "", 0, "context 3"), Known)
	take(fact(3000, "", 0, "context 3"), Counted)
	take(fact(10, "", 0, "context 5"), Counted)
	if a.Evidence[0].Text != "context 5" || len(a.Evidence) != MaxEvidence {
		t.Errorf("not the earlier one is shown: %v", a.Evidence[0])
	}
	for i := range MaxEvidence - 1 {
		take(fact(500+i, "r", high, fmt.Sprint("decisive ", i)), Shown)
	}
	take(fact(1, "low", sensorv1.Severity_SEVERITY_LOW, "small"), Shown)
	take(fact(2, "low", sensorv1.Severity_SEVERITY_LOW, "small too"), Counted)
	take(fact(3, "r", high, "a last one"), Shown)
	take(fact(4, "r", high, "one too many"), Counted)
	if len(a.Evidence) != MaxEvidence || a.EvidenceOmitted != 4+64+1+1 {
		t.Errorf("%d shown, %d omitted", len(a.Evidence), a.EvidenceOmitted)
	}
	for i, e := range a.Evidence {
		if e.Rule != "r" || i > 0 && e.Time.AsTime().Before(a.Evidence[i-1].Time.AsTime()) {
			t.Errorf("evidence %d: %v", i, e)
		}
	}
}

func TestARuleTakesThePlaceOfItsEvent(t *testing.T) {
	a := &alertv1.Alert{}
	event, ruled, again := fact(1, "", 0, "x"), fact(1, "r", 0, "x"), fact(1, "other", 0, "x")
	for _, step := range []struct {
		e    *alertv1.Evidence
		want Taken
	}{{event, Shown}, {ruled, Shown}, {event, Known}, {again, Shown}, {ruled, Known}} {
		if got := AddEvidence(a, step.e); got != step.want {
			t.Errorf("%v: taken %v, want %v", step.e, got, step.want)
		}
	}
	if len(a.Evidence) != 2 || a.EvidenceOmitted != 0 {
		t.Errorf("got %v", a)
	}
}

func TestEvidenceBytes(t *testing.T) {
	a := &alertv1.Alert{}
	for i := range 500 {
		e := fact(i, "r", sensorv1.Severity(i%6), strings.Repeat("ä", MaxText)+fmt.Sprint(i))
		e.Text = fmt.Sprint(i) + e.Text
		e.EventId = strings.Repeat("e", 600) + fmt.Sprint(i)
		AddEvidence(a, e)
	}
	bytes := 0
	for _, e := range a.Evidence {
		bytes += proto.Size(e)
		if len(e.Text) > MaxText {
			t.Errorf("a text has %d bytes", len(e.Text))
		}
	}
	if bytes > MaxEvidenceBytes || bytes < MaxEvidenceBytes*9/10 || len(a.Evidence)+int(a.EvidenceOmitted) != 500 {
		t.Errorf("%d bytes, %d shown, %d omitted", bytes, len(a.Evidence), a.EvidenceOmitted)
	}
}

func process(id, parent string, start uint64) *sensorv1.Process {
	return &sensorv1.Process{Id: id, ParentId: parent, StartTimeNs: start, Pid: uint32(start)}
}

func ids(a *alertv1.Alert) string {
	var all []string
	for _, p := range a.Processes {
		all = append(all, p.Id)
	}
	return strings.Join(all, " ")
}

func TestProcessTree(t *testing.T) {
	a := &alertv1.Alert{Evidence: []*alertv1.Evidence{{ProcessId: "shell"}, {ProcessId: "curl"}, {ProcessId: "unheard of"}}}
	AddProcesses(a, process("curl", "shell", 40), process("shell", "worker", 30), process("worker", "server", 20), process("server", "", 20))
	AddProcesses(a, process("stranger", "server", 25), nil, process("", "", 1))
	if got := ids(a); got != "server worker shell curl" {
		t.Errorf("got %s", got)
	}
	// The same process runs another program now; what was known before it is kept.
	exec := process("shell", "worker", 30)
	exec.Name, exec.ExecTime = "dash", at(5)
	older, unknown := proto.CloneOf(exec), proto.CloneOf(exec)
	older.Name, older.ExecTime = "php", at(4)
	unknown.Unknown, unknown.ExecTime = true, at(9)
	AddProcesses(a, exec, older, unknown)
	if a.Processes[2].Name != "dash" || ids(a) != "server worker shell curl" {
		t.Errorf("got %v", a.Processes)
	}
	// With the evidence goes its process.
	a.Evidence = a.Evidence[:1]
	AddProcesses(a)
	if got := ids(a); got != "server worker shell" {
		t.Errorf("got %s", got)
	}
}

func TestProcessTreeIsBounded(t *testing.T) {
	a := &alertv1.Alert{Evidence: []*alertv1.Evidence{{ProcessId: "0"}}}
	for i := range 300 { // in a circle
		p := process(fmt.Sprint(i), fmt.Sprint((i+1)%300), uint64(1000-i))
		p.Args = []string{"x", strings.Repeat("é", 4000), "y"}
		AddProcesses(a, p)
		if !strings.HasSuffix(p.Args[1], "é") || len(p.Args) != 3 {
			t.Fatal("the process that was given is changed")
		}
	}
	bytes := 0
	for _, p := range a.Processes {
		bytes += proto.Size(p)
		if !p.ArgsTruncated || len(p.Args) != 2 || len(p.Args[1]) > maxArgsBytes {
			t.Fatalf("arguments: %d of %d bytes", len(p.Args), len(p.Args[1]))
		}
	}
	if len(a.Processes) > MaxProcesses || bytes > MaxProcessBytes || bytes < MaxProcessBytes*9/10 {
		t.Errorf("%d processes, %d bytes", len(a.Processes), bytes)
	}
	if a.Processes[len(a.Processes)-1].Id != "0" || a.Processes[len(a.Processes)-2].Id != "1" {
		t.Errorf("not the nearest are kept: %s", ids(a))
	}
}

func TestGaps(t *testing.T) {
	a := &alertv1.Alert{}
	gap := func(reason string, from, to int, n uint64) *sensorv1.Gap {
		return &sensorv1.Gap{Class: "file_open", Stage: "ring", Reason: reason, Since: at(from), Until: at(to), Count: n}
	}
	AddGap(a, gap("full", 10, 20, 5))
	AddGap(a, gap("full", 5, 8, 2))
	AddGap(a, gap("rate", 1, 2, 1))
	want := []*sensorv1.Gap{gap("full", 5, 20, 7), gap("rate", 1, 2, 1)}
	if diff := cmp.Diff(want, a.Gaps, protocmp.Transform()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	for i := range 1000 {
		AddGap(a, gap(fmt.Sprint(i), i, i, 1))
	}
	var count uint64
	for _, g := range a.Gaps {
		count += g.Count
	}
	if len(a.Gaps) != MaxGaps || count != 1008 {
		t.Errorf("%d gaps, %d events", len(a.Gaps), count)
	}
}

func TestCut(t *testing.T) {
	for _, test := range []struct {
		text string
		n    int
		want string
	}{{"abc", 3, "abc"}, {"abcdef", 5, "ab…"}, {"ääää", 6, "ä…"}, {"ääää", 7, "ää…"}, {"abcd", 3, "…"}} {
		if got := Cut(test.text, test.n); got != test.want {
			t.Errorf("Cut(%q, %d) = %q", test.text, test.n, got)
		}
	}
}

func BenchmarkAddEvidence(b *testing.B) {
	a := &alertv1.Alert{}
	for i := range MaxEvidence {
		AddEvidence(a, fact(i, "r", sensorv1.Severity_SEVERITY_HIGH, fmt.Sprint(i)))
	}
	repeat := fact(2000, "r", sensorv1.Severity_SEVERITY_HIGH, "7")
	b.ReportAllocs()
	for b.Loop() {
		AddEvidence(a, repeat)
	}
}
