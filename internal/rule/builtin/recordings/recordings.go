// Package recordings holds real events for every built-in rule, one folder per
// rule: positive-* must be found by it, negative-* resemble that and must not.
// Rule files name them below recordings/.
//
// `go run ./tools/record scenes` makes them. They are for tests and for
// `seawallctl rules test`; the agent does not import this package, so that they
// do not weigh on it.
package recordings

import "embed"

// FS holds the recordings (agent/recording), by the names of their rules.
//
//go:embed */*.jsonl
var FS embed.FS
