// Package queue is what stands between the reader's goroutine and whoever prints or sends
// what the agent sees: bounded in records and in bytes, and never waiting.
//
// One goroutine puts, another takes. What does not fit is refused with a [Reason], which
// the owner books in [Losses] and tells of as gaps, by class: nothing is lost silently.
package queue
