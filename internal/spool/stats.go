package spool

import "time"

// Stats is what a spool holds and has done since Open. Per lane, at every moment,
// Appended + Recovered = Acked + Queued + the sum of Dropped.
type Stats struct {
	Lanes []LaneStats // in order of rank
	// Bytes on disk, the spare segment included; PendingBytes in memory.
	Bytes, PendingBytes int64
	// Segments on disk, and files of lanes that the options do not name.
	Segments, Foreign int
	// Syncs counts fsyncs of segments, SyncTime is how long they took in all.
	Syncs    uint64
	SyncTime time.Duration
	// Failures counts failed writes, fsyncs and removals; Failing is the last error of a
	// disk that has not taken anything since.
	Failures uint64
	Failing  error
}

// LaneStats is the part of one lane.
type LaneStats struct {
	Lane Lane
	// Oldest is the time of the oldest entry on disk that is not acked, in Unix
	// nanoseconds, 0 without any. While nobody reads on it may be that of the entry before.
	Oldest int64
	// Bytes and Segments on disk.
	Bytes    int64
	Segments int
	// Appended counts entries given to Append with a good sequence, Recovered those that
	// Open found or missed.
	Appended, Recovered uint64
	// Durable counts entries made durable.
	Durable uint64
	// Acked are done with, Queued are on disk or in memory and not acked.
	Acked, Queued uint64
	// Dropped counts by reason. What a crash took from memory nobody can count.
	Dropped map[Reason]uint64
}

// Stats returns the numbers of this moment.
func (s *Spool) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := Stats{
		Bytes: s.bytes, PendingBytes: int64(s.pendingBytes), Foreign: s.foreign,
		Syncs: s.syncs, SyncTime: s.syncTime, Failures: s.failures, Failing: s.failing,
	}
	for _, l := range s.lanes {
		ls := LaneStats{
			Lane: l.name, Segments: len(l.segments), Appended: l.appended, Recovered: l.recovered,
			Durable: l.durable, Acked: l.ackedCount, Queued: l.queued + l.queuedPending,
			Dropped: make(map[Reason]uint64, reasons),
		}
		if l.queued > 0 {
			ls.Oldest = l.oldest
		}
		for _, g := range l.segments {
			ls.Bytes += g.bytes
		}
		for _, r := range Reasons() {
			ls.Dropped[r] = l.dropped[r]
		}
		st.Segments += ls.Segments
		st.Lanes = append(st.Lanes, ls)
	}
	return st
}
