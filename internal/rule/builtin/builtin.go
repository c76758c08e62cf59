// Package builtin holds the rules that Seawall brings along, by the ids of the
// detection catalogue: those for events of agents in one file per ATT&CK tactic,
// those for the Kubernetes audit log, audit-*.yaml, in one per concern. lists.yaml
// and audit-lists.yaml have the names they share.
package builtin

import "embed"

// FS holds the rule files.
//
//go:embed *.yaml
var FS embed.FS
