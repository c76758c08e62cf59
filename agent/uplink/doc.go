// Package uplink is the agent's way up: what the pipeline says goes to the collector, once
// there is one, and waits on disk until the collector has it.
//
// An [Uplink] is the pipeline's sink. It queues on the reader's goroutine (agent/queue) and
// never holds it up. On its own goroutine it converts, masks credentials and appends to a
// spool (internal/spool), in three lanes: detections, with gaps, before entries
// into containers before telemetry. Which events go up is a setting ([Telemetry]); detections
// and entries always do. What the queue had no place
// for and what the spool dropped goes up as Gap records: nothing is lost silently.
//
// A second goroutine keeps one stream to the collector and sends what the spool gives, in
// order of sequence within a lane, with a bounded number of batches in flight. The collector
// acknowledges what is on its disk, and that leaves the spool. After a stream has ended, for
// whatever reason, what was not acknowledged is sent again: at least once, and once by
// (boot, lane, sequence). A sequence is not used twice within a boot, not even if the
// spool's folder is lost: it begins above the time since boot in nanoseconds.
//
// Records in the spool have a boot id, that of the boot they are of; who sends them stands in
// the certificate and in Hello. Credentials are masked with the cluster's key as soon as the
// agent is enrolled; before, with a key of this node's own: those masks join only with each
// other.
package uplink
