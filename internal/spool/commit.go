package spool

import (
	"errors"
	"io"
	"time"
)

const (
	// A failing disk is tried again after retryMin, then after twice that each time.
	retryMin = 100 * time.Millisecond
	retryMax = 5 * time.Second
	// stateInterval is how long acks may stay unsaved: what is read again after a crash.
	stateInterval = time.Second
	// tellInterval is the least time between gaps of one lane and reason.
	tellInterval = time.Second
)

var (
	// errNoRoom says that the bytes allowed are used by lanes that rank higher.
	errNoRoom = errors.New("no room below the rank of the lane")
	// errUnread says that what had been written could not be read back.
	errUnread = errors.New("segment cannot be read back")
)

// task is what the spool's goroutine does next.
type task uint8

const (
	taskWait task = iota
	taskReclaim
	taskSave
	taskTell
	taskCommit
)

// run is the spool's goroutine: all writing, removing and telling. It ends with stop.
func (s *Spool) run() {
	defer close(s.done)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-s.stop:
			return
		default:
		}
		do, l, wait := s.choose(time.Now())
		switch do {
		case taskReclaim:
			s.reclaim()
		case taskSave:
			_ = s.saveOrRetry() // counted, and tried again
		case taskTell:
			s.tell()
		case taskCommit:
			_ = s.commit(l) // counted, and tried again
			s.provision()
		case taskWait:
			timer.Reset(wait)
			select {
			case <-s.wake:
			case <-timer.C:
			case <-s.stop:
			}
		}
	}
}

// choose finds what is to be done now, or how long there is nothing to do. The state and
// gaps come first because they are due once in a second; lanes by rank.
func (s *Spool) choose(now time.Time) (task, *lane, time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	wait := time.Hour
	due := func(at time.Time) bool {
		left := at.Sub(now)
		wait = min(wait, max(left, 0))
		return left <= 0
	}
	if remove := s.reclaimable(); remove || !s.stateDue.IsZero() {
		at := s.stateDue
		if remove {
			at = now
		}
		if at.Before(s.stateRetry) {
			at = s.stateRetry
		}
		if due(at) && remove {
			return taskReclaim, nil, 0
		} else if due(at) {
			return taskSave, nil, 0
		}
	}
	healthy := true
	for _, l := range s.lanes {
		healthy = healthy && (l.retry.IsZero() || len(l.pending) == 0)
	}
	// While the disk fails gaps grow; telling them would only make more to be lost.
	if healthy && len(s.gaps) > 0 && s.telling == nil && due(s.tellDue) {
		s.tellDue = now.Add(tellInterval)
		return taskTell, nil, 0
	}
	for _, l := range s.lanes {
		if len(l.pending) == 0 {
			continue
		}
		at := l.pending[0].opened
		if l.rank > 0 || at.Before(l.committed.Add(s.options.CommitDelay)) {
			at = at.Add(s.options.CommitDelay)
		}
		if len(s.waiters) > 0 || l.pendingBytes >= s.options.MaxPendingBytes/8 {
			at = now
		}
		if at.Before(l.retry) {
			at = l.retry
		}
		if due(at) {
			return taskCommit, l, 0
		}
	}
	return taskWait, nil, wait
}

// dirty has the state saved soon. Callers hold the mutex.
func (s *Spool) dirty() {
	if s.stateDue.IsZero() {
		s.stateDue = time.Now().Add(stateInterval)
		s.signal()
	}
}

func (s *Spool) saveOrRetry() error {
	err := s.saveState(false)
	if err != nil {
		s.retryState()
	}
	return err
}

func (s *Spool) retryState() { s.stateRetry = time.Now().Add(stateInterval) }

// commit makes some of what is pending in a lane durable.
func (s *Spool) commit(l *lane) error {
	s.mu.Lock()
	l.committed = time.Now()
	// The rest stays droppable: a disk that hangs with telemetry in its hands must not
	// keep detections out of memory.
	held := 0
	for _, c := range l.pending {
		if l.flight > 0 && held+cap(c.buf) > s.options.MaxPendingBytes/2 {
			break
		}
		held += cap(c.buf)
		l.flight++
	}
	chunks := append([]*chunk(nil), l.pending[:l.flight]...)
	s.mu.Unlock()

	err := s.write(l, chunks)

	s.mu.Lock()
	defer s.mu.Unlock()
	left := l.flight // what became durable is no longer in flight
	l.flight = 0
	switch {
	case err == nil:
		l.backoff, l.retry, s.failing = 0, zeroTime, nil
	case errors.Is(err, errNoRoom):
		for range left {
			s.drop(l, 0, Evicted)
		}
		err = nil
	default:
		s.failures++
		s.failing = err
		l.backoff = min(max(2*l.backoff, retryMin), retryMax)
		l.retry = time.Now().Add(l.backoff)
	}
	s.checkWaiters()
	return err
}

// active is the segment that a lane is writing.
type active struct {
	*segment
	file    file
	crc     uint32
	written int64 // offset of the next entry
	staged  tally // written and not durable
	fresh   bool  // its name is not durable either
}

// write writes chunks and makes them durable. After an error the active segment is given
// up: after a failed fsync the kernel may hold pages as clean that never reached the disk,
// so nothing but a new file, written from our own memory, can be trusted.
func (s *Spool) write(l *lane, chunks []*chunk) error {
	err := s.writeChunks(l, chunks)
	if err != nil && l.active != nil {
		s.abandon(l)
	}
	return err
}

func (s *Spool) writeChunks(l *lane, chunks []*chunk) error {
	if l.active != nil && s.unread(l.active) {
		s.seal(l)
	}
	for _, c := range chunks {
		c.written = c.durable // a failed attempt may have come further
	}
	for _, c := range chunks {
		for c.written < len(c.buf) {
			rest := c.buf[c.written:]
			if l.active == nil {
				if err := s.begin(l, parseHead(rest)); err != nil {
					return err
				}
			}
			n := l.active.stage(rest)
			if n == 0 {
				if err := s.settle(l); err != nil {
					return err
				}
				s.seal(l)
				continue
			}
			if err := writeAt(l.active.file, rest[:n], l.active.written); err != nil {
				return err
			}
			l.active.written += int64(n)
			c.written += n
		}
	}
	return s.settle(l)
}

func (s *Spool) unread(a *active) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return a.broken
}

// stage seals as many of the entries in b as fit, and returns their length.
func (a *active) stage(b []byte) int {
	n := 0
	for n < len(b) {
		h := parseHead(b[n:])
		if a.written+int64(n+h.size()) > a.bytes {
			break
		}
		seal(a.crc, b[n:n+h.size()])
		a.staged.add(h)
		n += h.size()
	}
	return n
}

func writeAt(f file, b []byte, offset int64) error {
	n, err := f.WriteAt(b, offset)
	if err == nil && n < len(b) {
		err = io.ErrShortWrite
	}
	return err
}

// settle makes what was written durable and publishes it.
func (s *Spool) settle(l *lane) error {
	a := l.active
	if a == nil || a.staged.count == 0 {
		return nil
	}
	started := time.Now()
	err := a.file.Sync()
	if err == nil && a.fresh {
		err = s.files.Sync()
	}
	took := time.Since(started)

	s.mu.Lock()
	defer s.mu.Unlock()
	s.syncs++
	s.syncTime += took
	if err != nil {
		return err
	}
	if a.broken {
		return errUnread
	}
	a.fresh = false
	s.publish(l)
	return nil
}

// publish gives what is durable to the reader. Callers hold the mutex.
func (s *Spool) publish(l *lane) {
	a := l.active
	if len(l.segments) == 0 || l.segments[len(l.segments)-1] != a.segment {
		l.segments = append(l.segments, a.segment)
	}
	if l.queued == 0 {
		l.oldest = a.staged.since
	}
	n := a.staged.count
	a.live.merge(&a.staged)
	a.end += n
	a.durable = a.written
	l.next += n
	l.queued += n
	l.queuedPending -= n
	l.durable += n
	l.until = a.staged.till
	a.staged.reset()
	for _, c := range l.pending[:l.flight] {
		c.durable = c.written
	}
	for l.flight > 0 && l.pending[0].durable == len(l.pending[0].buf) {
		s.free(l, 0)
		l.flight--
	}
	s.checkWaiters()
	l.signal()
}

// signal wakes the lane's reader.
func (l *lane) signal() {
	select {
	case l.ready <- struct{}{}:
	default:
	}
}

// finish is the end of Close: one attempt for what is pending, then the state.
func (s *Spool) finish() error {
	var errs []error
	for _, l := range s.lanes {
		for len(l.pending) > 0 {
			err := s.commit(l)
			if err == nil {
				continue
			}
			errs = append(errs, err)
			s.mu.Lock()
			for len(l.pending) > 0 {
				s.drop(l, 0, Unwritable)
			}
			s.checkWaiters()
			s.mu.Unlock()
		}
		if l.active != nil {
			s.trim(l.active.segment, l.active.file)
			s.seal(l)
		}
	}
	s.reclaim()
	s.mu.Lock()
	s.checkWaiters()
	s.mu.Unlock()
	return errors.Join(append(errs, s.files.Sync(), s.saveState(true))...)
}
