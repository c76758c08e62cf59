// Package enrol makes the certificates of a cluster and gives them to those who
// may have them.
//
// [Authority] owns the CA and the key of redaction, both made at the first start
// in the folder ca of the data folder and never again: agents know the
// collector by the CA's key. Its certificates name their holder by a URI
// (internal/tlsconf). [Server] is the collector's own certificate, renewed by
// itself; [Authority.IssueClient] makes those of SIEM readers and operators.
//
// [Service] answers agents: Enrol makes an agent of whoever proves that it may
// be one, by a join token ([Tokens]) or a Kubernetes service account token
// ([TokenReviewer]); Renew gives an agent that is one a certificate for a new
// key. What stands in requests beside the key decides nothing.
//
// What must last beside the CA is in a [TokenStore] and an [AgentStore], which
// the collector's store provides. Everything here is safe for use by any
// goroutine.
package enrol
