package container

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/containerd/containerd/api/services/tasks/v1"
	tasktypes "github.com/containerd/containerd/api/types/task"
	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"

	"github.com/seawall-security/seawall/internal/event"
)

// answer finds out whether a candidate is containerd's. No answer leaves it
// pending. An error means that the daemon cannot be asked any more.
func (c *Containerd) answer(ctx context.Context, d daemon, q question) error {
	for _, namespace := range c.facts.namespacesFor(q.Candidate) {
		f := c.facts.generation(factKey{namespace, q.ID}, q.born)
		if f == nil || f.used || f.partial || !f.released.IsZero() {
			// A cgroup of the same name may belong to a container newer than the
			// one that is remembered: ask.
			fresh, err := c.fetch(ctx, d, namespace, q.ID)
			if err != nil {
				return err
			}
			switch {
			case fresh != nil:
				f = c.facts.keep(fresh, c.table.now())
				f.announced = f.path != "" && c.table.expect(f.path, f.container.ID)
			case f == nil || f.used:
				continue
			}
		}
		if err := c.compare(ctx, d, f, q); err != nil || c.table.isKnown(q.rec) {
			return err
		}
	}
	return nil
}

func (c *Containerd) answerAll(ctx context.Context, d daemon, list []question) error {
	for _, q := range list {
		if err := c.answer(ctx, d, q); err != nil {
			return err
		}
	}
	return nil
}

// compare confirms the candidate if it is the container of f: by the path in
// its specification, or by where its task is.
func (c *Containerd) compare(ctx context.Context, d daemon, f *fact, q question) error {
	if !f.agrees(q) {
		own, err := c.taskCgroup(ctx, d, f)
		if err != nil || own != q.Path {
			return err
		}
	}
	f.used = true
	c.table.confirm(q.rec, f.container)
	return nil
}

// taskCgroup reads the container's own cgroup from its task; empty: it has no
// task, or the task's cgroup is not known to be that container's.
func (c *Containerd) taskCgroup(ctx context.Context, d daemon, f *fact) (string, error) {
	if c.tree == nil || !f.released.IsZero() {
		return "", nil
	}
	pid, err := d.task(ctx, f.namespace, f.container.ID)
	if err != nil || pid == 0 {
		return "", err
	}
	path, err := c.tree.CgroupOf(pid)
	if err != nil {
		return "", nil // it ended meanwhile
	}
	// The number may have been another process's by the time it was read.
	if again, err := d.task(ctx, f.namespace, f.container.ID); err != nil || again != pid {
		return "", err
	}
	if f.path != "" && strings.HasPrefix(path, f.path+"/") {
		return f.path, nil
	}
	if candidate, ok := Parse(path); ok && candidate.ID == f.container.ID {
		return candidate.Path, nil
	}
	return path, nil
}

// fetch reads one container's metadata; nil: containerd does not know it.
func (c *Containerd) fetch(ctx context.Context, d daemon, namespace, id string) (*fact, error) {
	metadata, found, err := d.container(ctx, namespace, id)
	if err != nil || !found {
		return nil, err
	}
	return newFact(namespace, metadata, d.digest(ctx, namespace, metadata.Image)), nil
}

func partialFact(namespace, id, image string, created time.Time) *fact {
	return &fact{
		namespace: namespace,
		partial:   true,
		container: event.Container{
			ID: clip(id), Runtime: RuntimeContainerd, RuntimeNamespace: namespace, Name: clip(id),
			Image: clip(image), Created: created,
		},
	}
}

// isKnown reports whether a record was resolved to a container.
func (t *Table) isKnown(rec *record) bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return rec.state == Known
}

// daemon is one connection, asked with a deadline per request. Not found is an
// answer; other errors end the session, since the daemon is local and does not
// fail in passing.
type daemon struct{ client *containerd.Client }

func within(ctx context.Context, namespace string) (context.Context, context.CancelFunc) {
	if namespace != "" {
		ctx = namespaces.WithNamespace(ctx, namespace)
	}
	return context.WithTimeout(ctx, callTimeout)
}

func (d daemon) version(ctx context.Context) (string, error) {
	ctx, cancel := within(ctx, "")
	defer cancel()
	version, err := d.client.Version(ctx)
	if err != nil {
		return "", fmt.Errorf("read containerd version: %w", err)
	}
	return version.Version, nil
}

func (d daemon) namespaces(ctx context.Context) ([]string, error) {
	names, err := d.client.NamespaceService().List(ctx)
	if err != nil {
		return nil, fmt.Errorf("list namespaces: %w", err)
	}
	return names, nil
}

func (d daemon) containers(ctx context.Context, namespace string) ([]containers.Container, error) {
	listed, err := d.client.ContainerService().List(namespaces.WithNamespace(ctx, namespace))
	if err != nil {
		return nil, fmt.Errorf("list containers of %s: %w", namespace, err)
	}
	return listed, nil
}

func (d daemon) container(ctx context.Context, namespace, id string) (containers.Container, bool, error) {
	ctx, cancel := within(ctx, namespace)
	defer cancel()
	metadata, err := d.client.ContainerService().Get(ctx, id)
	switch {
	case errdefs.IsNotFound(err) || errdefs.IsInvalidArgument(err): // not an id it could have
		return containers.Container{}, false, nil
	case err != nil:
		return containers.Container{}, false, fmt.Errorf("read container %s: %w", id, err)
	}
	return metadata, true, nil
}

// digest is the image's, empty where the image is not (or no longer) there.
func (d daemon) digest(ctx context.Context, namespace, image string) string {
	if image == "" {
		return ""
	}
	ctx, cancel := within(ctx, namespace)
	defer cancel()
	found, err := d.client.ImageService().Get(ctx, image)
	if err != nil {
		return ""
	}
	return found.Target.Digest.String()
}

// task reads the host's pid of the container's first process; 0: none runs.
func (d daemon) task(ctx context.Context, namespace, id string) (uint32, error) {
	ctx, cancel := within(ctx, namespace)
	defer cancel()
	response, err := d.client.TaskService().Get(ctx, &tasks.GetRequest{ContainerID: id})
	if err != nil {
		err = errgrpc.ToNative(err)
		if errdefs.IsUnavailable(err) || errdefs.IsDeadlineExceeded(err) || ctx.Err() != nil {
			return 0, fmt.Errorf("read task %s: %w", id, err)
		}
		return 0, nil // no task, or a shim that is just going
	}
	if p := response.GetProcess(); p != nil && p.Status != tasktypes.Status_STOPPED {
		return p.Pid, nil
	}
	return 0, nil
}
