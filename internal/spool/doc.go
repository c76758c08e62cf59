// Package spool is a bounded, durable log between somebody who must not wait and somebody
// who may be away: the agent's detections and telemetry until the collector has them, the
// collector's alerts until a SIEM has.
//
// A [Spool] owns one folder. It has lanes, each an ordered log of entries with rising
// sequences, and the lanes have a rank: whenever something has to go, it comes from the
// lowest lane that has any. An entry goes from [Spool.Append] into memory, within the
// commit delay to disk with all others of that moment, from there to the lane's one
// [Reader], and is freed by [Reader.Ack]. The first entry after a pause of the first lane does
// not wait for others.
//
// # Guarantees
//
//   - Durable: an entry whose [Spool.Sync] returned without error, and any that a reader
//     was given, is there after kill -9 and after a power cut, until it is acked or a gap
//     is booked for it. Without Sync, entries younger than the commit delay and the fsync
//     behind it can be lost: 50 ms with the default delay and a disk that syncs in 30.
//   - Ordered: a reader gets the entries of its lane in order of sequence, durable ones
//     only, those exactly as they were appended. Order between lanes is not kept.
//   - At least once: acks are saved within a second, and before a file is removed. After a
//     crash a reader may get again what it had acked since; after Close it does not.
//     Sequences make it once.
//   - Sequences are not used twice: [Spool.LastSequence] outlives the entries, and jumps
//     after a crash, when what was used last is not known.
//   - Nothing is lost silently: what is dropped is counted in [Stats] and told to OnGap as
//     a [Gap] with lane, reason, sequences, times and counts per class. Gaps are durable
//     too: a gap is told again in the next life unless OnGap returned, and what it
//     appended was durable. So it may be told twice, with the same bounds; and damage on
//     disk is told at each Open until everything before it is acked. After an end without
//     Close each lane has a gap of reason [Crash], for what was too young.
//   - Bounded: the segments of all lanes within MaxBytes, beside 256 KiB of bookkeeping;
//     memory within MaxPendingBytes, about 2 MiB of idle buffers, a reader's buffer (64
//     KiB, or its longest entry) and [MaxUnacked] entries in its hands; opening reads all
//     entries through one such buffer.
//   - Append never waits for the disk.
//
// What is not guaranteed: that damage to the youngest segment after a crash can be told
// from a write that the crash tore. Both are covered by the Crash gap.
//
// # What goes first
//
// When MaxBytes is reached, the oldest segment of the lowest lane goes, whichever lane
// the room is for, but a lane never costs one that outranks it: if only such have
// segments, what is new goes. When the disk takes nothing, entries wait in memory, and
// when that is used up, the oldest of the lowest lane go. When the disk is full, a lane
// takes segments of lower lanes; and one segment's space is always held ready, the space
// of an acked segment is used again, so that a spool which is being read goes on although
// somebody else has filled the disk. After a failed write or fsync the segment is not
// written again: what had not been durable is written from memory into a new one, as the
// page cache no longer tells what is on disk. Attempts come with growing pauses, lane by
// lane.
//
// # Use
//
// All methods may be called from any goroutine; within a lane, who appends has to keep
// the sequences rising. Append copies; what [Reader.Next] gives is lent until the next
// call. OnGap runs on the spool's own goroutine, while nothing is written: it must not
// block, may call Append, Stats and LastSequence, and must not call Sync or Close. Gaps are not told while
// the disk fails, and at most once in a second.
//
// # On disk
//
// "lock" is held with flock by the owner. "state" has two slots, written in turn, with
// what the segments do not tell: acks, where each lane begins and ends, gaps not told yet.
// "spare" is the space of a segment held ready. Segments are named by lane, first sequence
// and a number that rises over all of them; they begin with a header (magic, version,
// lane, number, ordinal of the first entry among all of the lane, salt, checksum), and
// entries follow with a checksum (CRC-32C, begun with the salt, over header and data),
// length, class, sequence and time. A segment is written to by one owner only; the next one begins
// new ones. Reading stops at the first entry of a segment that does not hold, and goes on
// with the next segment: the ordinals tell how many entries are missing between. Segments
// without a good header are removed; files with other names, and segments of lanes that
// the options do not name, are left alone.
package spool
