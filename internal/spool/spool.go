package spool

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"sync"
	"time"
)

var (
	// ErrOwned says that another process, or another Spool of this one, has the folder.
	ErrOwned = errors.New("the folder has another owner")
	// ErrClosed says that the spool, or the reader, is closed.
	ErrClosed = errors.New("closed")
	// ErrLost says that some of what Sync waited for was dropped, and booked as a gap.
	ErrLost = errors.New("some entries were dropped")
	// ErrTooLarge refuses entries above MaxEntryBytes.
	ErrTooLarge = errors.New("entry is too large")
	// ErrSequence refuses sequences that do not rise.
	ErrSequence = errors.New("sequence does not rise")
	// ErrLane refuses lanes that the options do not name.
	ErrLane = errors.New("no such lane")
)

// crashMargin is what sequences jump by after a crash. The last ones used may be known
// to nobody but the receiver, and a number must never stand for two different entries.
const crashMargin = 1 << 20

var zeroTime time.Time

// Spool is an open folder. All methods may be called concurrently.
type Spool struct {
	options Options
	files   files
	owner   io.Closer
	lanes   []*lane

	// Only the spool's own goroutine uses these, and Open and Close before and after it.
	state        file
	stateRetry   time.Time
	trash        []*segment // could not be removed yet
	wantSpare    bool
	noAllocation bool // the file system cannot take space ahead

	wake chan struct{} // there may be work
	stop chan struct{} // closed by Close
	done chan struct{} // closed when the goroutine has ended

	// mu guards what follows, the lanes, and segments as said there. It is held for
	// memory only, never over I/O or OnGap.
	mu           sync.Mutex
	closed       bool
	nextID       uint64
	generation   uint64
	bytes        int64 // of all segments, spare and trash
	spare        int64 // bytes of the spare segment, 0 without
	pendingBytes int
	idle         []*chunk
	waiters      []*waiter // of Sync
	gaps         []Gap     // to be told
	told         []Gap     // told, but what OnGap appended is not durable yet
	telling      *waiter   // waits for that
	tellDue      time.Time
	stateDue     time.Time // when the state is saved again, zero if it has not changed
	elsewhere    map[Lane]laneState
	foreign      int
	left, leave  int64 // the owner's notes: of the former life, for the next one
	latest       int64 // time of the last entry that the former life is known to have written
	syncs        uint64
	syncTime     time.Duration
	failures     uint64
	failing      error
}

// lane is one log.
type lane struct {
	name Lane
	rank int

	active *active // only the spool's own goroutine uses it

	pending       []*chunk // oldest first
	flight        int      // how many of them are in the writer's hands
	pendingBytes  int
	queuedPending uint64
	backoff       time.Duration
	retry         time.Time // do not write before; zero while the disk takes what it gets
	committed     time.Time // when the last commit began

	segments []*segment // oldest first
	queued   uint64     // not acked, on disk
	next     uint64     // ordinal of the next entry to become durable
	last     uint64     // highest sequence appended
	acked    uint64     // highest sequence acked
	oldest   int64      // time of the oldest entry on disk that is not acked
	until    int64      // time of the last durable entry

	reader    *Reader
	delivered deliveries
	ready     chan struct{} // there may be something to read

	appended, recovered, durable, ackedCount uint64
	dropped                                  [reasons]uint64
}

// floor is the ordinal below which everything is settled and whose files may be gone.
func (l *lane) floor() uint64 {
	if len(l.segments) > 0 {
		return l.segments[0].ordinal
	}
	return l.next
}

// firstLive is the ordinal of the oldest entry that is not acked, or of the next one.
// Callers hold the mutex.
func (l *lane) firstLive() uint64 {
	for _, g := range l.segments {
		if g.live.count > 0 {
			return g.end - g.live.count // acks come in order
		}
	}
	return l.next
}

// Open takes the folder, makes it if it is not there, and recovers what it holds.
func Open(dir string, o Options) (*Spool, error) {
	if err := o.complete(); err != nil {
		return nil, fmt.Errorf("open spool %s: %w", dir, err)
	}
	fail := func(err error) (*Spool, error) { return nil, fmt.Errorf("open spool %s: %w", dir, err) }
	if o.files == nil {
		f, err := openFolder(dir)
		if err != nil {
			return fail(err)
		}
		o.files = f
	}
	owner, err := o.files.Lock()
	if err != nil {
		return fail(err)
	}
	s := &Spool{
		options: o, files: o.files, owner: owner,
		wake: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{}),
	}
	for rank, name := range o.Lanes {
		s.lanes = append(s.lanes, &lane{name: name, rank: rank, ready: make(chan struct{}, 1)})
	}
	if err := s.recover(); err != nil {
		return fail(errors.Join(err, owner.Close()))
	}
	// A folder that cannot be written now is one to be retried: what is in it can be read.
	_ = s.saveState(false)
	for s.bytes > o.MaxBytes { // the former owner was allowed more
		if s.spare > 0 {
			s.dropSpare()
		} else if !s.evict(s.lanes[0], false) {
			break
		}
	}
	go s.run()
	return s, nil
}

func (s *Spool) lane(name Lane) (*lane, error) {
	for _, l := range s.lanes {
		if l.name == name {
			return l, nil
		}
	}
	return nil, fmt.Errorf("%w: %q", ErrLane, name)
}

// Append copies an entry to memory, from where it is written within the commit delay. It
// never waits for the disk. An entry that is accepted can still be dropped, lower lanes
// first, when the disk does not take it; that is booked as a gap. So is one above
// MaxEntryBytes, which is refused. After any other error the entry does not exist.
func (s *Spool) Append(name Lane, e Entry) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return fmt.Errorf("append: %w", ErrClosed)
	}
	l, err := s.lane(name)
	if err != nil {
		return fmt.Errorf("append: %w", err)
	}
	if e.Sequence <= l.last {
		return fmt.Errorf("append to %s: %w: %d after %d", name, ErrSequence, e.Sequence, l.last)
	}
	l.last = e.Sequence
	l.appended++
	if len(e.Data) > MaxEntryBytes {
		s.lose(l, e, Oversized)
		return fmt.Errorf("append to %s: %w: %d bytes", name, ErrTooLarge, len(e.Data))
	}
	c := s.room(l, entryHeaderBytes+len(e.Data))
	if c == nil {
		s.lose(l, e, Unwritable)
		return nil
	}
	c.buf = appendEntry(c.buf, e)
	c.last = l.appended
	l.queuedPending++
	return nil
}

// lose books an entry that never got a place.
func (s *Spool) lose(l *lane, e Entry, r Reason) {
	var t tally
	t.add(entryHead{class: e.Class, sequence: e.Sequence, time: e.Time})
	s.book(l, gapOf(l.name, r, &t))
}

// LastSequence is the highest sequence that the lane may have seen: appends continue above
// it. After a crash it is higher than what is remembered, by a margin.
func (s *Spool) LastSequence(name Lane) (uint64, error) {
	l, err := s.lane(name)
	if err != nil {
		return 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return l.last, nil
}

// Leave has a number of the owner's kept for whoever opens the folder next, if this life
// ends with Close and not in a crash. Zero is none.
func (s *Spool) Leave(note int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leave = note
}

// Former tells of the life before this one: the note that it left, 0 if it left none or did
// not end with Close, and the latest time of an entry that it is known to have made durable,
// in Unix nanoseconds, 0 if there was none.
func (s *Spool) Former() (note, latest int64) { return s.left, s.latest }

// Sync waits until all that was appended before the call is durable, without the commit
// delay. Its error is ErrLost if some of it was dropped meanwhile; what had been dropped
// before the call is not waited for.
func (s *Spool) Sync(ctx context.Context) error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return fmt.Errorf("sync: %w", ErrClosed)
	}
	w := &waiter{since: make([]uint64, len(s.lanes)), until: s.numbers(), done: make(chan struct{})}
	s.waiters = append(s.waiters, w)
	s.checkWaiters()
	s.signal()
	s.mu.Unlock()

	select {
	case <-w.done:
	case <-ctx.Done():
		s.mu.Lock()
		defer s.mu.Unlock()
		for i := range s.waiters {
			if s.waiters[i] == w {
				s.waiters = append(s.waiters[:i], s.waiters[i+1:]...)
				break
			}
		}
		if s.failing != nil {
			return fmt.Errorf("sync: %w (%w)", ctx.Err(), s.failing)
		}
		return fmt.Errorf("sync: %w", ctx.Err())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if w.lost {
		return fmt.Errorf("sync: %w", ErrLost)
	}
	return nil
}

// Close writes what is pending, tries no longer than the disk does, and gives the folder
// up. What could not be written is booked; gaps not told yet are told after the next Open.
// Reads and appends fail from the start of Close.
func (s *Spool) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	s.mu.Unlock()
	close(s.stop)
	<-s.done

	err := s.finish()
	if s.state != nil {
		err = errors.Join(err, s.state.Close())
	}
	err = errors.Join(err, s.owner.Close())
	if c, ok := s.files.(io.Closer); ok {
		err = errors.Join(err, c.Close())
	}
	if err != nil {
		return fmt.Errorf("close spool: %w", err)
	}
	return nil
}

// signal wakes the spool's goroutine.
func (s *Spool) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// saturated is a+b, or the highest number.
func saturated(a, b uint64) uint64 {
	if a > math.MaxUint64-b {
		return math.MaxUint64
	}
	return a + b
}
