package audit

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	auditv1 "github.com/seawall-security/seawall/proto/audit/v1"
)

// maxListBytes bounds an EventList in a file; the API server's have 10 MiB at most.
const maxListBytes = 64 << 20

// Reader reads the events of a file: an event a line, as API servers log them, a list a
// line, as their webhook sends them, or either over several lines, as tools print them.
// The file may be packed with gzip. It holds one line, or one list, at a time.
type Reader struct {
	in      *bufio.Reader
	line    int
	buffer  []byte
	waiting []*auditv1.Event // of a list
	bad     []*ItemError     // of a list
	values  *json.Decoder    // nil: the file is lines
	limit   *limited
}

// LineError says what is wrong with a line, or with one event of its list. The Reader goes
// on behind it.
type LineError struct {
	Line int // from 1; of a file that is not lines the first one
	Err  error
}

func (e *LineError) Error() string { return fmt.Sprintf("%d: %v", e.Line, e.Err) }
func (e *LineError) Unwrap() error { return e.Err }

// NewReader looks at the beginning of a file.
func NewReader(file io.Reader) (*Reader, error) {
	in := bufio.NewReaderSize(file, 64<<10)
	if magic, _ := in.Peek(2); bytes.Equal(magic, []byte{0x1f, 0x8b}) {
		unpacked, err := gzip.NewReader(in)
		if err != nil {
			return nil, fmt.Errorf("unpack: %w", err)
		}
		in = bufio.NewReaderSize(unpacked, 64<<10)
	}
	return &Reader{in: in}, nil
}

// Next returns the next event, and io.EOF behind the last. An error of type [*LineError] is
// about one event, or one line; after any other there is nothing more.
func (r *Reader) Next() (*auditv1.Event, error) {
	for {
		if len(r.waiting) > 0 {
			e := r.waiting[0]
			r.waiting = r.waiting[1:]
			return e, nil
		}
		if len(r.bad) > 0 {
			err := r.bad[0]
			r.bad = r.bad[1:]
			return nil, &LineError{r.line, err}
		}
		data, err := r.next()
		if err != nil {
			return nil, err
		}
		if len(data) == 0 {
			continue
		}
		e, err := Decode(data)
		if err == nil {
			return e, nil
		}
		if !isList(data) {
			return nil, &LineError{r.line, err}
		}
		if r.waiting, r.bad, err = DecodeList(data); err != nil {
			return nil, &LineError{r.line, err}
		}
	}
}

// isList reports whether JSON that is no event may be a list: the API server writes the kind
// first. An event can speak of a list, too.
func isList(data []byte) bool {
	return bytes.Contains(data[:min(len(data), 4096)], []byte(`"EventList"`))
}

// next returns the JSON of the next line or value. Its bytes are not used again.
func (r *Reader) next() ([]byte, error) {
	if r.values != nil {
		return r.value()
	}
	r.buffer = nil
	r.line++
	for {
		part, err := r.in.ReadSlice('\n')
		r.buffer = append(r.buffer, part...)
		switch {
		case errors.Is(err, bufio.ErrBufferFull) && len(r.buffer) <= maxListBytes:
			continue
		case errors.Is(err, bufio.ErrBufferFull):
			r.buffer = nil
			if err := r.skip(); err != nil && !errors.Is(err, io.EOF) {
				return nil, fmt.Errorf("read line %d: %w", r.line, err)
			}
			return nil, &LineError{r.line, fmt.Errorf("the line has more than %d bytes", maxListBytes)}
		case errors.Is(err, io.EOF) && len(r.buffer) > 0: // a last line without its end
		case errors.Is(err, io.EOF):
			return nil, io.EOF
		case err != nil:
			return nil, fmt.Errorf("read line %d: %w", r.line, err)
		}
		break
	}
	line := bytes.TrimSpace(r.buffer)
	if string(line) == "{" {
		r.limit = &limited{in: io.MultiReader(bytes.NewReader(r.buffer), r.in)}
		r.values = json.NewDecoder(r.limit)
		return r.value()
	}
	return line, nil
}

// skip reads up to the end of a line.
func (r *Reader) skip() error {
	for {
		_, err := r.in.ReadSlice('\n')
		if !errors.Is(err, bufio.ErrBufferFull) {
			return err
		}
	}
}

// value is one of a file that is not lines. What is no JSON ends it.
func (r *Reader) value() ([]byte, error) {
	r.limit.left = maxListBytes
	var value json.RawMessage
	if err := r.values.Decode(&value); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, io.EOF
		}
		return nil, fmt.Errorf("read JSON: %w", describe(err))
	}
	return value, nil
}

// limited is a file of which so much is read, and no more.
type limited struct {
	in   io.Reader
	left int
}

func (l *limited) Read(p []byte) (int, error) {
	if l.left <= 0 {
		return 0, fmt.Errorf("a value has more than %d bytes", maxListBytes)
	}
	n, err := l.in.Read(p[:min(len(p), l.left)])
	l.left -= n
	return n, err
}
