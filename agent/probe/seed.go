package probe

import (
	"errors"
	"fmt"
	"io"

	"github.com/cilium/ebpf/link"
)

// seedBytes holds one read of the iterator; the kernel fills at most eight pages at once.
const seedBytes = 1 << 16

// Seed yields the records of all processes that run now, one call of yield for each
// read of the iterator: whole records back to back. Call it after Open and before Read,
// so that whatever is born meanwhile waits in the ring.
func (s *Sensor) Seed(yield func(batch []byte)) (err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.objects) == 0 {
		return errors.New("seed processes: the sensor is closed")
	}
	reader, err := openSeed(s.objects[0])
	if err != nil {
		return fmt.Errorf("seed processes: %w", err)
	}
	defer func() { err = errors.Join(err, reader.Close()) }()
	buffer := make([]byte, seedBytes)
	for {
		n, err := reader.Read(buffer)
		if n > 0 {
			yield(buffer[:n])
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("seed processes: %w", err)
		}
	}
}

// openSeed starts the task iterator of the process object.
func openSeed(o *loadedObject) (io.ReadCloser, error) {
	program, err := o.program("process_seed")
	if err != nil {
		return nil, err
	}
	it, err := link.AttachIter(link.IterOptions{Program: program})
	if err != nil {
		return nil, fmt.Errorf("attach task iterator: %w", err)
	}
	reader, err := it.Open()
	return reader, errors.Join(err, it.Close())
}
