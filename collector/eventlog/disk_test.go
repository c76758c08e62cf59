package eventlog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/seawall-security/seawall/internal/testpriv"
)

// smallDisk is a file system of that many bytes.
func smallDisk(t *testing.T, bytes int) string {
	t.Helper()
	testpriv.Root(t)
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d,mode=700", bytes)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// fill takes what is left of a file system, and returns the file that does.
func fill(t *testing.T, dir string) string {
	t.Helper()
	f, err := os.Create(filepath.Join(dir, "fill"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for block := make([]byte, 4096); err == nil; {
		_, err = f.Write(block)
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	return f.Name()
}

// TestFullDiskHoldsBackUntilThereIsRoom: JetStream gives a stream up at the first write
// that fails, and does not answer any more.
func TestFullDiskHoldsBackUntilThereIsRoom(t *testing.T) {
	dir := smallDisk(t, 16<<20)
	l := open(t, filepath.Join(dir, "log"), 0)
	following, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	heard := make(chan string, 1024)
	ended := make(chan struct{})
	go func() { // as whoever follows the log does: from where it was
		defer close(ended)
		var position uint64
		for following.Err() == nil {
			err := l.Read(following, position, func(m Message) error {
				position = m.Position
				heard <- string(m.Data[:8])
				return nil
			})
			if errors.Is(err, ErrLost) || errors.Is(err, ErrTrimmed) {
				t.Error(err)
				return
			}
			select {
			case <-time.After(10 * time.Millisecond):
			case <-following.Done():
			}
		}
	}()
	defer func() { stop(); <-ended }()
	var told []string
	number := 0
	message := func() []byte {
		number++
		return append(fmt.Appendf(nil, "%08d", number), bytes.Repeat([]byte{byte(number)}, 3000)...)
	}
	// append puts a message in as ingest does: a full log is asked again.
	put := func(data []byte) (refused int) {
		for deadline := time.Now().Add(30 * time.Second); ; refused++ {
			_, err := l.Append(t.Context(), Subject{Cluster: "c"}, data)
			switch {
			case err == nil:
				told = append(told, string(data[:8]))
				return refused
			case !errors.Is(err, ErrFull) || time.Now().After(deadline):
				t.Fatalf("message %s: %v", data[:8], err)
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	for round := range 2 {
		for range 8 {
			put(message())
		}
		filler := fill(t, dir)
		var err error
		var stuck []byte
		for err == nil { // what room the last block has is used up first
			stuck = message()
			began := time.Now()
			if _, err = l.Append(t.Context(), Subject{Cluster: "c"}, stuck); err == nil {
				told = append(told, string(stuck[:8]))
			} else if took := time.Since(began); took > 10*time.Second {
				t.Errorf("round %d: a full disk is known after %v", round, took)
			}
		}
		if !errors.Is(err, ErrFull) {
			t.Fatalf("round %d: full disk: %v", round, err)
		}
		if err := os.Remove(filler); err != nil {
			t.Fatal(err)
		}
		put(stuck)
	}
	// What was acknowledged is there, in order, and was heard once.
	seen := map[string]int{}
	for _, want := range told {
		for seen[want] == 0 {
			select {
			case text := <-heard:
				seen[text]++
			case <-ended:
				t.Fatalf("%s was not read", want)
			}
		}
	}
	for text, times := range seen {
		if times != 1 {
			t.Errorf("%s was heard %d times", text, times)
		}
	}
	for i, line := range read(t, l, 0) {
		if want := fmt.Sprintf("%d %s", i+1, told[min(i, len(told)-1)]); line[:len(want)] != want {
			t.Errorf("message %d is %q, want %q", i+1, line[:len(want)], want)
		}
	}
}
