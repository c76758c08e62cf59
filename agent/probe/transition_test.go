package probe

import (
	"testing"

	"github.com/seawall-security/seawall/bpf"
	"github.com/seawall-security/seawall/internal/event"
	"github.com/seawall-security/seawall/internal/rule"
)

// writeToExecute admits as the built-in rules do: unlike unfiltered it leaves repeats out.
func writeToExecute(c *bpf.LayoutRunControl) { c.Any = uint64(rule.OpMemoryWriteToExecute) }

// oneTransition looks at the protections that a process had changed, of the memory that
// the actor reports, and insists on one that took write and gave execute.
func oneTransition(t *testing.T, w *watch, r report) {
	t.Helper()
	var changes []*event.Memory
	for _, ev := range w.until(t, r.PID, event.KindMemoryProtect) {
		m := ev.Payload.(*event.Memory)
		if m.Address >= r.Address && m.Address < r.Address+r.Length {
			changes = append(changes, m)
		}
	}
	if len(changes) != 1 {
		t.Fatalf("%d changes were told, not 1: %+v", len(changes), changes)
	}
	if m := changes[0]; !m.WriteToExecute() || m.After != event.ProtRead|event.ProtExec {
		t.Errorf("it is no write to execute: %+v", m)
	}
}

// testMappingBehind: one call for two mappings is about the second, too.
func testMappingBehind(t *testing.T, w *watch) {
	w.admit(t, writeToExecute)
	oneTransition(t, w, must(t, attack(t, t.TempDir(), "mprotect", "-behind")))
}

// testBusyAddressSpace: while other threads change the address space, which then cannot
// be looked into, nothing passes unseen.
func testBusyAddressSpace(t *testing.T, w *watch) {
	w.admit(t, writeToExecute)
	unknown := 0
	for range 20 {
		r := must(t, attack(t, t.TempDir(), "mprotect", "-busy", "4"))
		oneTransition(t, w, r)
		for _, ev := range w.until(t, r.PID, event.KindMemoryProtect) {
			if ev.Payload.(*event.Memory).BeforeUnknown {
				unknown++
			}
		}
	}
	t.Logf("%d of 20 times it was not known what was before", unknown)
}

// testReadImpliesExec: under that personality whoever asks for read gets execute.
func testReadImpliesExec(t *testing.T, w *watch) {
	w.admit(t, writeToExecute)
	oneTransition(t, w, must(t, attack(t, t.TempDir(), "read-implies-exec")))
}

// testTransitionAfterExec: of a program's transitions the first is told; what another
// program did in the same process before is no repeat.
func testTransitionAfterExec(t *testing.T, w *watch) {
	w.admit(t, writeToExecute)
	all := perform(t, attack(t, t.TempDir(), "mprotect", "-again"))
	if len(all) != 2 || all[0].PID != all[1].PID {
		t.Fatalf("the actor did %+v", all)
	}
	for _, r := range all {
		oneTransition(t, w, r)
	}
}
