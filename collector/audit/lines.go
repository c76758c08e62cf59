package audit

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
)

// errLong says that a line was longer than an event may be. It was passed over.
var errLong = errors.New("the line is too long")

// lines reads lines of a bounded length.
type lines struct {
	in   *bufio.Reader
	max  int
	line []byte
}

func newLines(in io.Reader, maxBytes int) *lines {
	return &lines{in: bufio.NewReaderSize(in, 64<<10), max: maxBytes}
}

// next returns a line without its end, and how many bytes it took with it. The line is the
// caller's until the next call. With io.EOF n says how long half a line at the end is.
func (l *lines) next() (line []byte, n int64, err error) {
	l.line = l.line[:0]
	long := false
	for {
		part, err := l.in.ReadSlice('\n')
		n += int64(len(part))
		if long = long || len(l.line)+len(part) > l.max+1; !long {
			l.line = append(l.line, part...)
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case err != nil:
			return nil, n, err
		case long:
			return nil, n, fmt.Errorf("%w: it has %d bytes, at most %d are read", errLong, n, l.max)
		}
		return bytes.TrimRight(l.line, "\r\n"), n, nil
	}
}
