//go:build !amd64

package main

import (
	"fmt"

	"golang.org/x/sys/unix"
)

func open32(path string, _ int) (int, error) {
	return -1, fmt.Errorf("open %s by the 32-bit ABI: only on x86-64: %w", path, unix.ENOSYS)
}
