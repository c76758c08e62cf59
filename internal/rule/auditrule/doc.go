// Package auditrule runs the rules for requests to the Kubernetes API, as its audit log
// tells of them.
//
// [Load] reads the rules of files whose source is audit; their conditions are CEL over
// [auditv1.Event] and the JSON of bodies, run by cel-go behind an index by resource and
// verb. A [Set] never changes and may be shared. A [Matcher] evaluates one for one
// goroutine; it allocates nothing for a request that no rule is about.
//
// Records may come late, twice and in any order. A request counts once for each rule, by the
// time at which the API server received it; no clock is read: the same calls give the same
// matches. What a matcher remembers is bounded by [Limits] and can be stored as rows, so that
// another one goes on where this one stopped.
package auditrule
