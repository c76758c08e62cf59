package obs

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestReady(t *testing.T) {
	var ready Ready
	check := func(when string, want ...Missing) {
		t.Helper()
		if diff := cmp.Diff(append([]Missing{}, want...), ready.Missing()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", when, diff)
		}
	}

	check("without conditions")
	hooks, rules := ready.Add("hooks"), ready.Add("rules")
	check("just started", Missing{"hooks", "starting"}, Missing{"rules", "starting"})
	rules.Hold()
	check("rules loaded", Missing{"hooks", "starting"})
	hooks.Fail("file_open: no event seen")
	check("hooks refused", Missing{"hooks", "file_open: no event seen"})
	hooks.Hold()
	check("all hold")
	rules.Fail("")
	check("failed without a reason", Missing{"rules", "unknown"})
}
