// Package sink carries alerts from the store to where they are read: files, syslog,
// webhooks.
//
// A [Sink] knows one way out and nothing of retries. A [Delivery] runs one: it reads the
// store behind its own durable position, which is the only spool; retries with growing,
// jittered pauses or as the receiver asks; halves a batch that is refused until the one
// that nobody takes is found, and puts that one into a dead-letter file with the reason.
//
// Order is the store's. The position moves when a sink has acknowledged, so delivery is
// at least once: what was under way when the collector died is sent again, with the same
// id and revision, by which a receiver can tell. What was acknowledged and remembered is
// never sent again.
//
// [OCSF], [JSON] and [Summary] are what a revision looks like outside; they are pure.
package sink
