package main

import (
	"flag"

	"golang.org/x/sys/unix"
)

func compatOpen(_ *actor, r *report, args []string) error {
	flags := flag.NewFlagSet("compat-open", flag.ContinueOnError)
	return openBy(flags, r, args, open32)
}

func wideOpen(_ *actor, r *report, args []string) error {
	flags := flag.NewFlagSet("wide-open", flag.ContinueOnError)
	return openBy(flags, r, args, openWide)
}

func uringOpen(_ *actor, r *report, args []string) error {
	flags := flag.NewFlagSet("io_uring-open", flag.ContinueOnError)
	return openBy(flags, r, args, openUring)
}

// openBy opens a regular file by an unusual way in, and closes it.
func openBy(flags *flag.FlagSet, r *report, args []string, open func(path string, how int) (int, error)) error {
	write := flags.Bool("write", false, "")
	if err := parse(flags, args, 1, 1); err != nil {
		return err
	}
	path := flags.Arg(0)
	r.path(path)
	if err := requireRegular(path); err != nil {
		return err
	}
	how, what := unix.O_RDONLY, "opens_read"
	if *write {
		how, what = unix.O_WRONLY, "opens_write"
	}
	fd, err := open(path, how)
	if err != nil {
		return err
	}
	r.count(what)
	return unix.Close(fd)
}
