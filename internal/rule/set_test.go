package rule

import (
	"strings"
	"testing"

	"github.com/seawall-security/seawall/internal/event"
)

// Evaluating allocates nothing, whatever a condition is made of.
func TestMatchAllocatesNothing(t *testing.T) {
	g := newGenerator(3)
	events := make([]*event.Event, 300)
	for i := range events {
		events[i] = g.event()
	}
	for _, atom := range atoms() {
		matcher := loadCondition(t, allKinds(), "("+atom+") && process.name == 'nobody is called that'").NewMatcher(nil)
		matcher.set.rules[0].condition = mustLower(t, atom)
		for kind := range matcher.set.index { // past the guards: the condition itself is the subject
			for _, c := range matcher.set.index[kind] {
				if c != nil {
					c.always.add(0)
				}
			}
		}
		run := func() {
			for _, e := range events {
				matcher.Match(e, func(*Rule) {})
			}
		}
		if n := testing.AllocsPerRun(5, run); n != 0 && !(raceEnabled && strings.Contains(atom, "matches")) {
			t.Errorf("%s: %v allocations", atom, n)
		}
	}
	matcher := loadBuiltin(t).NewMatcher(nil)
	if n := testing.AllocsPerRun(20, func() {
		for _, e := range events {
			matcher.Match(e, func(*Rule) {})
		}
	}); n != 0 && !raceEnabled {
		t.Errorf("built-in rules: %v allocations", n)
	}
}

func mustLower(t *testing.T, condition string) boolCode {
	t.Helper()
	language, err := newLanguage(testLists())
	if err != nil {
		t.Fatal(err)
	}
	checked, issues := language.env.Compile(condition)
	if issues.Err() != nil {
		t.Fatal(issues.Err())
	}
	c := compiler{schema: newSchema(), lists: language.lists}
	code, err := c.condition(checked.NativeRep())
	if err != nil {
		t.Fatal(err)
	}
	return code
}

// chain is a process below others, the last of which is the oldest.
func chain(names ...string) *event.Process {
	var p *event.Process
	for i := len(names) - 1; i >= 0; i-- {
		p = &event.Process{
			Key: event.Key{TGID: uint32(100 - i), Start: 1}, Name: names[i], Comm: names[i], Parent: p,
			Exe: event.File{Path: "/usr/bin/" + names[i], Magic: 0x794c7630, Overlay: true}, Filename: "/usr/bin/" + names[i], Args: []string{names[i]},
		}
		p.ID = event.ProcessID(testBoot, p.Key)
	}
	return p
}

func BenchmarkMatch(b *testing.B) {
	container := &event.Container{ID: "c1", Name: "web"}
	below := []string{"entrypoint.sh", "tini", "containerd-shim-runc-v2", "systemd"}
	for _, bench := range []struct {
		name  string
		event *event.Event
	}{
		{"exec of a tool", &event.Event{
			Header: event.Header{Kind: event.KindProcessExec}, Payload: &event.Exec{}, Process: chain(append([]string{"date"}, below...)...), Container: container,
		}},
		{"exec of a shell", &event.Event{
			Header: event.Header{Kind: event.KindProcessExec}, Payload: &event.Exec{}, Process: chain(append([]string{"dash"}, below...)...), Container: container,
		}},
		{"open for write", &event.Event{
			Header: event.Header{Kind: event.KindFileOpen}, Payload: &event.Open{Write: true, File: event.File{Path: "/var/lib/app/data/0001.log"}},
			Process: chain(append([]string{"app"}, below...)...), Container: container,
		}},
		{"open of a script", &event.Event{
			Header: event.Header{Kind: event.KindFileOpen}, Payload: &event.Open{Write: true, File: event.File{Path: "/var/lib/app/data/report.py"}},
			Process: chain(append([]string{"app"}, below...)...), Container: container,
		}},
		{"connect", &event.Event{
			Header:  event.Header{Kind: event.KindNetworkConnect},
			Payload: &event.Flow{Remote: event.Address{Family: event.FamilyIPv4, Port: 443}}, Process: chain("app"), Container: container,
		}},
		{"protect by a JIT", &event.Event{
			Header:  event.Header{Kind: event.KindMemoryProtect},
			Payload: &event.Memory{Before: event.ProtRead | event.ProtWrite, After: event.ProtRead | event.ProtExec}, Process: chain("java"), Container: container,
		}},
	} {
		b.Run(bench.name, func(b *testing.B) {
			matcher := loadBuiltin(b).NewMatcher(nil)
			b.ReportAllocs()
			for b.Loop() {
				matcher.Match(bench.event, func(r *Rule) { b.Fatalf("rule %s matches", r.ID) })
			}
		})
	}
}

func TestDetectionTellsWhatHappened(t *testing.T) {
	data := withRule(`process.name in shells && has(exec)`, "evidence:",
		"  chain: ancestors.map(a, a.name).join(' < ')", "  missing: process.args[9]", "tags: [t]", "attack: {tactics: [TA0002], techniques: [T1059]}")
	set, err := Load([]Source{{Name: "rules.yaml", Data: []byte(data)}}, testNow())
	if err != nil {
		t.Fatal(err)
	}
	e := &event.Event{
		Header:  event.Header{Kind: event.KindProcessExec, Time: 5, Actor: event.Key{TGID: 100, Start: 1}},
		Payload: &event.Exec{}, Process: chain("bash", "nginx", "systemd"),
	}
	d := set.Rules()[0].Detection(e, testBoot)
	if d.Id != event.DetectionID("a-rule", testBoot, e.Actor, e.Time) || d.Rule != "a-rule" || d.Summary != "bash" {
		t.Errorf("detection is %v", d)
	}
	if d.Evidence["chain"] != "nginx < systemd" || d.Evidence["missing"] != "not available: evaluate text: index out of bounds: 9" {
		t.Errorf("evidence is %v", d.Evidence)
	}
	if len(d.Event.Ancestors) != 2 || d.Tactics[0] != "TA0002" || d.Techniques[0] != "T1059" || d.Tags[0] != "t" || d.Title != "A rule" {
		t.Errorf("detection is %v", d)
	}
}
