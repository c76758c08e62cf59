package stage

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"

	"github.com/containerd/containerd/api/types/runc/options"
	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/cio"
	"github.com/containerd/containerd/v2/pkg/oci"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/seawall-security/seawall/tools/demo/image"
)

// pod is the container, its process and what both have on the host.
type pod struct {
	id        string
	container client.Container
	task      client.Task
	output    *output
	execs     atomic.Uint32
	shim      *os.File // pidfd
	cgroup    string   // first part of the cgroup's path: the stage's own
}

// Token is the service account's secret that is mounted into the container.
const Token = "demo-token-without-any-worth"

// Run imports the image, starts its container and returns when its web server
// says that it serves.
func (s *Stage) Run(ctx context.Context, shop *image.Image) error {
	secret, err := writeToken(s.path("serviceaccount"))
	if err != nil {
		return err
	}
	imported, err := s.load(ctx, shop)
	if err != nil {
		return err
	}
	id := newID()
	p := &pod{id: id, output: newOutput(), cgroup: "seawall-demo-" + id[:12]}
	s.pod = p
	p.container, err = s.client.NewContainer(ctx, id,
		client.WithImage(imported),
		client.WithNewSnapshot(id, imported),
		client.WithContainerLabels(map[string]string{
			"io.cri-containerd.kind":       "container",
			"io.kubernetes.container.name": ContainerName,
			"io.kubernetes.pod.name":       PodName,
			"io.kubernetes.pod.namespace":  PodNamespace,
			"io.kubernetes.pod.uid":        PodUID,
		}),
		// runc's own state belongs to the stage too.
		client.WithRuntime("io.containerd.runc.v2", &options.Options{Root: s.path("runc")}),
		client.WithNewSpec(
			oci.WithImageConfig(imported),
			oci.WithoutRunMount, // as in a pod: /run is the image's
			oci.WithHostname(PodName),
			oci.WithCgroup(filepath.Join("/", p.cgroup, "pod"+PodUID, id)),
			oci.WithLinuxNamespace(specs.LinuxNamespace{Type: specs.NetworkNamespace, Path: namespacePath(s.network.pod)}),
			oci.WithMounts([]specs.Mount{secret}),
		))
	if err != nil {
		return fmt.Errorf("create the container: %w", err)
	}
	p.task, err = p.container.NewTask(ctx, cio.NewCreator(cio.WithFIFODir(s.path("fifo")), cio.WithStreams(nil, p.output, p.output)))
	if err != nil {
		return fmt.Errorf("create the container's task: %w", err)
	}
	if p.shim, err = openParent(p.task.Pid()); err != nil {
		return err
	}
	ended, err := p.task.Wait(ctx)
	if err != nil {
		return fmt.Errorf("wait for the container: %w", err)
	}
	if err := p.task.Start(ctx); err != nil {
		return fmt.Errorf("start the container: %w", err)
	}
	select {
	case <-p.output.saw("server started"):
		return nil
	case status := <-ended:
		return fmt.Errorf("start the web server: it ended with %d: %s", status.ExitCode(), p.output)
	case <-ctx.Done():
		return fmt.Errorf("wait for the web server: %w: %s", context.Cause(ctx), p.output)
	}
}

// load gives the image to containerd and unpacks it.
func (s *Stage) load(ctx context.Context, shop *image.Image) (client.Image, error) {
	archive := shop.Reader()
	defer archive.Close()
	if _, err := s.client.Import(ctx, archive); err != nil {
		return nil, fmt.Errorf("import the image: %w", err)
	}
	imported, err := s.client.GetImage(ctx, image.Reference)
	if err != nil {
		return nil, fmt.Errorf("find the imported image: %w", err)
	}
	if err := imported.Unpack(ctx, ""); err != nil {
		return nil, fmt.Errorf("unpack the image: %w", err)
	}
	return imported, nil
}

// writeToken lays out a service account's folder as the kubelet does: the token
// is reached through links, and its real path has a name of its own.
func writeToken(dir string) (specs.Mount, error) {
	version := "..2026_01_01_00_00_00.000000001"
	err := errors.Join(
		os.MkdirAll(filepath.Join(dir, version), 0o755),
		os.WriteFile(filepath.Join(dir, version, "token"), []byte(Token), 0o644),
		os.Symlink(version, filepath.Join(dir, "..data")),
		os.Symlink("..data/token", filepath.Join(dir, "token")))
	if err != nil {
		return specs.Mount{}, fmt.Errorf("write the service account's token: %w", err)
	}
	return specs.Mount{
		Type: "bind", Source: dir, Destination: "/var/run/secrets/kubernetes.io/serviceaccount",
		Options: []string{"rbind", "ro"},
	}, nil
}

func (p *pod) close(ctx context.Context) error {
	var errs []error
	if p.task != nil {
		if _, err := p.task.Delete(ctx, client.WithProcessKill); err != nil {
			errs = append(errs, fmt.Errorf("end the container: %w", err))
		}
	}
	if p.container != nil {
		if err := p.container.Delete(ctx, client.WithSnapshotCleanup); err != nil {
			errs = append(errs, fmt.Errorf("delete the container: %w", err))
		}
	}
	if p.shim != nil {
		errs = append(errs, awaitEnd(p.shim), p.shim.Close())
	}
	return errors.Join(append(errs, p.removeCgroups())...)
}

// removeCgroups removes the folders above the container's cgroup, which the
// runtime leaves: in one hierarchy, or in each of several.
func (p *pod) removeCgroups() error {
	var errs []error
	for _, pattern := range []string{"/sys/fs/cgroup/", "/sys/fs/cgroup/*/"} {
		for _, below := range []string{"/pod" + PodUID, ""} {
			folders, err := filepath.Glob(pattern + p.cgroup + below)
			errs = append(errs, err)
			for _, folder := range folders {
				// Hierarchies may be one and the same under several names.
				if err := os.Remove(folder); err != nil && !errors.Is(err, os.ErrNotExist) {
					errs = append(errs, fmt.Errorf("remove cgroup: %w", err))
				}
			}
		}
	}
	return errors.Join(errs...)
}

// openParent opens the parent of a process: of the container's first process
// that is the shim, which is nobody's child and has to be awaited by descriptor.
func openParent(pid uint32) (*os.File, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return nil, fmt.Errorf("find the shim: %w", err)
	}
	_, rest, _ := strings.Cut(string(status), "\nPPid:")
	line, _, _ := strings.Cut(rest, "\n")
	parent, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		return nil, fmt.Errorf("find the shim: %w", err)
	}
	fd, err := unix.PidfdOpen(parent, 0)
	if err != nil {
		return nil, fmt.Errorf("open the shim: %w", err)
	}
	return os.NewFile(uintptr(fd), "shim"), nil
}

// awaitEnd returns when the process of a pidfd has ended.
func awaitEnd(pidfd *os.File) error {
	watched := []unix.PollFd{{Fd: int32(pidfd.Fd()), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(watched, int(closeTimeout.Milliseconds()))
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil:
			return fmt.Errorf("wait for the shim: %w", err)
		case n == 0:
			return fmt.Errorf("wait for the shim: still there after %s", closeTimeout)
		default:
			return nil
		}
	}
}
