package powercut

import (
	"strings"
	"testing"
	"time"
)

// script is two boots as the ledger hears of them.
type script struct {
	before, after []report
}

func ran(mark string, second int) report {
	return report{Ran: &execution{Mark: mark, At: time.Unix(int64(second), 0)}}
}

func hears(who reader, position uint64, mark string) report {
	return report{Told: &told{Reader: who, Position: position, Alert: "alert-" + mark, Revision: 1, Content: "c", Agent: "a", Marks: []string{mark}}}
}

// whole is a script in which all is well: m1 was acknowledged by the collector, m2 durable,
// m3 neither; one revision was acknowledged by the SIEM.
func whole() *script {
	warm := hears(witness, 4, "two-second")
	warm.Told.Gap, warm.Told.Since = true, time.Unix(12, 0)
	return &script{
		before: []report{
			{Stage: agentRuns}, {Stage: loaded}, ran("m1", 11), ran("m2", 12), ran("m3", 13),
			{Spool: &promise{Durable: 2, Acked: 1}}, hears(witness, 1, "m1"), hears(siem, 1, "m1"), {Committed: 1},
		},
		after: []report{
			{Stage: agentRuns}, hears(witness, 1, "m1"), hears(witness, 2, "m2"), hears(siem, 2, "m2"), hears(witness, 3, "two-first"),
			warm, {Stage: warmedUp}, hears(siem, 3, "two-first"), hears(siem, 4, "two-second"),
		},
	}
}

func (s *script) play() *ledger {
	l := newLedger()
	for i, reports := range [][]report{s.before, s.after} {
		l.begin([]string{"one", "two"}[i])
		for _, r := range reports {
			l.take(r)
		}
		l.end()
	}
	return l
}

// without leaves reports out.
func without(reports []report, leave ...int) (kept []report) {
	for i, r := range reports {
		out := false
		for _, n := range leave {
			out = out || n == i
		}
		if !out {
			kept = append(kept, r)
		}
	}
	return kept
}

func TestLedger(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(*script)
		want   string
	}{
		{"all is well", func(*script) {}, ""},
		{"the cursor is further than was said", func(s *script) {
			s.before = append(without(s.before, 8), hears(witness, 2, "m2"), hears(siem, 2, "m2"))
			s.after = without(s.after, 3)
		}, ""},
		{"a durable detection is lost", func(s *script) { s.after = without(s.after, 2, 3) }, "mark m2 is lost, which was promised by the spool"},
		{"a revision is lost", func(s *script) { s.after = without(s.after, 1) }, "position 1 is lost"},
		{"a told detection is lost", func(s *script) { s.after = without(s.after, 1) }, "mark m1 is lost, which was promised by the subscriber"},
		{"a revision has another content", func(s *script) { s.after[1].Told.Content = "d" }, "position 1 was alert-m1 revision 1 (c)"},
		{"a position has another revision", func(s *script) { s.after[1].Told.Alert = "alert-x" }, "position 1 was alert-m1"},
		{"a revision has two positions", func(s *script) { s.after[2].Told.Alert = "alert-m1" }, "under positions 1 and 2"},
		{"positions go back", func(s *script) { s.after[2].Told.Position = 1 }, "position 1 after 1"},
		{"the cursor is forgotten", func(s *script) {
			s.after = append(s.after[:3:3], append([]report{hears(siem, 1, "m1")}, s.after[3:]...)...)
		}, "is told again"},
		{"the cursor went back", func(s *script) { s.before = append(s.before, report{Committed: 3}, report{Committed: 2}) }, "cursor went back from 3 to 2"},
		{"the subscription begins too late", func(s *script) { s.after = without(s.after, 3) }, "position 2, behind what was acknowledged, 1, is kept"},
		{"the subscription has a hole", func(s *script) { s.after = without(s.after, 7) }, "position 3, behind what was acknowledged, 1, is kept"},
		{"no gap", func(s *script) { s.after[5].Told.Gap = false }, "no gap says"},
		{"the gap begins too late", func(s *script) { s.after[5].Told.Since = time.Unix(14, 0) }, "mark m3, executed at"},
		{"another agent", func(s *script) { s.after[5].Told.Agent = "b" }, "agent a has become b"},
		{"detections of others", func(s *script) { s.before[5].Spool.Durable = 4 }, "of 3 marks"},
		{"the spool lost some", func(s *script) { s.before[5].Spool.Lost = 1 }, "of 3 marks"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := whole()
			test.change(s)
			got := strings.Join(s.play().problems, "\n")
			if (test.want == "") != (got == "") || !strings.Contains(got, test.want) {
				t.Errorf("problems %q, want %q", got, test.want)
			}
		})
	}
	l := whole().play()
	if l.missing != 1 || l.lost != 0 || l.promised["m1"] != bySIEM || l.promised["m2"] != bySIEM || l.promised["m3"] != "" {
		t.Errorf("missing %d, lost %d, promised %v", l.missing, l.lost, l.promised)
	}
}
