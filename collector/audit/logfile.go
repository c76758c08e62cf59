package audit

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/seawall-security/seawall/internal/audit"
)

const (
	// knownByLine begins the name of a file that is known by its first line. Positions of
	// earlier versions name the first 256 bytes, in which a client chose nearly all: they are
	// read, and written no more.
	knownByLine    = "line:"
	earlierVersion = 256
)

var (
	// errRotated says that another file stands there now.
	errRotated = errors.New("the file was rotated")
	// errShort says that a file ends before the position in it.
	errShort = errors.New("the file ends before the position in it")
	// errPacked says that a compressed file cannot be read. While it is being written, the
	// plain one is there as well.
	errPacked = errors.New("the compressed file cannot be read")
)

// logFile is one file of a log. It is opened once: whatever names are given to it later,
// what is read is what was looked at.
type logFile struct {
	path       string
	file       *os.File
	info       os.FileInfo // as it was opened
	compressed bool
	// name is a hash of the first line with its end, which has the server's times in it to
	// the microsecond; a line above [audit.MaxEventBytes] counts so far. It is empty while the
	// line has no end. earlier is what earlier versions call the file.
	name, earlier string
	// err is why it cannot be read.
	err error
}

// openFile opens a file and looks who it is. What cannot be read is said in its err; the
// error is that of opening it.
func openFile(path string) (*logFile, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	f := &logFile{path: path, file: file, info: info, compressed: strings.HasSuffix(path, ".gz")}
	in, err := f.from(0)
	if err == nil {
		f.name, f.earlier, err = whose(in)
	}
	f.err = f.explain(err)
	return f, nil
}

// is reports whether a position names the file.
func (f *logFile) is(name string) bool {
	return name != "" && (f.name == name || f.earlier == name && !strings.HasPrefix(name, knownByLine))
}

// same reports whether the file is still the one that was opened: it is not when it was
// truncated and written anew.
func (f *logFile) same() bool {
	if f.compressed {
		return true
	}
	name, _, err := whose(io.NewSectionReader(f.file, 0, audit.MaxEventBytes))
	return err == nil && name == f.name
}

// from returns what the file holds from an offset on, which counts bytes as they were before
// they were compressed. One reader is used at a time.
func (f *logFile) from(offset int64) (io.Reader, error) {
	if !f.compressed {
		info, err := f.file.Stat()
		if err == nil && info.Size() < offset {
			err = errShort
		}
		if err == nil {
			_, err = f.file.Seek(offset, io.SeekStart)
		}
		return f.file, err
	}
	if _, err := f.file.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	plain, err := gzip.NewReader(f.file)
	if err != nil {
		return nil, err
	}
	if _, err := io.CopyN(io.Discard, plain, offset); errors.Is(err, io.EOF) {
		return nil, errShort
	} else if err != nil {
		return nil, err
	}
	return plain, nil
}

// size is how much there is, as it was before it was compressed.
func (f *logFile) size() (int64, error) {
	in, err := f.from(0)
	if err != nil {
		return 0, f.explain(err)
	}
	size, err := io.Copy(io.Discard, in)
	return size, f.explain(err)
}

// explain says which file it was, and whether it is its compression.
func (f *logFile) explain(err error) error {
	var system *os.PathError
	if err != nil && f.compressed && !errors.As(err, &system) && !errors.Is(err, errShort) {
		err = fmt.Errorf("%w: %w", errPacked, err)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", f.path, err)
	}
	return nil
}

func (f *logFile) close() { _ = f.file.Close() } // it was only read

// whose reads a file's names from its beginning.
func whose(in io.Reader) (name, earlier string, err error) {
	line, first := sha256.New(), make([]byte, 0, earlierVersion)
	buffered := bufio.NewReader(io.LimitReader(in, audit.MaxEventBytes))
	for whole, size := false, 0; !whole; {
		part, err := buffered.ReadSlice('\n')
		switch {
		case errors.Is(err, io.EOF) && size+len(part) < audit.MaxEventBytes:
			return "", "", nil
		case err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, bufio.ErrBufferFull):
			return "", "", err
		}
		whole = !errors.Is(err, bufio.ErrBufferFull)
		line.Write(part)
		first = append(first, part[:min(len(part), earlierVersion-len(first))]...)
		size += len(part)
	}
	if rest := first[len(first):earlierVersion]; len(rest) > 0 {
		if _, err := io.ReadFull(buffered, rest); err == nil {
			first = first[:earlierVersion]
		}
	}
	if len(first) == earlierVersion {
		sum := sha256.Sum256(first)
		earlier = hex.EncodeToString(sum[:16])
	}
	return knownByLine + hex.EncodeToString(line.Sum(nil)[:16]), earlier, nil
}

// contains reports whether a file begins with all that another holds.
func (f *logFile) contains(other *logFile) (bool, error) {
	a, err := f.from(0)
	if err != nil {
		return false, f.explain(err)
	}
	b, err := other.from(0)
	if err != nil {
		return false, other.explain(err)
	}
	var x, y [64 << 10]byte
	for {
		n, err := io.ReadFull(b, y[:])
		if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			return false, other.explain(err)
		}
		m, short := io.ReadFull(a, x[:n])
		if m < n || !bytes.Equal(x[:n], y[:n]) {
			if errors.Is(short, io.EOF) || errors.Is(short, io.ErrUnexpectedEOF) {
				short = nil
			}
			return false, f.explain(short)
		}
		if err != nil {
			return true, nil
		}
	}
}
