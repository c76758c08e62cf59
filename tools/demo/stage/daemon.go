package stage

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// daemon is a containerd of our own: root, state and socket lie in the stage's folder.
type daemon struct {
	socket  string
	log     string
	command *exec.Cmd
	ended   chan struct{} // closed when the process is gone
	err     error         // how it ended; read after ended
	made    []string      // folders of the shims' sockets that were not there before
}

// Version 2 is read by containerd 1.6 to 2.x. What is disabled would serve the
// kubelet or write outside of the stage's folder.
const daemonConfig = `version = 2
root = %[1]q
state = %[2]q
disabled_plugins = [
  "io.containerd.grpc.v1.cri", "io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime",
  "io.containerd.internal.v1.opt", "io.containerd.nri.v1.nri",
]
[grpc]
  address = %[3]q
`

// shimFolders is where shims of any containerd put their sockets, in the order
// in which they can be removed.
var shimFolders = []string{"/run/containerd/s", "/run/containerd"}

func startDaemon(ctx context.Context, dir string) (*daemon, error) {
	d := &daemon{
		socket: filepath.Join(dir, "containerd.sock"),
		log:    filepath.Join(dir, "containerd.log"),
		ended:  make(chan struct{}),
	}
	for _, folder := range shimFolders {
		if _, err := os.Stat(folder); errors.Is(err, os.ErrNotExist) {
			d.made = append(d.made, folder)
		}
	}
	config := filepath.Join(dir, "containerd.toml")
	text := fmt.Sprintf(daemonConfig, filepath.Join(dir, "root"), filepath.Join(dir, "state"), d.socket)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return nil, fmt.Errorf("write containerd's config: %w", err)
	}
	log, err := os.Create(d.log)
	if err != nil {
		return nil, fmt.Errorf("create containerd's log: %w", err)
	}
	defer log.Close()
	// containerd tells a service manager when it is ready; we are its service manager.
	notify := &net.UnixAddr{Name: filepath.Join(dir, "notify.sock"), Net: "unixgram"}
	conn, err := net.ListenUnixgram("unixgram", notify)
	if err != nil {
		return nil, fmt.Errorf("listen for containerd's readiness: %w", err)
	}
	defer conn.Close()

	d.command = exec.Command("containerd", "--config", config)
	d.command.Env = append(os.Environ(), "NOTIFY_SOCKET="+notify.Name)
	d.command.Stdout, d.command.Stderr = log, log
	// Ctrl-C on the terminal is for us: containerd has to outlive the container.
	d.command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := d.command.Start(); err != nil {
		return nil, fmt.Errorf("start containerd: %w", err)
	}
	// Ends with the process.
	go func() {
		d.err = d.command.Wait()
		close(d.ended)
	}()
	if err := d.await(ctx, conn); err != nil {
		return nil, errors.Join(err, d.close(ctx))
	}
	return d, nil
}

// await returns when containerd says that it is ready.
func (d *daemon) await(ctx context.Context, conn *net.UnixConn) error {
	ready := make(chan error, 1)
	// Ends with the message, or when the caller closes the connection.
	go func() {
		message := make([]byte, 4096)
		for {
			n, err := conn.Read(message)
			if err != nil || strings.Contains(string(message[:n]), "READY=1") {
				ready <- err
				return
			}
		}
	}()
	select {
	case err := <-ready:
		return err
	case <-d.ended:
		return fmt.Errorf("start containerd: it ended: %w\n%s", d.err, d.tail())
	case <-ctx.Done():
		return fmt.Errorf("wait for containerd: %w\n%s", context.Cause(ctx), d.tail())
	}
}

func (d *daemon) close(ctx context.Context) error {
	err := stop(ctx, d.command.Process, d.ended)
	for _, folder := range d.made {
		// Another containerd may have begun to use it: then it is not empty.
		remove := os.Remove(folder)
		if remove != nil && !errors.Is(remove, os.ErrNotExist) && !errors.Is(remove, syscall.ENOTEMPTY) {
			err = errors.Join(err, fmt.Errorf("remove %s: %w", folder, remove))
		}
	}
	return err
}

// stop asks a process to end and insists after half of closeTimeout.
func stop(ctx context.Context, process *os.Process, ended <-chan struct{}) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout/2)
	defer cancel()
	if err := process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop containerd: %w", err)
	}
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
		err := process.Kill()
		<-ended
		return errors.Join(fmt.Errorf("stop containerd: it had to be killed after %s", closeTimeout/2), err)
	}
}

// tail is the end of containerd's log.
func (d *daemon) tail() string {
	log, err := os.ReadFile(d.log)
	if err != nil {
		return err.Error()
	}
	return string(log[max(0, len(log)-4096):])
}
