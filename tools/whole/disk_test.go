package whole

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// disk is a small file system, so that a full one is real.
type disk struct {
	t   testing.TB
	dir string

	mu     sync.Mutex
	filled []interval // when it was full
}

// interval is from and to; a zero to: it lasts.
type interval struct{ from, to time.Time }

func (i interval) meets(from, to time.Time) bool {
	return !from.After(i.to) && !to.Before(i.from) || i.to.IsZero() && !to.Before(i.from)
}

func newDisk(t testing.TB, dir string, bytes int) *disk {
	t.Helper()
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d,mode=700", bytes)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Errorf("unmount %s: %v", dir, err)
		}
	})
	return &disk{t: t, dir: dir}
}

// fill takes all room, and what is freed meanwhile, until the returned function gives it
// back.
func (d *disk) fill() (free func()) {
	path := filepath.Join(d.dir, "others-file")
	f, err := os.Create(path)
	if err != nil {
		d.t.Error(err)
		return func() {}
	}
	d.mu.Lock()
	d.filled = append(d.filled, interval{from: time.Now()})
	d.mu.Unlock()
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		again := time.NewTicker(10 * time.Millisecond)
		defer again.Stop()
		block := make([]byte, 64<<10)
		for {
			for _, part := range [][]byte{block, block[:4096]} {
				err = nil
				for err == nil {
					_, err = f.Write(part)
				}
				if !errors.Is(err, syscall.ENOSPC) {
					d.t.Errorf("fill %s: %v", d.dir, err)
					return
				}
			}
			select {
			case <-again.C:
			case <-stop:
				return
			}
		}
	}()
	return func() {
		close(stop)
		<-done
		if err := errors.Join(f.Close(), os.Remove(path)); err != nil {
			d.t.Error(err)
		}
		d.mu.Lock()
		defer d.mu.Unlock()
		d.filled[len(d.filled)-1].to = time.Now()
	}
}

// wasFull reports whether it was at any time between.
func (d *disk) wasFull(from, to time.Time) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, i := range d.filled {
		if i.meets(from, to) {
			return true
		}
	}
	return false
}
