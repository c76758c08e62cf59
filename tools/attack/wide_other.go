//go:build !amd64

package main

import (
	"fmt"

	"golang.org/x/sys/unix"
)

func openWide(path string, _ int) (int, error) {
	return -1, fmt.Errorf("open %s by a wide number: only on x86-64: %w", path, unix.ENOSYS)
}
