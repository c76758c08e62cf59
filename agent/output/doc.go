// Package output prints what the agent sees: detections, events and gaps, as JSON lines
// (the Record message of the schema) or as lines for people.
//
// A [Printer] is the pipeline's sink. It queues on the reader's goroutine and writes on
// its own: a slow reader of our output costs events, then detections, and each loss is
// printed as a gap with class and count once there is room again; it never stops the
// sensor.
package output
