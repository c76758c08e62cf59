package sink

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// errDeadFull holds a sink back: what no receiver takes and no file holds would be lost.
var errDeadFull = errors.New("dead-letter file is full: move it away")

// deadLetters is a file of JSON lines: revisions that were given up, and why. It is
// opened for each, so it can be moved away at any time.
type deadLetters struct {
	path     string
	maxBytes int64
}

// deadLetter is one line. The alert is what was to be delivered, or absent if that
// cannot be written; the store has it under id all the same.
type deadLetter struct {
	Time     time.Time       `json:"time"`
	Sink     string          `json:"sink"`
	Position uint64          `json:"position"`
	ID       string          `json:"id"`
	Revision uint32          `json:"revision"`
	Tries    int             `json:"tries"`
	Reason   string          `json:"reason"`
	Alert    json.RawMessage `json:"alert,omitempty"`
}

// add is on disk when it returns.
func (d *deadLetters) add(l deadLetter) (err error) {
	line, err := json.Marshal(l)
	if err != nil {
		return fmt.Errorf("encode dead letter: %w", err)
	}
	file, err := os.OpenFile(d.path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("open dead letters: %w", err)
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	size, err := file.Seek(0, io.SeekEnd)
	if err != nil {
		return fmt.Errorf("open dead letters: %w", err)
	}
	if size > 0 {
		var last [1]byte
		if _, err := file.ReadAt(last[:], size-1); err != nil {
			return fmt.Errorf("read dead letters: %w", err)
		}
		if last[0] != '\n' { // a line that a crash has cut stays by itself
			line = append([]byte{'\n'}, line...)
		}
	}
	line = append(line, '\n')
	if size+int64(len(line)) > d.maxBytes {
		return errDeadFull
	}
	if _, err := file.Write(line); err != nil {
		return errors.Join(fmt.Errorf("write dead letter: %w", err), file.Truncate(size))
	}
	if err := file.Sync(); err != nil {
		return fmt.Errorf("write dead letter: %w", err)
	}
	return nil
}
