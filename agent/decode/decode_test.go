package decode

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/sys/unix"

	"github.com/seawall-security/seawall/internal/event"
)

var equateAddresses = cmpopts.EquateComparable(netip.Addr{})

func TestDecode(t *testing.T) {
	d := Decoder{Clock: sampleClock} // one for all: nothing may be left of the loan before
	for _, s := range samples() {
		t.Run(s.name, func(t *testing.T) {
			got, err := d.Decode(s.record)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(s.want, got, equateAddresses); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestDecodeClearsLoan(t *testing.T) {
	var d Decoder
	record := samplesByKind()["process_fork"]
	e, err := d.Decode(record)
	if err != nil {
		t.Fatal(err)
	}
	e.Process, e.Container, e.Session = &event.Process{}, &event.Container{}, &event.Session{}
	e.Payload.(*event.Fork).ChildProcess = &event.Process{}
	if e, err = d.Decode(record); err != nil {
		t.Fatal(err)
	}
	if e.Process != nil || e.Container != nil || e.Session != nil || e.Payload.(*event.Fork).ChildProcess != nil {
		t.Error("facts of the event before are attached to the next")
	}
	if !e.Wall.IsZero() {
		t.Errorf("wall time %v without a clock", e.Wall)
	}
}

func TestDecodeUnaligned(t *testing.T) {
	var d Decoder
	for _, s := range samples() {
		shifted := append([]byte{0}, s.record...)[1:]
		got, err := d.Decode(shifted)
		if err != nil {
			t.Fatalf("%s: %v", s.name, err)
		}
		s.want.Wall = time.Time{}
		if diff := cmp.Diff(s.want, got, equateAddresses); diff != "" {
			t.Errorf("%s: -want +got:\n%s", s.name, diff)
		}
	}
}

func TestCommFillsItsField(t *testing.T) {
	w := wireExit{Header: sampleHeader(0)}
	w.Header.Comm = bytes16("0123456789abcdef")
	var d Decoder
	e, err := d.Decode(encode(event.KindProcessExit, w))
	if err != nil || e.Comm != "0123456789abcdef" {
		t.Errorf("got %q, %v", e.Comm, err)
	}
}

func TestDecodeRefuses(t *testing.T) {
	unlink := func(change func(*wireUnlink)) []byte {
		w := wireUnlink{Header: sampleHeader(0)}
		b := encode(event.KindFileUnlink, w, "/tmp/a")
		load(&w, b)
		change(&w)
		return append(append([]byte(nil), unsafe.Slice((*byte)(unsafe.Pointer(&w)), unsafe.Sizeof(w))...), "/tmp/a"...)
	}
	kind := func(k event.Kind) []byte { return encode(k, wireExit{}) }
	size := uint32(unsafe.Sizeof(wireUnlink{}))

	tests := []struct {
		name   string
		record []byte
		reason string
		says   string
	}{
		{"nothing", nil, ReasonShort, "decode unknown record: 0 bytes are no header"},
		{"half a header", make([]byte, 60), ReasonShort, "60 bytes are no header"},
		{"size too big", unlink(func(w *wireUnlink) { w.Header.Size++ }), ReasonSize, "decode file_unlink record: header claims"},
		{"size too small", unlink(func(w *wireUnlink) { w.Header.Size = 0 }), ReasonSize, "header claims 0 bytes"},
		{"bytes behind the record", append(unlink(func(*wireUnlink) {}), 0), ReasonSize, "header claims"},
		{"kind none", kind(0), ReasonKind, "no kind has number 0"},
		{"kind of the future", kind(6), ReasonKind, "no kind has number 6"},
		{"kind above all", kind(65535), ReasonKind, "no kind has number 65535"},
		{"fixed part cut off", kind(event.KindProcessExec), ReasonShort, "the fixed part has"},
		{"span before the tail", unlink(func(w *wireUnlink) { w.Path.Offset-- }), ReasonSpan, "path at"},
		{"span in the header", unlink(func(w *wireUnlink) { w.Path.Offset = 0 }), ReasonSpan, "path at 0 to 6"},
		{"span past the record", unlink(func(w *wireUnlink) { w.Path.Length++ }), ReasonSpan, "is outside the tail"},
		{"span of a whole number range", unlink(func(w *wireUnlink) { w.Path = wireSpan{size, 1<<32 - 1} }), ReasonSpan, "path at"},
		{"span that wraps", unlink(func(w *wireUnlink) { w.Path = wireSpan{1<<32 - 1, 2} }), ReasonSpan, "path at 4294967295 to 4294967297"},
	}
	var d Decoder
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			e, err := d.Decode(test.record)
			var refused *Error
			if e != nil || !errors.As(err, &refused) {
				t.Fatalf("got %v, %v", e, err)
			}
			if refused.Reason() != test.reason || !strings.Contains(err.Error(), test.says) {
				t.Errorf("got %s: %v; want %s: %s", refused.Reason(), err, test.reason, test.says)
			}
		})
	}
}

func TestEveryFixedPartMayBeShort(t *testing.T) {
	var d Decoder
	for name, record := range samplesByKind() {
		short := append([]byte(nil), record[:unsafe.Sizeof(wireHeader{})]...)
		var h wireHeader
		load(&h, short)
		h.Size = uint32(len(short))
		copy(short, unsafe.Slice((*byte)(unsafe.Pointer(&h)), len(short)))
		_, err := d.Decode(short)
		var refused *Error
		if !errors.As(err, &refused) || refused.Reason() != ReasonShort {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestEmptySpanMayPointAnywhere(t *testing.T) {
	w := wireUnlink{Header: sampleHeader(0)}
	b := encode(event.KindFileUnlink, w, "")
	load(&w, b)
	w.Path = wireSpan{}
	var d Decoder
	e, err := d.Decode(unsafe.Slice((*byte)(unsafe.Pointer(&w)), unsafe.Sizeof(w)))
	if err != nil || e.Payload.(*event.Unlink).File.Path != "" {
		t.Errorf("got %v, %v", e, err)
	}
}

func TestCloneOutlivesRecord(t *testing.T) {
	for _, s := range samples() {
		d := Decoder{Clock: sampleClock}
		e, err := d.Decode(s.record)
		if err != nil {
			t.Fatal(err)
		}
		kept := e.Clone()
		for i := range s.record {
			s.record[i] = 'X'
		}
		d = Decoder{}
		if diff := cmp.Diff(s.want, kept, equateAddresses); diff != "" {
			t.Errorf("%s: -want +got:\n%s", s.name, diff)
		}
	}
}

func TestDecodeAllocatesNothing(t *testing.T) {
	d := Decoder{Clock: sampleClock}
	for name, record := range samplesByKind() {
		if n := testing.AllocsPerRun(100, func() { _, _ = d.Decode(record) }); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func TestSplit(t *testing.T) {
	var batch []byte
	for _, s := range samples() {
		batch = append(batch, s.record...)
	}
	rest := batch
	for _, s := range samples() {
		record, behind, err := Split(rest)
		if err != nil {
			t.Fatalf("%s: %v", s.name, err)
		}
		if string(record) != string(s.record) {
			t.Errorf("%s: cut elsewhere", s.name)
		}
		rest = behind
	}
	if len(rest) != 0 {
		t.Errorf("%d bytes left", len(rest))
	}

	first := samples()[0].record
	var tooSmall wireHeader
	load(&tooSmall, first)
	tooSmall.Size = 8
	for _, test := range []struct {
		name   string
		batch  []byte
		reason string
	}{
		{"empty", nil, ReasonShort},
		{"ends in a header", first[:40], ReasonShort},
		{"ends in a record", first[:len(first)-1], ReasonShort},
		{"size below the header's", unsafe.Slice((*byte)(unsafe.Pointer(&tooSmall)), unsafe.Sizeof(tooSmall)), ReasonSize},
	} {
		record, rest, err := Split(test.batch)
		var refused *Error
		if record != nil || len(rest) != len(test.batch) || !errors.As(err, &refused) || refused.Reason() != test.reason {
			t.Errorf("%s: got %d bytes, %v", test.name, len(record), err)
		}
	}
}

func TestClock(t *testing.T) {
	before := time.Now()
	c, err := MeasureClock()
	if err != nil {
		t.Fatal(err)
	}
	boot, err := readClock(unix.CLOCK_BOOTTIME)
	if err != nil {
		t.Fatal(err)
	}
	after := time.Now()
	// The kernel slews the wall clock by at most 500 ppm; a second is far beyond it.
	if wall := c.Wall(event.Boot(boot)); wall.Before(before.Add(-time.Second)) || wall.After(after.Add(time.Second)) {
		t.Errorf("boot time %v is %v, not within %v and %v", boot, wall, before, after)
	}
	if c.Uncertainty < 0 || c.Uncertainty > time.Second {
		t.Errorf("uncertainty %v", c.Uncertainty)
	}
}

func BenchmarkDecode(b *testing.B) {
	d := Decoder{Clock: sampleClock}
	records := samplesByKind()
	for _, kind := range append([]event.Kind{event.KindProcessSeed}, event.Kinds...) {
		record := records[kind.String()]
		b.Run(kind.String(), func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(record)))
			for b.Loop() {
				if _, err := d.Decode(record); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
