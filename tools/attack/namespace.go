package main

import (
	"errors"
	"flag"
	"fmt"
	"math"

	"golang.org/x/sys/unix"
)

func setns(_ *actor, r *report, args []string) error {
	flags := flag.NewFlagSet("setns", flag.ContinueOnError)
	if err := parse(flags, args, 1, math.MaxInt); err != nil {
		return err
	}
	// All are opened first: having joined a mount namespace, paths mean something else.
	var fds []int
	r.Paths = flags.Args()
	for _, path := range flags.Args() {
		fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("open %s: %w", path, err)
		}
		r.count("opens_read")
		fds = append(fds, fd)
	}
	for i, fd := range fds {
		if err := join(r, fd); err != nil {
			return fmt.Errorf("join %s: %w", flags.Arg(i), err)
		}
	}
	var errs []error
	for _, fd := range fds {
		errs = append(errs, unix.Close(fd))
	}
	return errors.Join(errs...)
}

// join takes this thread, the main one, into a namespace.
func join(r *report, fd int) error {
	kind, err := unix.IoctlRetInt(fd, unix.NS_GET_NSTYPE)
	if err != nil {
		return err
	}
	if kind == unix.CLONE_NEWNS {
		// Refused while other threads share this one's working directory.
		if err := unix.Unshare(unix.CLONE_FS); err != nil {
			return err
		}
	}
	if err := unix.Setns(fd, kind); err != nil {
		return err
	}
	r.count("setns")
	return nil
}
