package disk

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
)

const (
	// SectorBytes is the unit that the disk is addressed in.
	SectorBytes = 512
	// WholeBytes, aligned, is what a cut never tears: disks of today have physical sectors
	// of that size, whatever they are addressed in, and file systems count on it.
	WholeBytes = 4096
)

// errOff says that nothing is answered any more.
var errOff = errors.New("the power is off")

// Medium is what outlives a cut: a file, or memory.
type Medium interface {
	io.ReaderAt
	io.WriterAt
}

// Loss is what a cut makes of the cache.
type Loss int

// The losses. Real disks do any of them.
const (
	LoseAll     Loss = iota // nothing had been written back
	LoseWrites              // each write by the toss of a coin
	LoseSectors             // each physical sector of each write by the toss of a coin
	LoseNothing             // everything had been written back
)

func (l Loss) String() string {
	return [...]string{"all", "some writes", "some sectors", "nothing"}[l]
}

// Disk is a disk with a volatile write cache. New makes one.
type Disk struct {
	medium Medium
	size   int64

	mu       sync.Mutex // guards what follows
	cache    []write    // not on the medium, oldest first
	newest   map[int64][]byte
	off      chan struct{} // closed while the power is off; another each time it is turned on
	isOff    bool
	left     int // writes and flushes until the power goes; below 0: it stays
	requests int // writes and flushes since New
	flushes  int
}

// write is one that was answered and not flushed.
type write struct {
	offset int64
	data   []byte
}

// New is a disk of size bytes, with its power on.
func New(medium Medium, size int64) (*Disk, error) {
	if size <= 0 || size%SectorBytes != 0 {
		return nil, fmt.Errorf("make disk: %d bytes are no multiple of %d", size, SectorBytes)
	}
	return &Disk{medium: medium, size: size, newest: map[int64][]byte{}, off: make(chan struct{}), left: -1}, nil
}

// CutAfter has the power go when n more writes and flushes have been answered: before
// anything is done for the next one.
func (d *Disk) CutAfter(n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.left = max(n, 0)
}

// Cut has the power go now.
func (d *Disk) Cut() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.cut()
}

func (d *Disk) cut() {
	if !d.isOff {
		d.isOff = true
		close(d.off)
	}
}

// Off is closed when the power goes; PowerOn makes another.
func (d *Disk) Off() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.off
}

// Requests is how many writes and flushes there have been, and how many of them flushes.
func (d *Disk) Requests() (all, flushes int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.requests, d.flushes
}

// Outcome is what a cut did.
type Outcome struct {
	// Cached writes had been answered and not flushed; Lost bytes of them are not on the
	// medium, and Bytes is how many there were.
	Cached      int
	Bytes, Lost int64
}

// PowerOn settles what the cut did to the cache and turns the disk on again. Only a disk
// that is off may be turned on: whoever used it is gone.
func (d *Disk) PowerOn(loss Loss, random *rand.Rand) (Outcome, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.isOff {
		return Outcome{}, errors.New("turn disk on: it is on")
	}
	o := Outcome{Cached: len(d.cache)}
	for _, w := range d.cache {
		o.Bytes += int64(len(w.data))
		kept, err := w.settle(d.medium, loss, random)
		if err != nil {
			return o, fmt.Errorf("turn disk on: %w", err)
		}
		o.Lost += int64(len(w.data)) - kept
	}
	d.forget()
	d.isOff, d.off, d.left = false, make(chan struct{}), -1
	return o, nil
}

// settle puts on the medium what a cut left of a write.
func (w *write) settle(medium Medium, loss Loss, random *rand.Rand) (kept int64, err error) {
	for at, step := 0, 0; at < len(w.data); at += step {
		step = len(w.data) - at
		if loss == LoseSectors {
			step = min(step, WholeBytes-int((w.offset+int64(at))%WholeBytes))
		}
		if loss == LoseAll || loss != LoseNothing && random.IntN(2) == 0 {
			continue
		}
		if _, err := medium.WriteAt(w.data[at:at+step], w.offset+int64(at)); err != nil {
			return kept, err
		}
		kept += int64(step)
	}
	return kept, nil
}

func (d *Disk) forget() {
	d.cache = nil
	clear(d.newest)
}

// on reports whether the power that somebody began with is on still. What was on its way
// at a cut must not arrive when the disk is turned on again.
func (d *Disk) on(power <-chan struct{}) bool { return !d.isOff && power == d.off }

// spend counts a write or flush, which is not done when the power goes first.
func (d *Disk) spend(power <-chan struct{}) error {
	if d.left == 0 && d.on(power) {
		d.cut()
	}
	if !d.on(power) {
		return errOff
	}
	if d.left > 0 {
		d.left--
	}
	d.requests++
	return nil
}

// write puts data into the cache, which keeps it.
func (d *Disk) write(power <-chan struct{}, data []byte, offset int64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.spend(power); err != nil {
		return err
	}
	if len(data) == 0 {
		return nil
	}
	d.cache = append(d.cache, write{offset, data})
	for at := 0; at < len(data); at += SectorBytes {
		d.newest[(offset+int64(at))/SectorBytes] = data[at : at+SectorBytes]
	}
	return nil
}

// read finds what was written last, flushed or not.
func (d *Disk) read(power <-chan struct{}, data []byte, offset int64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.on(power) {
		return errOff
	}
	if _, err := d.medium.ReadAt(data, offset); err != nil {
		return err
	}
	for at := 0; at < len(data); at += SectorBytes {
		if sector, ok := d.newest[(offset+int64(at))/SectorBytes]; ok {
			copy(data[at:], sector)
		}
	}
	return nil
}

// flush puts the cache on the medium.
func (d *Disk) flush(power <-chan struct{}) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.spend(power); err != nil {
		return err
	}
	d.flushes++
	for _, w := range d.cache {
		if _, err := d.medium.WriteAt(w.data, w.offset); err != nil {
			return err
		}
	}
	d.forget()
	return nil
}
