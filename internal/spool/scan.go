package spool

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"syscall"
)

// readBytes is how much is read of a segment at a time; only an entry that is longer
// makes the buffer grow, to MaxEntryBytes at most.
const readBytes = 64 << 10

var errDamaged = errors.New("entry is damaged")

// unlessDamage is err, unless it says that the file is damaged or gone for good. Whatever
// else may happen, like too many open files, is no reason to give entries up.
func unlessDamage(err error) error {
	for _, damage := range []error{errDamaged, io.EOF, io.ErrUnexpectedEOF, fs.ErrNotExist, syscall.EIO} {
		if errors.Is(err, damage) {
			return nil
		}
	}
	return err
}

// window reads a file in large pieces.
type window struct {
	file   io.ReaderAt
	buf    []byte
	offset int64 // of the first byte held
	held   int
}

func (w *window) reset(f io.ReaderAt) { w.file, w.held = f, 0 }

// at returns n bytes at offset, lent until the next call. The file is not read beyond limit.
func (w *window) at(offset int64, n int, limit int64) ([]byte, error) {
	if limit-offset < int64(n) {
		return nil, io.ErrUnexpectedEOF
	}
	if from := offset - w.offset; from >= 0 && from+int64(n) <= int64(w.held) {
		return w.buf[from : from+int64(n)], nil
	}
	if len(w.buf) < n {
		w.buf = make([]byte, max(n, readBytes))
	}
	piece := w.buf[:min(int64(len(w.buf)), limit-offset)]
	got, err := w.file.ReadAt(piece, offset)
	w.offset, w.held = offset, got
	if got < n {
		w.held = 0
		if err == nil || errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	return w.buf[:n], nil
}

// entry returns the entry at offset, whole and checked. A header of zeros is io.EOF:
// there is no sequence 0, and space that was allocated and not written reads so.
func (w *window) entry(seed uint32, offset, limit int64) (entryHead, []byte, error) {
	raw, err := w.at(offset, entryHeaderBytes, limit)
	if err != nil {
		return entryHead{}, nil, err
	}
	h := parseHead(raw)
	switch {
	case h == entryHead{}:
		return h, nil, io.EOF
	case h.length > MaxEntryBytes || h.sequence == 0:
		return h, nil, errDamaged
	}
	if raw, err = w.at(offset, h.size(), limit); err != nil {
		return h, nil, err
	}
	if checksum(seed, raw) != h.checksum {
		return h, nil, errDamaged
	}
	return h, raw[entryHeaderBytes:], nil
}

// readHeader reads the header of the file that is called name.
func (w *window) readHeader(name string, f file) (header, error) {
	w.reset(f)
	raw, err := w.at(0, headerBytes, headerBytes)
	if err != nil {
		return header{}, fmt.Errorf("read %s: %w", name, err)
	}
	h, err := decodeHeader(name, raw)
	if err != nil {
		return h, fmt.Errorf("read %s: %w", name, err)
	}
	return h, nil
}

// scan reads the entries of a segment from its start, before ordinal and sequence, and
// stops at the first that is not whole: what follows cannot be told from garbage. It sets
// where the readable entries end, and what of them is above acked.
func (w *window) scan(s *segment, f file, ordinal, sequence, acked uint64) (last entryHead) {
	w.reset(f)
	s.end, s.durable = s.ordinal, headerBytes
	size, err := f.Size()
	if err != nil {
		return last
	}
	crc := seed(s.salt)
	for s.end < ordinal {
		h, _, err := w.entry(crc, s.durable, size)
		if err != nil || h.sequence >= sequence || h.sequence <= last.sequence ||
			s.end == s.ordinal && h.sequence != s.sequence {
			return last
		}
		last = h
		s.end++
		s.durable += int64(h.size())
		if h.sequence > acked {
			s.live.add(h)
		}
	}
	return last
}
