package spool

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Lane names one ordered log of a spool.
type Lane string

const (
	// DefaultMaxBytes keeps some hours of a busy node's telemetry, or days of a calm one's.
	DefaultMaxBytes = 256 << 20
	// DefaultSegmentBytes is what is freed at a time, and what one damaged byte can cost.
	DefaultSegmentBytes = 4 << 20
	// DefaultCommitDelay leaves 30 ms for the disk within the 50 ms that are promised.
	DefaultCommitDelay = 20 * time.Millisecond
	// DefaultMaxPendingBytes bridges a disk that is busy for a second under a storm.
	DefaultMaxPendingBytes = 8 << 20

	maxLaneName = 32
)

// Options say what a spool holds. Zero values mean the defaults.
type Options struct {
	// Lanes in order of rank: the first outranks all others. At least one.
	Lanes []Lane
	// MaxBytes bounds the segments of all lanes together, the spare one included. It
	// has to hold a segment per lane and one more.
	MaxBytes int64
	// SegmentBytes is how long a segment is; one large entry may make it longer.
	SegmentBytes int64
	// CommitDelay is how long an entry may wait for others to share its fsync. In the first
	// lane, whose entries are urgent and few, one that comes after as long a pause goes at
	// once, which costs one fsync more for each burst.
	CommitDelay time.Duration
	// MaxPendingBytes bounds the memory for what is not on disk yet.
	MaxPendingBytes int
	// OnGap is told what was lost, on the spool's own goroutine: it must not block, and
	// may call Append, but not Sync or Close. See the package documentation.
	OnGap func(*Spool, Gap)

	files files // tests replace the disk
}

func (o *Options) complete() error {
	if o.MaxBytes == 0 {
		o.MaxBytes = DefaultMaxBytes
	}
	if o.SegmentBytes == 0 {
		o.SegmentBytes = DefaultSegmentBytes
	}
	if o.CommitDelay == 0 {
		o.CommitDelay = DefaultCommitDelay
	}
	if o.MaxPendingBytes == 0 {
		o.MaxPendingBytes = DefaultMaxPendingBytes
	}

	var problems []error
	problem := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	if len(o.Lanes) == 0 {
		problem("no lanes")
	}
	seen := map[Lane]bool{}
	for _, l := range o.Lanes {
		if !l.valid() {
			problem("lane %q: want 1 to %d of a-z, 0-9 and _", l, maxLaneName)
		}
		if seen[l] {
			problem("lane %q is there twice", l)
		}
		seen[l] = true
	}
	if o.SegmentBytes < minSegmentBytes {
		problem("segments of %d bytes: want at least %d", o.SegmentBytes, minSegmentBytes)
	}
	if want := o.SegmentBytes * int64(len(o.Lanes)+1); o.MaxBytes < want {
		problem("%d bytes for %d lanes with segments of %d: want at least %d", o.MaxBytes, len(o.Lanes), o.SegmentBytes, want)
	}
	if want := minPendingBytes(len(o.Lanes)); o.MaxPendingBytes < want {
		problem("%d bytes of pending memory: want at least %d", o.MaxPendingBytes, want)
	}
	if o.CommitDelay < 0 {
		problem("commit delay %v", o.CommitDelay)
	}
	return errors.Join(problems...)
}

func (l Lane) valid() bool {
	return len(l) > 0 && len(l) <= maxLaneName && strings.Trim(string(l), "abcdefghijklmnopqrstuvwxyz0123456789_") == ""
}
