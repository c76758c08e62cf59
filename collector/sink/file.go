package sink

import (
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// Defaults of [FileOptions].
const (
	DefaultFileBytes = 100 << 20
	DefaultFileAge   = 24 * time.Hour
	DefaultFileKeep  = 14
)

// FileOptions of a file sink; zero values stand for the defaults.
type FileOptions struct {
	// Path is absolute; its folder exists.
	Path   string
	Format Format
	// MaxBytes and MaxAge end a file; it is renamed to <path>.<time>. Age below 0: never.
	MaxBytes int64
	MaxAge   time.Duration
	// Keep is how many ended files stay.
	Keep int
	// Gzip compresses ended files, to <path>.<time>.gz.
	Gzip bool
	// NoSync acknowledges before the lines are on the disk: a power cut can take the last
	// of them. Otherwise fdatasync comes first, once per batch.
	NoSync bool
	// Mode of new files; default 0640.
	Mode fs.FileMode
	// Now is the clock; default time.Now.
	Now func() time.Time
}

// File is a [Sink] that appends lines to a file. It looks before each batch whether the
// file is still at its path, so whoever moves it away needs no signal.
//
// A batch is written whole or taken back. What a crash leaves is put in order when the
// file is opened: half a line is cut off, and lines that are there already are not
// written again when their batch is repeated.
type File struct {
	o    FileOptions
	file *os.File
	born time.Time
	// last are the lines at the file's end as it was opened, until a batch goes beyond them.
	last map[lineHash]bool
}

type lineHash [sha256.Size]byte

// lastLines is above any batch: no more can be repeated.
const lastLines = 1024

// NewFile returns a sink; the file is opened with the first batch.
func NewFile(o FileOptions) (*File, error) {
	if !filepath.IsAbs(o.Path) {
		return nil, fmt.Errorf("file sink: path %q is not absolute", o.Path)
	}
	o.MaxBytes = or(o.MaxBytes, DefaultFileBytes)
	o.MaxAge = or(o.MaxAge, DefaultFileAge)
	o.Keep = or(o.Keep, DefaultFileKeep)
	o.Mode = or(o.Mode, 0o640)
	if o.Now == nil {
		o.Now = time.Now
	}
	return &File{o: o}, nil
}

// Deliver implements [Sink].
func (f *File) Deliver(ctx context.Context, batch []Revision) error {
	if err := f.open(); err != nil {
		return err
	}
	lines, repeated, err := f.lines(batch)
	if err != nil {
		return err
	}
	if len(lines) > 0 {
		if err := f.rotate(ctx, int64(len(lines))); err != nil {
			return err
		}
		if err := f.write(lines); err != nil {
			return err
		}
	}
	if !repeated {
		f.last = nil
	}
	return nil
}

// Close implements [Sink].
func (f *File) Close() error {
	if f.file == nil {
		return nil
	}
	file := f.file
	f.file = nil
	return file.Close()
}

// lines are those of the batch that the file does not have, and whether it has all.
func (f *File) lines(batch []Revision) (lines []byte, repeated bool, err error) {
	repeated = true
	for _, r := range batch {
		begin := len(lines)
		if lines, err = f.o.Format(lines, r); err != nil {
			return nil, false, &RefusedError{Reason: err.Error()}
		}
		if f.last[sha256.Sum256(lines[begin:])] {
			lines = lines[:begin]
			continue
		}
		repeated = false
		lines = append(lines, '\n')
	}
	return lines, repeated, nil
}

// write appends all or nothing, as far as the disk lets it.
func (f *File) write(lines []byte) error {
	size, err := f.file.Seek(0, io.SeekEnd)
	if err == nil {
		if _, err = f.file.Write(lines); err == nil && !f.o.NoSync {
			err = unix.Fdatasync(int(f.file.Fd()))
		}
	}
	if err == nil {
		return nil
	}
	// The next attempt opens anew and looks at what there is.
	return errors.Join(fmt.Errorf("write %s: %w", f.o.Path, err), f.file.Truncate(size), f.Close())
}

// open makes sure that the file at the path is the one that is open.
func (f *File) open() error {
	if f.file != nil {
		at, err := os.Stat(f.o.Path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("look at file: %w", err)
		}
		own, err := f.file.Stat()
		if err != nil {
			return fmt.Errorf("look at file: %w", err)
		}
		if at != nil && os.SameFile(at, own) {
			return nil
		}
		if err := f.Close(); err != nil { // moved away
			return fmt.Errorf("close file: %w", err)
		}
	}
	// Not blocking: a pipe without a reader would.
	file, err := os.OpenFile(f.o.Path, os.O_RDWR|os.O_CREATE|os.O_APPEND|unix.O_NONBLOCK, f.o.Mode)
	if err != nil {
		return fmt.Errorf("open file: %w", err)
	}
	if err := f.take(file); err != nil {
		return errors.Join(fmt.Errorf("open %s: %w", f.o.Path, err), file.Close())
	}
	f.file = file
	return nil
}

// take puts a file that was just opened in order.
func (f *File) take(file *os.File) error {
	info, err := file.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return errors.New("it is no regular file")
	}
	last, whole, err := readLines(file)
	if err != nil {
		return err
	}
	if whole < info.Size() {
		if err := file.Truncate(whole); err != nil {
			return err
		}
	}
	f.last, f.born = last, f.o.Now()
	var stat unix.Statx_t
	if whole > 0 && unix.Statx(int(file.Fd()), "", unix.AT_EMPTY_PATH, unix.STATX_BTIME, &stat) == nil && stat.Mask&unix.STATX_BTIME != 0 {
		f.born = time.Unix(stat.Btime.Sec, int64(stat.Btime.Nsec))
	}
	return syncFolder(f.o.Path)
}

// readLines hashes the last lines of a file and finds where the last whole one ends. The
// hashes need no memory per line's length, and a file has at most MaxBytes.
func readLines(file *os.File) (last map[lineHash]bool, whole int64, err error) {
	var ring []lineHash
	hash := sha256.New()
	var offset int64
	for in := bufio.NewReaderSize(file, 64<<10); ; {
		part, err := in.ReadSlice('\n')
		offset += int64(len(part))
		switch {
		case err == nil:
			hash.Write(part[:len(part)-1])
			ring = append(ring, lineHash(hash.Sum(nil)))
			if len(ring) == 2*lastLines {
				ring = append(ring[:0], ring[lastLines:]...)
			}
			hash.Reset()
			whole = offset
		case errors.Is(err, bufio.ErrBufferFull):
			hash.Write(part)
		case errors.Is(err, io.EOF):
			last = make(map[lineHash]bool, len(ring))
			for _, h := range ring {
				last[h] = true
			}
			return last, whole, nil
		default:
			return nil, 0, err
		}
	}
}

// syncFolder makes a name that is new in its folder last.
func syncFolder(path string) error {
	folder, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}
