// Package ingest takes what agents send and puts it into the event log.
//
// Who an agent is stands in its certificate ([Options.Identify]). An agent has one
// stream: a new one ends the one before, for the agent knows best that it has lost
// it. A batch is acknowledged when all of it is on disk; until then the agent keeps
// it. What a resend repeats goes into the log again: its reader has the high-water
// marks. A full log holds the stream back: nothing more is read from the agent until
// there is room, and the agent's spool fills.
//
// An item that is no Record costs itself: it is counted, logged by its number and
// acknowledged with its batch. Kinds that this collector does not know pass through.
package ingest
