package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/seawall-security/seawall/collector/config"
)

// Where things are in the data folder, beside the CA's folder.
func storePath(c config.Config) string    { return filepath.Join(c.DataDir, "store.db") }
func eventLogPath(c config.Config) string { return filepath.Join(c.DataDir, "events") }
func deadPath(c config.Config) string     { return filepath.Join(c.DataDir, "dead") }

// hold keeps a second collector away from the data folder: two would write one event log.
// The kernel lets go of it however the process ends.
func hold(dataDir string) (release func() error, err error) {
	if err := os.MkdirAll(dataDir, 0o700); err != nil {
		return nil, fmt.Errorf("make data folder: %w", err)
	}
	file, err := os.OpenFile(filepath.Join(dataDir, "collector.lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("hold data folder: %w", err)
	}
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = fmt.Errorf("another collector runs in %s", dataDir)
		}
		return nil, errors.Join(fmt.Errorf("hold data folder: %w", err), file.Close())
	}
	return file.Close, nil
}
