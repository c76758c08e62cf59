package output

import (
	"errors"
	"io"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// retryInterval is how often an output without space is tried again.
const retryInterval = time.Second

// patient writes on where it stopped once a full disk has room again. To end instead
// would let whoever can fill a disk blind the agent. Meanwhile nothing leaves the queue,
// which books what it has no place for.
type patient struct {
	out   io.Writer
	log   *zap.Logger
	ended <-chan struct{} // closed: tried once more, not waited for
	full  atomic.Bool     // out takes nothing at this moment
}

func (p *patient) Write(b []byte) (written int, err error) {
	for last := false; ; {
		n, err := p.out.Write(b[written:])
		written += n
		if err == nil {
			if p.full.Swap(false) {
				p.log.Info("standard output can be written again")
			}
			return written, nil
		}
		if last || !passes(err) {
			return written, err
		}
		if !p.full.Swap(true) {
			p.log.Error("standard output cannot be written and is tried again every second: make room there; "+
				"what the queue cannot hold is booked as a gap", zap.Error(err))
		}
		select {
		case <-p.ended:
			last = true
		case <-time.After(retryInterval):
		}
	}
}

// passes tells of errors that end by themselves: a disk or a quota that is full, a
// descriptor that somebody else made non-blocking.
func passes(err error) bool {
	return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) || errors.Is(err, unix.EAGAIN)
}
