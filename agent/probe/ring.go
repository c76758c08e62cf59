package probe

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// Record header of a BPF ring buffer (kernel/bpf/ringbuf.c): length and state in the
// first four bytes, then four the kernel keeps; records begin at multiples of eight.
const (
	ringHeader    = 8
	ringBusy      = 1 << 31
	ringDiscarded = 1 << 30
)

// ring is the consumer's side of one BPF ring buffer, read in place. It belongs to one
// goroutine. Records are lent: valid until release.
type ring struct {
	consumer []byte // one page, ours to write: how far we have read
	producer []byte // one page and twice the data, mapped back to back so that no record wraps
	data     []byte
	mask     uint64
	position uint64 // read so far
	next     uint64 // where release goes to; position when nothing is lent
}

func openRing(m *ebpf.Map) (*ring, error) {
	page, size := os.Getpagesize(), int(m.MaxEntries())
	consumer, err := unix.Mmap(m.FD(), 0, page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map consumer page of ring: %w", err)
	}
	producer, err := unix.Mmap(m.FD(), int64(page), page+2*size, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("map data of ring: %w", err), unix.Munmap(consumer))
	}
	r := &ring{consumer: consumer, producer: producer, data: producer[page:], mask: uint64(size - 1)}
	r.position = atomic.LoadUint64(r.consumed())
	r.next = r.position
	return r, nil
}

func (r *ring) consumed() *uint64 { return (*uint64)(unsafe.Pointer(&r.consumer[0])) }
func (r *ring) produced() *uint64 { return (*uint64)(unsafe.Pointer(&r.producer[0])) }

// peek lends the oldest record if it is committed, else nil; busy says that there is one
// that is not committed yet. Peeking twice lends the same record.
func (r *ring) peek() (record []byte, busy bool) {
	for {
		if r.position >= atomic.LoadUint64(r.produced()) {
			return nil, false
		}
		at := r.position & r.mask
		word := atomic.LoadUint32((*uint32)(unsafe.Pointer(&r.data[at])))
		if word&ringBusy != 0 {
			return nil, true
		}
		length := uint64(word &^ (ringBusy | ringDiscarded))
		r.next = r.position + (length+ringHeader+7)&^7
		if word&ringDiscarded == 0 {
			return r.data[at+ringHeader : at+ringHeader+length], false
		}
		r.release()
	}
}

// release gives the lent record back to the kernel.
func (r *ring) release() {
	r.position = r.next
	atomic.StoreUint64(r.consumed(), r.position)
}

func (r *ring) close() error {
	return errors.Join(unix.Munmap(r.consumer), unix.Munmap(r.producer))
}

// recordTime is time_ns, the first field of every record.
func recordTime(record []byte) uint64 {
	if len(record) < 8 {
		return 0
	}
	return binary.NativeEndian.Uint64(record)
}
