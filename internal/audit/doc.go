// Package audit reads Kubernetes audit events (audit.k8s.io/v1) from where API servers
// put them: log files, one event a line, and webhook bodies, an EventList of many.
//
// What is read is the [auditv1.Event] of the schema. A [Redactor] takes secrets out of it,
// before anybody stores it. Both are functions of their input: the same bytes give the same
// event.
//
// An event that cannot be understood costs itself: the error says which one it was and what
// is wrong, and the others go on. Memory is bounded by [MaxEventBytes] and a small factor.
package audit
