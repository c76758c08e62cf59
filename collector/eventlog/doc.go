// Package eventlog keeps what agents send, in the order in which the collector took
// it, until it has been correlated and its retention is over. It is NATS JetStream,
// embedded: one stream of files in one folder, no port open.
//
// A message is on disk when [Log.Append] returns: JetStream acknowledges before it
// syncs unless told otherwise, and is told here. A full log refuses (ErrFull), which
// holds agents back; it never makes room by itself. [Log.Trim] does, of what has
// been read: whoever reads says up to where. A log whose disk is full or fails refuses in
// the same way, and goes on within seconds of its disk.
//
// Positions begin at 1, rise by one per message and are never reused: they are the
// order in which a replay reads. A Log may be used by several goroutines.
package eventlog
