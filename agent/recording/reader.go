package recording

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/seawall-security/seawall/internal/event"
)

// Reader reads a recording. Its errors name file and line.
type Reader struct {
	lines  *bufio.Scanner
	file   io.Closer // nil if the caller owns the input
	name   string
	number int
	header Header
}

// Open begins to read the recording in a file. Close ends it.
func Open(path string) (*Reader, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open recording: %w", err)
	}
	r, err := NewReader(f, path)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	r.file = f
	return r, nil
}

// NewReader begins to read a recording with its header. The name is for errors.
func NewReader(in io.Reader, name string) (*Reader, error) {
	r := &Reader{lines: bufio.NewScanner(in), name: name}
	r.lines.Buffer(nil, MaxLineBytes+1) // with the newline
	text, err := r.scan()
	if errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: no header", name)
	}
	if err != nil {
		return nil, err
	}
	if err := strictly(text, &r.header); err != nil {
		return nil, r.fail(fmt.Errorf("parse header: %w", err))
	}
	if err := r.header.validate(); err != nil {
		return nil, r.fail(fmt.Errorf("parse header: %w", err))
	}
	return r, nil
}

// Header is the recording's first line.
func (r *Reader) Header() Header { return r.header }

// Line is the number of the line that Next read last.
func (r *Reader) Line() int { return r.number }

// Next reads the next entry, io.EOF behind the last. The entry may be kept.
func (r *Reader) Next() (Entry, error) {
	text, err := r.scan()
	if err != nil {
		return Entry{}, err
	}
	var l line
	if err := strictly(text, &l); err != nil {
		return Entry{}, r.fail(err)
	}
	if l.Container != nil {
		if l.Ring != "" || len(l.Raw) != 0 {
			return Entry{}, r.fail(errors.New("a record and a container in one line"))
		}
		c := event.Container(*l.Container)
		return Entry{Container: &c}, nil
	}
	if !l.Ring.known() {
		return Entry{}, r.fail(fmt.Errorf("no ring %.20q", string(l.Ring)))
	}
	if len(l.Raw) == 0 || len(l.Raw) > MaxRecordBytes {
		return Entry{}, r.fail(fmt.Errorf("record of %d bytes is not within 1 to %d", len(l.Raw), MaxRecordBytes))
	}
	return Entry{Ring: l.Ring, Raw: l.Raw}, nil
}

// Close closes the file that Open opened.
func (r *Reader) Close() error {
	if r.file == nil {
		return nil
	}
	return r.file.Close()
}

func (r *Reader) scan() ([]byte, error) {
	if r.lines.Scan() {
		r.number++
		return r.lines.Bytes(), nil
	}
	r.number++
	switch err := r.lines.Err(); {
	case err == nil:
		return nil, io.EOF
	case errors.Is(err, bufio.ErrTooLong):
		return nil, r.fail(fmt.Errorf("line is longer than %d bytes", MaxLineBytes))
	default:
		return nil, r.fail(err)
	}
}

func (r *Reader) fail(err error) error { return fmt.Errorf("%s:%d: %w", r.name, r.number, err) }

// strictly parses one JSON object: no unknown fields, nothing behind it.
func strictly(text []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(v); errors.Is(err, io.EOF) { // which callers take for the end of the file
		return errors.New("empty line")
	} else if err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("more than one value in the line")
	}
	return nil
}
