// Package testcontainerd gives a test a containerd of its own, with a tiny image
// and containers made of it.
//
// A [Daemon] owns its root, state, socket and whatever its containers leave behind;
// all of it ends with the test that made it. It needs root and the programs
// containerd, runc and busybox; package testpriv decides what becomes of a test
// without them. Methods that take a testing.TB belong to the goroutine of that test;
// [Launch] and [Running.Remove] may be called by any.
package testcontainerd

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/namespaces"

	"github.com/seawall-security/seawall/internal/testpriv"
)

const (
	dialTimeout = 30 * time.Second // a daemon that starts on a loaded machine
	useTimeout  = 3 * time.Minute  // of everything a test asks through one client
)

// Daemon is a containerd that a test may start, kill and start again.
type Daemon struct {
	// Address is its socket, also before it is there.
	Address string

	program string
	dir     string
	process *exec.Cmd
}

// What is disabled would serve the kubelet, or look for file systems of the host.
const daemonConfig = `version = 2
root = %q
state = %q
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.aufs"]
[grpc]
address = %q
[ttrpc]
address = %q
`

// New prepares a daemon; it is not started yet.
func New(t testing.TB) *Daemon {
	t.Helper()
	testpriv.Root(t)
	testpriv.Program(t, "runc")
	testpriv.Program(t, "containerd-shim-runc-v2")
	program := testpriv.Program(t, "containerd")
	dir, err := os.MkdirTemp("", "cd") // t.TempDir is too long for a socket's name
	if err != nil {
		t.Fatal(err)
	}
	d := &Daemon{Address: filepath.Join(dir, "c.sock"), program: program, dir: dir}
	t.Cleanup(func() { d.clean(t) })
	config := fmt.Sprintf(daemonConfig, dir+"/root", dir+"/state", d.Address, d.Address+".ttrpc")
	if err := os.WriteFile(dir+"/config.toml", []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	return d
}

// Start starts the daemon unless it runs; Client waits until it serves.
func (d *Daemon) Start(t testing.TB) {
	t.Helper()
	if d.process != nil {
		return
	}
	log, err := os.OpenFile(d.dir+"/log", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	c := exec.Command(d.program, "--config", d.dir+"/config.toml")
	c.Stdout, c.Stderr = log, log
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	d.process = c
}

// End sends a signal and waits for the end. Containers go on.
func (d *Daemon) End(t testing.TB, signal syscall.Signal) {
	t.Helper()
	if d.process == nil {
		return
	}
	if err := d.process.Process.Signal(signal); err != nil {
		t.Error(err)
	}
	_ = d.process.Wait() // it says by which signal it ended
	d.process = nil
}

// Client waits until the daemon serves. The context carries the namespace and
// bounds everything that is asked through the client.
func (d *Daemon) Client(t testing.TB, namespace string) (*containerd.Client, context.Context) {
	t.Helper()
	c, err := containerd.New(d.Address, containerd.WithTimeout(dialTimeout))
	if err != nil {
		t.Fatalf("%v\n%s", err, d.Log())
	}
	t.Cleanup(func() { c.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), useTimeout)
	t.Cleanup(cancel)
	if ok, err := c.IsServing(ctx); err != nil || !ok {
		t.Fatalf("containerd does not serve: %v\n%s", err, d.Log())
	}
	return c, namespaces.WithNamespace(ctx, namespace)
}

// Log is the end of what the daemon logged.
func (d *Daemon) Log() string {
	text, _ := os.ReadFile(d.dir + "/log")
	return string(text[max(0, len(text)-4000):])
}

// FIFOs is a folder for the standard streams of containers.
func (d *Daemon) FIFOs() string { return filepath.Join(d.dir, "fifo") }

// clean ends what the test left behind: the shims of this daemon are known by its socket.
func (d *Daemon) clean(t testing.TB) {
	d.End(t, syscall.SIGTERM)
	processes, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, name := range processes {
		cmdline, err := os.ReadFile(name)
		if err != nil || !bytes.Contains(cmdline, []byte("containerd-shim")) || !bytes.Contains(cmdline, []byte(d.Address+"\x00")) {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(name)))
		if err == nil {
			t.Errorf("shim %d was left", pid)
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
	mounts, _ := os.ReadFile("/proc/self/mounts")
	for line := range strings.Lines(string(mounts)) {
		if fields := strings.Fields(line); len(fields) > 1 && strings.HasPrefix(fields[1], d.dir+"/") {
			_ = syscall.Unmount(fields[1], syscall.MNT_DETACH)
		}
	}
	if err := os.RemoveAll(d.dir); err != nil {
		t.Error(err)
	}
}
