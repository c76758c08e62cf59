package decode

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/seawall-security/seawall/internal/event"
)

// Clock turns kernel time into wall time. It is a measurement, good until the
// wall clock is set: whoever owns a decoder measures anew now and then.
type Clock struct {
	// Offset is what the wall clock shows beyond CLOCK_BOOTTIME.
	Offset time.Duration
	// Uncertainty is how far Offset can be off: half the time between the two
	// readings of CLOCK_BOOTTIME that enclose the one of the wall clock.
	Uncertainty time.Duration
}

// clockReadings is how often MeasureClock reads: being preempted between two
// readings widens one of them, hardly all.
const clockReadings = 5

// MeasureClock reads both clocks and keeps the tightest of a few readings.
func MeasureClock() (Clock, error) {
	var best Clock
	for i := range clockReadings {
		before, err := readClock(unix.CLOCK_BOOTTIME)
		if err != nil {
			return Clock{}, fmt.Errorf("read boot clock: %w", err)
		}
		wall, err := readClock(unix.CLOCK_REALTIME)
		if err != nil {
			return Clock{}, fmt.Errorf("read wall clock: %w", err)
		}
		after, err := readClock(unix.CLOCK_BOOTTIME)
		if err != nil {
			return Clock{}, fmt.Errorf("read boot clock: %w", err)
		}
		half := (after - before) / 2
		if i == 0 || half < best.Uncertainty {
			best = Clock{Offset: wall - before - half, Uncertainty: half}
		}
	}
	return best, nil
}

func readClock(id int32) (time.Duration, error) {
	var ts unix.Timespec
	if err := unix.ClockGettime(id, &ts); err != nil {
		return 0, err
	}
	return time.Duration(ts.Nano()), nil
}

// Wall is the wall time of a kernel time, in UTC. The zero Clock knows none and
// gives the zero time.
func (c Clock) Wall(at event.Boot) time.Time {
	if c.Offset == 0 {
		return time.Time{}
	}
	return time.Unix(0, int64(at)+int64(c.Offset)).UTC()
}
