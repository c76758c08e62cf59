package probe

import (
	"slices"
	"strconv"
	"testing"

	"github.com/seawall-security/seawall/bpf"
	"github.com/seawall-security/seawall/internal/event"
	"github.com/seawall-security/seawall/internal/rule"
)

// The programs one rung below LSM, which the kernel guards against themselves.
func TestCrowdAtFentry(t *testing.T) { testCrowd(t, newWatch(t, RungFentry)) }

// testCrowd: a program that is switched away from in the middle of an event keeps what it
// has put together. A preemptible kernel does that to LSM and fentry programs.
func testCrowd(t *testing.T, w *watch) {
	const threads, opens = 8, 4000
	names := w.maps.all[bpf.LayoutMapInterestNames]
	for letter := range rune(threads) {
		key := nameKey(string(slices.Repeat([]byte{byte('a' + letter)}, 32)))
		if err := names.Put(key, uint64(rule.OpOpenRead)); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := names.Delete(key); err != nil {
				t.Error(err)
			}
		})
	}
	before, missedBefore := w.booked(t, event.KindFileOpen), w.missed("open")
	r := must(t, attack(t, t.TempDir(), "crowd", "-threads", strconv.Itoa(threads), "-opens", strconv.Itoa(opens)))
	events := w.until(t, r.PID, event.KindFileOpen)
	after, missed := w.booked(t, event.KindFileOpen), w.missed("open")-missedBefore

	told := map[string]int{}
	for _, ev := range events {
		open := ev.Payload.(*event.Open)
		if !open.Write {
			told[open.File.Path]++
		}
	}
	wrong, delivered := 0, 0
	for path, n := range told {
		delivered += n
		if !slices.Contains(r.Paths, path) {
			if wrong == 0 {
				t.Errorf("nobody opened %q", path)
			}
			wrong += n
		}
	}
	for _, path := range r.Paths {
		if told[path] > opens {
			t.Errorf("%d opens of %.20q... were told, %d were done", told[path], path, opens)
		}
	}
	dropped := after.DroppedScratch - before.DroppedScratch + after.DroppedRing - before.DroppedRing
	if wrong > 0 || uint64(delivered)+dropped+missed != threads*opens || r.Counts["opens_read"] != threads*opens {
		t.Errorf("of %d opens %d were told, %d of them wrongly; %d are booked as dropped, %d missed by the kernel",
			r.Counts["opens_read"], delivered, wrong, dropped, missed)
	}
	t.Logf("%s: %d told, %d dropped, %d missed by the kernel", w.rung("file_open"), delivered, dropped, missed)
}

// booked is the kernel's ledger of a kind.
func (w *watch) booked(t *testing.T, kind event.Kind) KindCount {
	t.Helper()
	counts, err := w.Ledger()
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(counts, func(c KindCount) bool { return c.Kind == kind })
	return counts[i]
}

// missed is how often the kernel did not run the fentry program of a hook because it
// was in the middle of it.
func (w *watch) missed(hook string) uint64 { return w.Missed()["fentry_"+hook] }
