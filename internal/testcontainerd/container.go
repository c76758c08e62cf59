package testcontainerd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/cio"
	"github.com/containerd/containerd/v2/pkg/oci"
)

// Name is what Create names a container for people, by its id.
func Name(id string) string { return "name-of-" + id }

// Labels are what Create puts on every container, besides its name.
func Labels() map[string]string { return map[string]string{"team": "tiny"} }

// Create makes a container that runs a busybox applet.
func Create(t testing.TB, ctx context.Context, c *containerd.Client, image containerd.Image, id string, args []string, opts ...oci.SpecOpts) containerd.Container {
	t.Helper()
	opts = append([]oci.SpecOpts{oci.WithImageConfig(image), oci.WithProcessArgs(append([]string{"/bin/busybox"}, args...)...)}, opts...)
	labels := Labels()
	maps.Copy(labels, map[string]string{"nerdctl/name": Name(id)})
	created, err := c.NewContainer(ctx, id,
		containerd.WithSnapshotter("overlayfs"), containerd.WithImage(image), containerd.WithNewSnapshot(id, image),
		containerd.WithNewSpec(opts...), containerd.WithAdditionalContainerLabels(labels))
	if err != nil {
		t.Fatal(err)
	}
	return created
}

// Running is a container that was started.
type Running struct {
	Container containerd.Container
	Task      containerd.Task

	ended <-chan containerd.ExitStatus
}

// Launch starts a container; streams are its standard ones.
func Launch(ctx context.Context, created containerd.Container, streams cio.Creator) (*Running, error) {
	task, err := created.NewTask(ctx, streams)
	if err != nil {
		return nil, fmt.Errorf("make task of %s: %w", created.ID(), err)
	}
	ended, err := task.Wait(ctx)
	if err != nil {
		return nil, fmt.Errorf("wait for %s: %w", created.ID(), err)
	}
	if err := task.Start(ctx); err != nil {
		return nil, fmt.Errorf("start %s: %w", created.ID(), err)
	}
	return &Running{created, task, ended}, nil
}

// Remove waits for the container's end, or kills it, and deletes it.
func (r *Running) Remove(ctx context.Context, kill bool) error {
	var errs []error
	if kill {
		errs = append(errs, r.Task.Kill(ctx, syscall.SIGKILL))
	}
	select {
	case <-r.ended:
	case <-ctx.Done():
		return fmt.Errorf("wait for the end of %s: %w", r.Container.ID(), ctx.Err())
	}
	_, err := r.Task.Delete(ctx)
	return errors.Join(append(errs, err, r.Container.Delete(ctx, containerd.WithSnapshotCleanup))...)
}

// Run starts a container without streams. The function it returns removes it.
func Run(t testing.TB, ctx context.Context, created containerd.Container) (remove func(kill bool)) {
	t.Helper()
	running, err := Launch(ctx, created, cio.NullIO)
	if err != nil {
		t.Fatal(err)
	}
	return func(kill bool) {
		t.Helper()
		if err := running.Remove(ctx, kill); err != nil {
			t.Error(err)
		}
	}
}

// RemoveByID kills and deletes a container that another client started.
func RemoveByID(t testing.TB, ctx context.Context, client *containerd.Client, id string) {
	t.Helper()
	loaded, err := client.LoadContainer(ctx, id)
	if err != nil {
		t.Fatal(err)
	}
	task, err := loaded.Task(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := task.Delete(ctx, containerd.WithProcessKill); err != nil {
		t.Error(err)
	}
	if err := loaded.Delete(ctx, containerd.WithSnapshotCleanup); err != nil {
		t.Error(err)
	}
}

// Namespace is one that no other run uses, and with it a name for cgroups: those that
// have it in the name of their top one are removed at the end. runc leaves the groups
// above a container's, in every hierarchy.
func Namespace(t testing.TB) string {
	namespace := fmt.Sprintf("seawall-test-%d-t", os.Getpid())
	t.Cleanup(func() {
		var dirs []string
		for _, pattern := range []string{"/sys/fs/cgroup/*", "/sys/fs/cgroup/*/*"} {
			left, _ := filepath.Glob(pattern + namespace + "*")
			for _, top := range left {
				err := filepath.WalkDir(top, func(name string, d fs.DirEntry, err error) error {
					if err == nil && d.IsDir() {
						dirs = append(dirs, name)
					}
					return err
				})
				if err != nil {
					t.Error(err)
				}
			}
		}
		for _, dir := range slices.Backward(dirs) {
			if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
				t.Error(err)
			}
		}
	})
	return namespace
}
