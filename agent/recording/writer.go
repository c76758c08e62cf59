package recording

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/seawall-security/seawall/internal/event"
)

// Writer writes a recording, one Write of the file for each line.
type Writer struct{ w io.Writer }

// NewWriter begins a recording with its header, whose Version it sets.
func NewWriter(w io.Writer, h Header) (*Writer, error) {
	h.Version = Version
	if err := h.validate(); err != nil {
		return nil, fmt.Errorf("write recording header: %w", err)
	}
	r := &Writer{w: w}
	return r, r.write(h)
}

// Record adds one raw record; what a task iterator wrote is to be split first. It
// keeps no reference to raw.
func (w *Writer) Record(ring Ring, raw []byte) error {
	if !ring.known() {
		return fmt.Errorf("write record: no ring %q", ring)
	}
	if len(raw) == 0 || len(raw) > MaxRecordBytes {
		return fmt.Errorf("write record: %d bytes are not within 1 to %d", len(raw), MaxRecordBytes)
	}
	return w.write(line{Ring: ring, Raw: raw})
}

// Container adds a container as it is known from here on.
func (w *Writer) Container(c *event.Container) error {
	fact := container(*c)
	return w.write(line{Container: &fact})
}

func (w *Writer) write(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode recording line: %w", err)
	}
	if len(b) > MaxLineBytes {
		return fmt.Errorf("encode recording line: %d bytes, at most %d are read back", len(b), MaxLineBytes)
	}
	if _, err := w.w.Write(append(b, '\n')); err != nil {
		return fmt.Errorf("write recording: %w", err)
	}
	return nil
}
