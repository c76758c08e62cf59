package audit

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

const (
	// maxOpen bounds the files that are open at once: of a log with more that are not read
	// the older ones come first.
	maxOpen = 32
	// A log that is rotated while it is looked at is looked at again, so often.
	maxLooks = 16
)

var errMoves = errors.New("the log is rotated faster than it can be looked at")

// logFiles are the files of a log as they were at one moment, oldest first: from the one that
// a position is in, or all.
type logFiles struct {
	files []*logFile
	// found: the first file is the position's.
	found bool
	// begun: the log itself has a first line. Before that, what was there may be on its way
	// to another name.
	begun bool
	// whole: no newer file was left out.
	whole bool
}

// openLog opens a log's files. Newer ones are looked at first, and none that is older than
// the position's. Names move on while they are looked at: what was opened has to have stood
// under its name when all were open, and all names as well.
func openLog(path, position string) (*logFiles, error) {
	for range maxLooks {
		l, err := lookAt(path, position)
		if err == nil || !errors.Is(err, errRotated) {
			return l, err
		}
	}
	return nil, errMoves
}

func lookAt(path, position string) (_ *logFiles, err error) {
	names, err := namesOf(path)
	if err != nil {
		return nil, err
	}
	l := &logFiles{whole: true}
	defer func() {
		if err != nil {
			l.close()
		}
	}()
	var stood []*logFile // all that were opened, the dropped ones too
	var oldest *logFile  // that is the position's: earlier versions could take two for one
	earlier := position != "" && !strings.HasPrefix(position, knownByLine)
	for i := len(names) - 1; i >= 0 && (!l.found || earlier); i-- {
		f, err := openFile(names[i])
		switch {
		case errors.Is(err, fs.ErrNotExist) && names[i] == path: // it was rotated, and nothing is written yet
			continue
		case errors.Is(err, fs.ErrNotExist):
			return nil, errRotated
		case err != nil:
			return nil, fmt.Errorf("open the log: %w", err)
		}
		stood = append(stood, f)
		if f.err == nil && f.name == "" {
			f.close()
			continue
		}
		l.files = append(l.files, f)
		l.begun = l.begun || names[i] == path
		if f.is(position) {
			l.found, oldest = true, f
		}
		if len(l.files) > maxOpen {
			l.files[0].close()
			l.files, l.whole = l.files[1:], false
		}
	}
	if n := slices.Index(l.files, oldest); l.found && n < len(l.files)-1 {
		for _, f := range l.files[n+1:] {
			f.close()
		}
		l.files = l.files[:n+1]
	}
	if !l.found || len(l.files) > 1 {
		if err := unmoved(path, names, stood); err != nil {
			return nil, err
		}
		if err := l.dropCopies(); err != nil {
			return nil, err
		}
	}
	slices.Reverse(l.files)
	return l, nil
}

// namesOf are the names of a log's files, oldest first: the log itself is last, before it
// come the ones it was rotated to. API servers write audit-2026-11-22T02-00-00.000.log, with
// .gz once it is compressed; others audit.log.1 with higher numbers for older ones, or
// audit.log-20261122. What is being compressed counts as it is.
func namesOf(path string) ([]string, error) {
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		return nil, fmt.Errorf("list files of the log: %w", err)
	}
	base := filepath.Base(path)
	var names []string
	plain := make(map[string]bool)
	for _, entry := range entries {
		name := entry.Name()
		if entry.Type().IsRegular() && isRotated(base, name) {
			names, plain[name] = append(names, name), true
		}
	}
	names = slices.DeleteFunc(names, func(name string) bool {
		packed, ok := strings.CutSuffix(name, ".gz")
		return ok && plain[packed]
	})
	slices.SortFunc(names, func(a, b string) int { return compareRotated(base, a, b) })
	for i := range names {
		names[i] = filepath.Join(filepath.Dir(path), names[i])
	}
	return append(names, path), nil
}

// isRotated reports whether a name is one that a log is rotated to, and not of another file
// beside it, such as audit-policy.yaml.
func isRotated(base, name string) bool {
	behind, ok := strings.CutPrefix(name, strings.TrimSuffix(base, filepath.Ext(base))+"-")
	return ok && behind != "" && behind[0] >= '0' && behind[0] <= '9' || strings.HasPrefix(name, base+".") || strings.HasPrefix(name, base+"-")
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

// unmoved makes sure that files still have the names they were opened by, and that there are
// no others.
func unmoved(path string, names []string, files []*logFile) error {
	for _, f := range files {
		now, err := os.Stat(f.path)
		if errors.Is(err, fs.ErrNotExist) || err == nil && !os.SameFile(f.info, now) {
			return errRotated
		}
		if err != nil {
			return fmt.Errorf("look at the log again: %w", err)
		}
	}
	now, err := namesOf(path)
	if err == nil && !slices.Equal(now, names) {
		err = errRotated
	}
	return err
}

// dropCopies leaves out files that another contains: a log is copied before it is truncated,
// and is there twice meanwhile.
func (l *logFiles) dropCopies() error {
	for i := 0; i < len(l.files); i++ {
		for j := i + 1; j < len(l.files); j++ {
			a, b := l.files[i], l.files[j]
			if a.err != nil || b.err != nil || a.name != b.name {
				continue
			}
			drop := j
			inside, err := a.contains(b)
			if err == nil && !inside {
				drop = i
				inside, err = b.contains(a)
			}
			if err != nil {
				return err
			}
			if inside {
				l.files[drop].close()
				l.files = slices.Delete(l.files, drop, drop+1)
				i = -1 // from the beginning
				break
			}
		}
	}
	return nil
}

func (l *logFiles) close() {
	for _, f := range l.files {
		f.close()
	}
}

// String is what was seen, to compare with what is seen next.
func (l *logFiles) String() string {
	var b strings.Builder
	for _, f := range l.files {
		fmt.Fprintln(&b, f.path, f.name)
	}
	return b.String()
}
