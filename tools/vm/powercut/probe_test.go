package powercut

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// The probe's two files, of one block each.
const (
	probeWrite = "write"
	probeRead  = "read"
	flushed    = "flushed"
	unflushed  = "unflushed"
	blockBytes = 4096
)

// probe tries the disk itself. Its writes go past the page cache: they are the disk's, and
// only one of them is flushed.
func (g *guest) probe() error {
	if g.Probe == probeRead {
		found := ""
		for _, name := range []string{flushed, unflushed} {
			text, err := os.ReadFile(filepath.Join(guestState, name))
			if err != nil {
				return err
			}
			found += name + " " + string(text[:3]) + " "
		}
		g.out.tell(report{Found: &found})
		return nil
	}
	for _, name := range []string{flushed, unflushed} {
		if err := overwrite(name, "old", os.O_CREATE, true); err != nil {
			return err
		}
	}
	unix.Sync() // their names, too
	if err := errors.Join(overwrite(flushed, "new", unix.O_DIRECT, true), overwrite(unflushed, "new", unix.O_DIRECT, false)); err != nil {
		return err
	}
	g.say(report{Stage: written})
	return <-g.failed // the power goes first
}

func overwrite(name, text string, flags int, flush bool) error {
	memory, err := unix.Mmap(-1, 0, blockBytes, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON) // aligned
	if err != nil {
		return err
	}
	copy(memory, bytes.Repeat([]byte(text+"\n"), blockBytes/4))
	file, err := os.OpenFile(filepath.Join(guestState, name), os.O_WRONLY|flags, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(memory)
	if err == nil && flush {
		err = file.Sync()
	}
	return errors.Join(err, file.Close(), unix.Munmap(memory))
}
