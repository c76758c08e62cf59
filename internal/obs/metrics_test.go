package obs

import (
	"slices"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"
)

func TestRegistryPassesLint(t *testing.T) {
	for _, self := range []bool{false, true} {
		problems, err := testutil.GatherAndLint(NewRegistry("seawall_agent", self))
		if err != nil {
			t.Fatal(err)
		}
		for _, problem := range problems {
			t.Errorf("self %v: %s: %s", self, problem.Metric, problem.Text)
		}
	}
}

func TestRegistryHolds(t *testing.T) {
	for _, test := range []struct {
		self bool
		name string
		want bool
	}{
		{false, "seawall_agent_build_info", true},
		{false, "process_resident_memory_bytes", false},
		{true, "process_resident_memory_bytes", true},
		{true, "go_goroutines", true},
	} {
		families, err := NewRegistry("seawall_agent", test.self).Gather()
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, family := range families {
			names = append(names, family.GetName())
		}
		if got := slices.Contains(names, test.name); got != test.want {
			t.Errorf("self %v: %s there: %v, want %v", test.self, test.name, got, test.want)
		}
	}
}
