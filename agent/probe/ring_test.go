package probe

import (
	"encoding/binary"
	"os"
	"sync/atomic"
	"testing"
	"unsafe"

	"github.com/google/go-cmp/cmp"
)

// fakeRing is a ring whose kernel side the test plays.
type fakeRing struct {
	ring
	size uint64
}

func newFakeRing(size int) *fakeRing {
	page := os.Getpagesize()
	r := &fakeRing{size: uint64(size)}
	r.consumer = make([]byte, page)
	r.producer = make([]byte, page+2*size)
	r.data = r.producer[page:]
	r.mask = uint64(size - 1)
	return r
}

// produce writes a record with the given state bits; both mappings of the data show it.
func (r *fakeRing) produce(state uint32, payload string) {
	at := *r.produced()
	record := make([]byte, (ringHeader+len(payload)+7)&^7)
	binary.NativeEndian.PutUint32(record, uint32(len(payload))|state)
	copy(record[ringHeader:], payload)
	for i, b := range record {
		place := (at + uint64(i)) & r.mask
		r.data[place] = b
		r.data[place+r.size] = b
	}
	*r.produced() = at + uint64(len(record))
}

func (r *fakeRing) text() string {
	record, _ := r.peek()
	return string(record)
}

func (r *fakeRing) commit(at uint64, length int) {
	atomic.StoreUint32((*uint32)(unsafe.Pointer(&r.data[at&r.mask])), uint32(length))
}

func TestRingLendsCommittedRecordsInOrder(t *testing.T) {
	r := newFakeRing(64)
	if got, busy := r.peek(); got != nil || busy {
		t.Fatalf("an empty ring lends %q", got)
	}
	r.produce(0, "first")
	r.produce(ringDiscarded, "given up")
	busyAt := *r.produced()
	r.produce(ringBusy, "late")

	if got := r.text(); got != "first" {
		t.Fatalf("lends %q", got)
	}
	if got := r.text(); got != "first" {
		t.Fatalf("the second look lends %q", got)
	}
	r.release()
	if got, busy := r.peek(); got != nil || !busy {
		t.Fatalf("lends %q although it is not committed", got)
	}
	r.commit(busyAt, len("late"))
	if got := r.text(); got != "late" {
		t.Fatalf("lends %q after the commit", got)
	}
	r.release()
	if *r.consumed() != *r.produced() {
		t.Errorf("gave back up to %d of %d", *r.consumed(), *r.produced())
	}
}

func TestRingRecordsWrap(t *testing.T) {
	r := newFakeRing(64)
	for i := range 100 {
		payload := string([]byte{'a' + byte(i%26)}) + "0123456789012345678901234567890123456789"[:i%40]
		r.produce(0, payload)
		if got := r.text(); got != payload {
			t.Fatalf("record %d is %q, want %q", i, got, payload)
		}
		r.release()
	}
}

func TestRingReadsWithoutAllocating(t *testing.T) {
	r := newFakeRing(64)
	if n := testing.AllocsPerRun(100, func() {
		*r.consumed(), *r.produced(), r.position = 0, 0, 0
		*r.produced() = 16
		binary.NativeEndian.PutUint32(r.data, 8)
		if record, _ := r.peek(); record == nil {
			t.Fatal("no record")
		}
		r.release()
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestMissingCountsNumbersPassedOver(t *testing.T) {
	s := sequences{cpus: make([]cpuSequence, 2)}
	note := func(cpu uint32, number uint64) {
		record := make([]byte, 104)
		h := headOf(record)
		h.CPU, h.Sequence = cpu, number
		s.note(record)
	}
	for _, n := range []uint64{1, 2, 5, 4} { // 4 came late: preempted between number and ring
		note(0, n)
	}
	note(1, 1)
	note(7, 9) // no such CPU: ignored
	s.note([]byte("short"))
	if got := s.missing(); got != 1 {
		t.Errorf("missing %d, want 1: number 3", got)
	}
}

// What a process did must not be read before the process is known, also when an
// unrelated record holds the decisive ring up.
func TestCauseIsDeliveredBeforeEffect(t *testing.T) {
	record := func(at uint64, what string) string {
		return string(binary.NativeEndian.AppendUint64(nil, at)) + what
	}
	decisive, bulk := newFakeRing(256), newFakeRing(256)
	s := &Sensor{rings: [2]*ring{Decisive: &decisive.ring, Bulk: &bulk.ring}}
	var got []string
	handle := func(_ Ring, b []byte) { got = append(got, string(b[8:])) }

	decisive.produce(ringBusy, record(1, "other"))
	decisive.produce(0, record(2, "fork"))
	bulk.produce(0, record(3, "open"))
	go decisive.commit(0, 8+len("other"))
	s.drain(handle)
	if diff := cmp.Diff([]string{"other", "fork", "open"}, got); diff != "" {
		t.Error(diff)
	}

	got = nil
	decisive.produce(ringBusy, record(4, "stuck"))
	bulk.produce(0, record(5, "open"))
	s.drain(handle) // somebody switched away must not stop everything
	if diff := cmp.Diff([]string{"open"}, got); diff != "" || s.Disordered() != 1 {
		t.Errorf("%d disordered, %s", s.Disordered(), diff)
	}
}
