package audit

import (
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// fingerprintBytes is the beginning that tells a file: its first event's audit id is in
// it. A file that is shorter is not read yet: one event is longer.
const fingerprintBytes = 256

// logFile is one file of a log.
type logFile struct {
	path        string
	compressed  bool
	fingerprint string
}

// errRotated says that another file stands there now.
var errRotated = errors.New("the file was rotated")

// listLog finds the files of a log, oldest first: the log itself is last, before it come
// the ones it was rotated to. API servers write audit-2026-11-22T02-00-00.000.log, with .gz
// once it is compressed; others audit.log.1 with higher numbers for older ones.
func listLog(path string) ([]logFile, error) {
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		return nil, fmt.Errorf("list files of the log: %w", err)
	}
	base := filepath.Base(path)
	stem := strings.TrimSuffix(base, filepath.Ext(base))
	names := make([]string, 0, len(entries))
	for _, entry := range entries {
		name := entry.Name()
		if entry.Type().IsRegular() && name != base && (strings.HasPrefix(name, stem+"-") || strings.HasPrefix(name, base+".")) {
			names = append(names, name)
		}
	}
	slices.SortFunc(names, func(a, b string) int { return compareRotated(base, a, b) })
	var files []logFile
	var errs []error
	for _, name := range append(names, base) {
		f, err := identify(filepath.Join(filepath.Dir(path), name))
		switch {
		case errors.Is(err, fs.ErrNotExist), errors.Is(err, io.ErrUnexpectedEOF): // renamed as we looked; being compressed
		case err != nil:
			errs = append(errs, err)
		case f.fingerprint == "":
		default:
			// While a file is copied or compressed it is there twice: the whole one counts.
			if twin := find(files, f.fingerprint); twin >= 0 {
				if f.compressed {
					continue
				}
				files = slices.Delete(files, twin, twin+1)
			}
			files = append(files, f)
		}
	}
	return files, errors.Join(errs...)
}

// compareRotated orders names of rotated files by age, oldest first: falling numbers,
// else rising names.
func compareRotated(base, a, b string) int {
	a, b = strings.TrimSuffix(a, ".gz"), strings.TrimSuffix(b, ".gz")
	x, errX := strconv.Atoi(strings.TrimPrefix(a, base+"."))
	y, errY := strconv.Atoi(strings.TrimPrefix(b, base+"."))
	if errX == nil && errY == nil {
		return y - x
	}
	return strings.Compare(a, b)
}

func find(files []logFile, fingerprint string) int {
	return slices.IndexFunc(files, func(f logFile) bool { return f.fingerprint == fingerprint })
}

// identify reads a file's fingerprint; it is empty while the file is too short.
func identify(path string) (logFile, error) {
	f := logFile{path: path, compressed: strings.HasSuffix(path, ".gz")}
	in, err := f.reader()
	if err != nil {
		return f, err
	}
	defer in.Close()
	f.fingerprint, err = fingerprint(in)
	return f, err
}

func fingerprint(in io.Reader) (string, error) {
	var head [fingerprintBytes]byte
	switch _, err := io.ReadFull(in, head[:]); {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "", nil
	case err != nil:
		return "", err
	}
	sum := sha256.Sum256(head[:])
	return hex.EncodeToString(sum[:16]), nil
}

// open returns what the file holds from an offset on, if it is still the one that was listed.
func (f logFile) open(offset int64) (_ io.ReadCloser, err error) {
	now, err := identify(f.path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && now.fingerprint != f.fingerprint {
		return nil, errRotated
	}
	if err != nil {
		return nil, err
	}
	in, err := f.reader()
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, in.Close())
		}
	}()
	if seeker, ok := in.(io.Seeker); ok {
		_, err = seeker.Seek(offset, io.SeekStart)
	} else {
		_, err = io.CopyN(io.Discard, in, offset)
	}
	return in, err
}

func (f logFile) reader() (io.ReadCloser, error) {
	plain, err := os.Open(f.path)
	if err != nil || !f.compressed {
		return plain, err
	}
	z, err := gzip.NewReader(plain)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", f.path, err), plain.Close())
	}
	return &compressed{z, plain}, nil
}

type compressed struct {
	*gzip.Reader
	file *os.File
}

func (c *compressed) Close() error { return errors.Join(c.Reader.Close(), c.file.Close()) }
