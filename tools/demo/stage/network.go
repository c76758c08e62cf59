package stage

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/seawall-security/seawall/tools/demo/image"
)

// The two who meet the shop, at addresses that are reserved for documentation
// and exist in the stage's own network only.
var (
	Visitor  = netip.MustParseAddr("198.51.100.7")
	Attacker = netip.MustParseAddr("203.0.113.66")
)

const podAddress = "10.20.0.2"

// network is two namespaces joined by a pair of virtual interfaces: the pod's,
// and the outside, which is its router and all the world it can reach. Both are
// held by descriptors alone: they end with this process, whatever becomes of it.
type network struct {
	pod     *os.File
	outside *os.File
}

func newNetwork(ctx context.Context) (*network, error) {
	n := &network{}
	var err error
	if n.pod, err = newNamespace(); err != nil {
		return nil, err
	}
	if n.outside, err = newNamespace(); err != nil {
		return nil, errors.Join(err, n.close())
	}
	err = configure(ctx, n.outside,
		"link set lo up",
		"link add pod type veth peer name eth0 netns "+namespacePath(n.pod),
		"addr add 10.20.0.1/24 dev pod",
		"addr add "+Visitor.String()+"/32 dev lo",
		"addr add "+Attacker.String()+"/32 dev lo",
		"link set pod up")
	if err == nil {
		err = configure(ctx, n.pod,
			"link set lo up",
			"addr add "+podAddress+"/24 dev eth0",
			"link set eth0 up",
			"route add default via 10.20.0.1")
	}
	if err != nil {
		return nil, errors.Join(err, n.close())
	}
	return n, nil
}

func (n *network) close() error {
	var errs []error
	for _, namespace := range []*os.File{n.pod, n.outside} {
		if namespace != nil {
			errs = append(errs, namespace.Close())
		}
	}
	return errors.Join(errs...)
}

// URL is the shop's address as seen from outside.
func (s *Stage) URL() string { return fmt.Sprintf("http://%s:%d", podAddress, image.Port) }

// HTTP is a client that comes from the given address. Each request is a
// connection of its own.
func (s *Stage) HTTP(from netip.Addr) *http.Client {
	dialer := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0))}
	return &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, address string) (conn net.Conn, err error) {
			err = within(s.network.outside, func() error {
				conn, err = dialer.DialContext(ctx, network, address)
				return err
			})
			return conn, err
		},
	}}
}

// Listen waits for connections that come out of the pod.
func (s *Stage) Listen(address netip.AddrPort) (listener *net.TCPListener, err error) {
	err = within(s.network.outside, func() error {
		listener, err = net.ListenTCP("tcp4", net.TCPAddrFromAddrPort(address))
		return err
	})
	return listener, err
}

// newNamespace makes a network namespace that lives as long as its descriptor.
func newNamespace() (namespace *os.File, err error) {
	err = away(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("make a network namespace: %w", err)
		}
		namespace, err = os.Open("/proc/thread-self/ns/net")
		return err
	})
	return namespace, err
}

// within calls f in a network namespace: sockets and processes it makes belong there.
func within(namespace *os.File, f func() error) error {
	return away(func() error {
		if err := unix.Setns(int(namespace.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter the network namespace: %w", err)
		}
		return f()
	})
}

// away calls f on a thread of its own right, which f may move to another network
// namespace, and brings the thread back.
func away(f func() error) error {
	runtime.LockOSThread()
	home, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("open the network namespace: %w", err)
	}
	defer home.Close()
	err = f()
	if back := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); back != nil {
		// Still locked, the thread ends with its goroutine.
		return errors.Join(err, fmt.Errorf("leave the network namespace: %w", back))
	}
	runtime.UnlockOSThread()
	return err
}

// configure runs commands of ip(8) in a namespace.
func configure(ctx context.Context, namespace *os.File, lines ...string) error {
	return within(namespace, func() error {
		command := exec.CommandContext(ctx, "ip", "-batch", "-")
		command.Stdin = strings.NewReader(strings.Join(lines, "\n") + "\n")
		if out, err := command.CombinedOutput(); err != nil {
			return fmt.Errorf("configure the network: %w: %s", err, out)
		}
		return nil
	})
}

// namespacePath is where other processes find a namespace that this one holds.
func namespacePath(namespace *os.File) string {
	return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), namespace.Fd())
}
