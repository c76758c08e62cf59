package probe

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// Ring names the ring a record came from.
type Ring uint8

// The numbers of enum ring_id in bpf/maps.h.
const (
	Decisive Ring = iota
	Bulk
)

func (r Ring) String() string { return [...]string{"decisive", "bulk"}[r&1] }

// bulkInterval bounds how long a bulk record may wait when too few come to wake the
// reader: well under the 50 ms within which an event is promised to be spooled, and 50
// wake-ups a second cost a tenth of a percent of a core.
const bulkInterval = 20 * time.Millisecond

// Read delivers records to handle until ctx ends; then it delivers what is there and
// returns nil. It belongs to one goroutine, on which handle runs; a record is valid
// until handle returns. idle runs between records, at least every bulkInterval or
// drainRecords.
//
// Records come in the order of their cause: a bulk record is looked at before the
// decisive ring is, so whatever led to it (its process's fork and exec) was committed
// and is delivered first, oldest time first. A bulk record is held back only while a
// decisive one is being written, at most busyWait; Disordered counts what went on then.
func (s *Sensor) Read(ctx context.Context, handle func(Ring, []byte), idle func()) error {
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return fmt.Errorf("make wake-up descriptor: %w", err)
	}
	woken := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		_, _ = unix.Write(wake, []byte{1, 0, 0, 0, 0, 0, 0, 0})
		close(woken)
	})
	defer func() {
		if !stop() {
			<-woken
		}
		_ = unix.Close(wake)
	}()

	fds := []unix.PollFd{
		{Fd: int32(s.maps.decisive.FD()), Events: unix.POLLIN},
		{Fd: int32(s.maps.bulk.FD()), Events: unix.POLLIN},
		{Fd: int32(wake), Events: unix.POLLIN},
	}
	for {
		empty := s.drain(handle)
		idle()
		if ctx.Err() != nil {
			for range lastDrains {
				if s.drain(handle) {
					break
				}
			}
			return nil
		}
		if !empty {
			continue
		}
		if _, err := unix.Poll(fds, int(bulkInterval/time.Millisecond)); err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("wait for records: %w", err)
		}
	}
}

// drainRecords bounds one drain: under a storm that never ends, idle must run too.
const drainRecords = 4096

// lastDrains bounds what is delivered at the end, to more than any ring holds.
const lastDrains = 64

// busyWait bounds how long a bulk record waits for a decisive one that is being written:
// far longer than a program runs, so that only one that was switched away exceeds it.
const busyWait = time.Millisecond

// drain delivers what is there and reports whether the rings were read empty.
func (s *Sensor) drain(handle func(Ring, []byte)) (empty bool) {
	for range drainRecords {
		bulk, _ := s.rings[Bulk].peek()
		decisive, busy := s.rings[Decisive].peek()
		if bulk != nil && busy {
			decisive = s.awaitDecisive()
		}
		if bulk == nil && decisive != nil {
			// It may have come meanwhile, from before this decisive one.
			bulk, _ = s.rings[Bulk].peek()
		}
		switch {
		case decisive != nil && (bulk == nil || recordTime(decisive) <= recordTime(bulk)):
			s.deliver(Decisive, decisive, handle)
		case bulk != nil:
			s.deliver(Bulk, bulk, handle)
		default:
			return true
		}
	}
	return false
}

// awaitDecisive waits for the record being written in the decisive ring: committed ones
// behind it cannot be read before it is.
func (s *Sensor) awaitDecisive() []byte {
	for began := time.Now(); ; runtime.Gosched() {
		if record, busy := s.rings[Decisive].peek(); !busy {
			return record
		}
		if time.Since(began) > busyWait {
			s.disordered.Add(1)
			return nil
		}
	}
}

func (s *Sensor) deliver(ring Ring, record []byte, handle func(Ring, []byte)) {
	s.sequence[ring].note(record)
	s.witness.note(record)
	handle(ring, record)
	s.rings[ring].release()
}
