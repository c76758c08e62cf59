package spool

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// FuzzSegment opens a folder with one arbitrary segment file between two good ones. What
// is given are exactly the entries whose checksums hold, and nothing grows with what the
// bytes claim.
func FuzzSegment(f *testing.F) {
	good := fuzzSegments(f)
	f.Add(good[1], false)
	for i := 0; i < len(good[1]); i += 37 {
		damaged := bytes.Clone(good[1])
		damaged[i] ^= 0x81
		f.Add(damaged, i%2 == 0)
	}
	f.Add(good[1][:len(good[1])/2], true)
	f.Add(append(bytes.Clone(good[1]), good[1]...), true)
	f.Add([]byte{}, false)

	f.Fuzz(func(t *testing.T, raw []byte, sealed bool) {
		if sealed {
			raw = resealed(raw)
		}
		d := newDisk(t, 1)
		names := []string{fuzzName(1, 1), fuzzName(11, 2), fuzzName(21, 3)}
		for i, b := range [][]byte{good[0], raw, good[2]} {
			d.names[names[i]] = &inode{data: bytes.Clone(b), dirty: map[int]bool{}}
		}
		want := slices.Concat(valid(good[0], names[0], 11), valid(raw, names[1], 21), valid(good[2], names[2], 31))
		s := mustOpen(t, "", small(d))
		var window int
		got := []Entry{}
		r := mustReader(t, s, low)
		for {
			ready, err := r.position()
			if err != nil {
				t.Fatal(err)
			}
			if !ready {
				break
			}
			e, given, err := r.entry()
			if err != nil {
				t.Fatal(err)
			}
			if given {
				e.Data = bytes.Clone(e.Data)
				got = append(got, e)
			}
			window = max(window, len(r.window.buf))
		}
		if !slices.EqualFunc(got, want, same) {
			t.Errorf("%d entries, %d are valid", len(got), len(want))
		}
		if window > MaxEntryBytes+entryHeaderBytes {
			t.Errorf("%d bytes for %d", window, len(raw))
		}
		checkBooks(t, s)
		for _, lane := range []Lane{high, low} {
			last, _ := s.LastSequence(lane)
			if last < 30 && lane == low {
				t.Errorf("last sequence %d", last)
			}
			_ = s.Append(lane, Entry{Sequence: last + 1})
		}
		mustSync(t, s)
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
}

// resealed gives arbitrary bytes good checksums and the right name, so that what they
// claim is believed.
func resealed(raw []byte) []byte {
	if len(raw) < headerBytes {
		return raw
	}
	raw = bytes.Clone(raw)
	h := header{lane: low, sequence: 11, id: 2, ordinal: 11, salt: little.Uint64(raw[72:])}
	copy(raw, h.encode())
	for b := raw[headerBytes:]; len(b) >= entryHeaderBytes; {
		size := parseHead(b).size()
		if size > len(b) {
			break
		}
		seal(seed(h.salt), b[:size])
		b = b[size:]
	}
	return raw
}

func fuzzName(sequence, id uint64) string {
	return (&header{lane: low, sequence: sequence, id: id}).fileName()
}

// fuzzSegments makes three segments of ten entries each.
func fuzzSegments(f *testing.F) (good [][]byte) {
	dir := f.TempDir()
	s := mustOpen(f, dir, small(nil))
	for n := range uint64(3 * perSegment) {
		if err := s.Append(low, Entry{Sequence: n + 1, Time: int64(n), Class: uint8(n), Data: numbered(n+1, 370)}); err != nil {
			f.Fatal(err)
		}
	}
	mustSync(f, s)
	s.Close()
	for i := range uint64(3) {
		b, err := os.ReadFile(filepath.Join(dir, fuzzName(i*perSegment+1, i+1)))
		if err != nil {
			f.Fatal(err)
		}
		good = append(good, b)
	}
	return good
}

// valid is another, plainer reading of the format: the entries of a segment before limit,
// up to the first that is not whole.
func valid(raw []byte, name string, limit uint64) (entries []Entry) {
	if len(raw) < headerBytes {
		return nil
	}
	h, err := decodeHeader(name, raw)
	if err != nil {
		return nil
	}
	last := h.sequence - 1
	for ordinal, b := h.ordinal, raw[headerBytes:]; ordinal < limit && len(b) >= entryHeaderBytes; ordinal++ {
		size := entryHeaderBytes + int(b[4]) + int(b[5])<<8 + int(b[6])<<16
		sequence := little.Uint64(b[8:])
		if size > len(b) || size > entryHeaderBytes+MaxEntryBytes || sequence <= last || sequence >= limit ||
			ordinal == h.ordinal && sequence != h.sequence || little.Uint32(b) != checksum(seed(h.salt), b[:size]) {
			break
		}
		last = sequence
		entries = append(entries, Entry{Sequence: sequence, Time: int64(little.Uint64(b[16:])), Class: b[7], Data: b[entryHeaderBytes:size]})
		b = b[size:]
	}
	return entries
}

// FuzzState opens a folder with an arbitrary state and one good segment.
func FuzzState(f *testing.F) {
	good := fuzzSegments(f)
	st, err := encodeState(&state{Generation: 3, Clean: true, NextID: 9, Lanes: map[Lane]laneState{low: {Acked: 4, Floor: 1, Next: 11, Last: 10}},
		Gaps: []Gap{{Lane: low, Reason: Evicted, Count: 3, Classes: map[uint8]uint64{1: 3}}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(st[slotHeader:])
	f.Add([]byte(`{"Lanes":{"telemetry":{"Acked":18446744073709551615,"Floor":18446744073709551615,"Next":18446744073709551615,"Last":18446744073709551615}}}`))
	f.Add([]byte(`{"Generation":18446744073709551615,"NextID":18446744073709551615,"Gaps":[{"Reason":99,"Lane":"x","Count":1}]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		if len(body) > slotBytes-slotHeader {
			return
		}
		raw := append([]byte(stateMagic), make([]byte, slotHeader-len(stateMagic))...)
		little.PutUint32(raw[8:], uint32(len(body)))
		raw = append(raw, body...)
		little.PutUint32(raw[12:], stateChecksum(body))
		d := newDisk(t, 1)
		d.names[stateName] = &inode{data: raw, dirty: map[int]bool{}}
		d.names[fuzzName(1, 1)] = &inode{data: bytes.Clone(good[0]), dirty: map[int]bool{}}
		o := small(d)
		o.OnGap = func(_ *Spool, g Gap) { _ = g.Reason.String() }
		s := mustOpen(t, "", o)
		last, _ := s.LastSequence(low)
		if err := s.Append(low, Entry{Sequence: last + 1}); err == nil {
			mustSync(t, s)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
}
