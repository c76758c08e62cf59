package probe

import (
	"strconv"
	"strings"
	"testing"
)

// parseHierarchy finds the memory controller's v1 hierarchy in /proc/self/cgroup.
func parseHierarchy(t testing.TB, membership string) Hierarchy {
	t.Helper()
	for line := range strings.Lines(membership) {
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(fields) == 3 && fields[1] == "memory" {
			id, err := strconv.ParseUint(fields[0], 10, 32)
			if err != nil {
				t.Fatal(err)
			}
			return Hierarchy{ID: uint32(id), Controller: "memory", Mount: "/sys/fs/cgroup/memory"}
		}
	}
	t.Fatal("no memory controller")
	return Hierarchy{}
}
