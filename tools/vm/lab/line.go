package lab

import (
	"fmt"
	"slices"
	"strings"
)

// line is a supported kernel line and the Debian suites that carry it.
type line struct {
	name   string
	suites []string
	// version begins the names of the line's packages: "6.1."; empty: any.
	version string
}

// lines are the kernels of the test matrix, oldest first.
func lines() []line {
	return []line{
		{"5.10", []string{"bullseye", "bullseye-security"}, "5.10."},
		{"6.1", []string{"bookworm", "bookworm-security"}, "6.1."},
		{"6.12", []string{"trixie", "trixie-security"}, "6.12."},
		{"new", []string{"forky", "sid"}, ""},
	}
}

// Lines names the kernel lines that [Fetch] knows, oldest first.
func Lines() []string {
	var names []string
	for _, l := range lines() {
		names = append(names, l.name)
	}
	return names
}

func lineOf(name string) (line, error) {
	all := lines()
	i := slices.IndexFunc(all, func(l line) bool { return l.name == name })
	if i < 0 {
		return line{}, fmt.Errorf("kernel %q is not one of %s", name, strings.Join(Lines(), ", "))
	}
	return all[i], nil
}
