package sink

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// stampLayout sorts as its times do.
const stampLayout = "20060102T150405.000000000Z"

var ended = regexp.MustCompile(`^\.\d{8}T\d{6}\.\d{9}Z(\.gz)?$`)

const compressed, unfinished = ".gz", ".gz.part"

// rotate ends the file if it is old, or full with what comes. An error leaves either the
// old file or a new one, in order.
func (f *File) rotate(ctx context.Context, more int64) error {
	info, err := f.file.Stat()
	if err != nil {
		return fmt.Errorf("look at file: %w", err)
	}
	now := f.o.Now().UTC()
	old := f.o.MaxAge > 0 && now.Sub(f.born) >= f.o.MaxAge
	if info.Size() == 0 || !old && info.Size()+more <= f.o.MaxBytes {
		return nil
	}
	name := f.o.Path + "." + now.Format(stampLayout)
	if _, err := os.Lstat(name); err == nil {
		return fmt.Errorf("end file: %s is there already", name) // the clock stands
	}
	if err := os.Rename(f.o.Path, name); err != nil {
		return fmt.Errorf("end file: %w", err)
	}
	last := f.last
	if err := f.open(); err != nil {
		return err
	}
	f.last = last // a batch that began in the old file may be repeated in the new one
	return f.tidy(ctx)
}

// tidy compresses ended files and removes the oldest.
func (f *File) tidy(ctx context.Context) error {
	entries, err := os.ReadDir(filepath.Dir(f.o.Path))
	if err != nil {
		return fmt.Errorf("list ended files: %w", err)
	}
	var names []string
	for _, e := range entries {
		if rest, own := strings.CutPrefix(e.Name(), filepath.Base(f.o.Path)); own && ended.MatchString(rest) {
			names = append(names, filepath.Join(filepath.Dir(f.o.Path), e.Name()))
		}
	}
	slices.Sort(names)
	for len(names) > f.o.Keep {
		if err := os.Remove(names[0]); err != nil {
			return fmt.Errorf("remove ended file: %w", err)
		}
		names = names[1:]
	}
	for _, name := range names {
		if f.o.Gzip && !strings.HasSuffix(name, compressed) {
			if err := f.compress(ctx, name); err != nil {
				return fmt.Errorf("compress ended file: %w", err)
			}
		}
	}
	return nil
}

// compress replaces a file by a compressed one, which has its last name only once it is whole.
func (f *File) compress(ctx context.Context, name string) error {
	in, err := os.Open(name)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(name+unfinished, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, f.o.Mode)
	if err != nil {
		return err
	}
	z := gzip.NewWriter(out)
	_, err = io.Copy(z, contextReader{ctx, in})
	if err = errors.Join(err, z.Close(), out.Sync(), out.Close()); err != nil {
		return errors.Join(err, os.Remove(out.Name()))
	}
	if err := os.Rename(out.Name(), name+compressed); err != nil {
		return err
	}
	return errors.Join(syncFolder(name), os.Remove(name))
}

// contextReader ends with its context.
type contextReader struct {
	ctx context.Context
	io.Reader
}

func (r contextReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.Reader.Read(p)
}
