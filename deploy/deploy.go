// Package deploy holds what is put into a cluster beside Seawall's own programs.
package deploy

import _ "embed"

// AuditPolicy is the audit policy for the cluster's API servers, as YAML.
//
//go:embed audit-policy.yaml
var AuditPolicy []byte
