// Package builtin holds the rules that Seawall brings along, one file per
// ATT&CK tactic, by the ids of the detection catalogue. lists.yaml has the names
// they share.
package builtin

import "embed"

// FS holds the rule files.
//
//go:embed *.yaml
var FS embed.FS
