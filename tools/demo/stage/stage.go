// Package stage is where the demo plays: a private containerd, a pod's network,
// and one container that serves the shop of tools/demo/image to a world made of
// a second network namespace.
//
// A [Stage] owns everything it starts: processes, containers, mounts, network
// namespaces, cgroups and folders. [Stage.Close] ends exactly these and leaves
// nothing behind. A stage needs root. Its methods may be called from several
// goroutines once [Stage.Run] has returned, except Close, which comes last.
package stage

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/namespaces"
)

// What the container is called, in the words of Kubernetes.
const (
	PodName       = "shop-7d4b9"
	PodNamespace  = "store"
	PodUID        = "5f0c1f2e-6d3b-4a0e-9c55-0d6a1b7e4c21"
	ContainerName = "web"
)

// closeTimeout bounds how long the stage waits for its processes to end.
const closeTimeout = 20 * time.Second

// Stage is a containerd with at most one container.
type Stage struct {
	dir     string
	network *network
	daemon  *daemon
	client  *client.Client
	pod     *pod
}

// Open makes the networks and starts containerd; it returns when containerd is
// ready. The context bounds the start only.
func Open(ctx context.Context) (stage *Stage, err error) {
	dir, err := os.MkdirTemp("", "seawall-demo-")
	if err != nil {
		return nil, fmt.Errorf("make the stage's folder: %w", err)
	}
	s := &Stage{dir: dir}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close(ctx))
		}
	}()
	if s.network, err = newNetwork(ctx); err != nil {
		return nil, err
	}
	if s.daemon, err = startDaemon(ctx, dir); err != nil {
		return nil, err
	}
	if s.client, err = client.New(s.daemon.socket, client.WithDefaultNamespace("k8s.io")); err != nil {
		return nil, fmt.Errorf("connect to containerd: %w", err)
	}
	return s, nil
}

// Socket is where containerd listens.
func (s *Stage) Socket() string { return s.daemon.socket }

// ContainerID is the container's id; empty before Run.
func (s *Stage) ContainerID() string {
	if s.pod == nil {
		return ""
	}
	return s.pod.id
}

// Close ends what the stage started, the container first, containerd last, and
// removes every trace of it, also after ctx has ended.
func (s *Stage) Close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(namespaces.WithNamespace(context.WithoutCancel(ctx), "k8s.io"), closeTimeout)
	defer cancel()
	var errs []error
	if s.pod != nil {
		errs = append(errs, s.pod.close(ctx))
	}
	if s.client != nil {
		errs = append(errs, s.client.Close())
	}
	if s.daemon != nil {
		errs = append(errs, s.daemon.close(ctx))
	}
	if s.network != nil {
		errs = append(errs, s.network.close())
	}
	if err := os.RemoveAll(s.dir); err != nil {
		errs = append(errs, fmt.Errorf("remove the stage's folder: %w", err))
	}
	return errors.Join(errs...)
}

// path is a file or folder of the stage.
func (s *Stage) path(name string) string { return filepath.Join(s.dir, name) }

// newID is 64 hex digits, as the runtimes of Kubernetes name containers.
func newID() string {
	var random [32]byte
	rand.Read(random[:]) // never fails
	return hex.EncodeToString(random[:])
}
