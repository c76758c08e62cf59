// Package output prints what the agent sees: detections, events and gaps, as JSON lines
// (the Record message of the schema) or as lines for people.
//
// A [Printer] is the pipeline's sink. It queues on the reader's goroutine and writes on
// its own: a slow reader of our output costs events, then detections, and each loss is
// printed as a gap with class, reason and count once there is room again; it never stops
// the sensor. The queue (agent/queue) is bounded in records and in bytes. An output whose disk is full
// is waited for, one that nobody reads any more ends the printer.
//
// Credentials are masked before anything is written (internal/redact).
// Text is the watched's own: what is not for the eye is escaped (event.Hidden).
package output
