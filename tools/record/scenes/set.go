package scenes

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/seawall-security/seawall/internal/event"
	"github.com/seawall-security/seawall/tools/demo/image"
	"github.com/seawall-security/seawall/tools/demo/intrusion"
	"github.com/seawall-security/seawall/tools/demo/stage"
	"github.com/seawall-security/seawall/tools/record/capture"
)

// Set is where scenes are played: the demo's stage, whose shop is the web server
// of all of them, and beside it containers of a Debian userland.
type Set struct {
	source string
	stage  *stage.Stage
	actor  string // path of the binary of tools/attack
	cgroup string // the set's own, above those of its containers
	pid    string // of the shop's first process, whose network the others share

	// Of the scene at hand.
	capture *capture.Capture
	used    []string // containers that the recording is about
	started []string // containers that are to be removed
	root    uint32   // a process of the host whose tree the recording is about
	named   map[string]<-chan struct{}
}

func open(ctx context.Context, source string) (_ *Set, err error) {
	s := &Set{source: source, actor: filepath.Join(workDir, "attack"), cgroup: "seawall-record-" + newID()[:12]}
	if err := s.build(ctx); err != nil {
		return nil, err
	}
	cache, err := image.DefaultCache()
	if err != nil {
		return nil, err
	}
	shop, err := image.Build(ctx, cache)
	if err != nil {
		return nil, err
	}
	userland, err := buildUserland(ctx, filepath.Join(filepath.Dir(cache), "record"), s.actor)
	if err != nil {
		return nil, err
	}
	// What is started from here on has this folder for its own.
	if err := os.Chdir(workDir); err != nil {
		return nil, fmt.Errorf("go to the folder to work in: %w", err)
	}
	if s.stage, err = stage.Open(ctx); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close(ctx))
		}
	}()
	if err := s.stage.Run(ctx, shop); err != nil {
		return nil, err
	}
	if _, err := s.ctr(ctx, "images", "import", userland); err != nil {
		return nil, err
	}
	tasks, err := s.ctr(ctx, "tasks", "list")
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(tasks) {
		if fields := strings.Fields(line); len(fields) == 3 && fields[0] == s.stage.ContainerID() {
			s.pid = fields[1]
		}
	}
	if s.pid == "" {
		return nil, errors.New("find the shop's process: containerd does not know it")
	}
	return s, nil
}

// build makes the static actor from the source tree.
func (s *Set) build(ctx context.Context) error {
	command := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", s.actor, "./tools/attack")
	command.Dir = s.source
	command.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("build the actor: %w: %s", err, out)
	}
	return nil
}

func (s *Set) close(ctx context.Context) error {
	err := s.stage.Close(ctx)
	for _, pattern := range []string{"/sys/fs/cgroup/", "/sys/fs/cgroup/*/"} {
		folders, glob := filepath.Glob(pattern + s.cgroup)
		err = errors.Join(err, glob)
		for _, folder := range folders {
			// Hierarchies may be one and the same under several names.
			if remove := os.Remove(folder); remove != nil && !errors.Is(remove, os.ErrNotExist) {
				err = errors.Join(err, fmt.Errorf("remove cgroup: %w", remove))
			}
		}
	}
	return err
}

func (s *Set) socket() string { return s.stage.Socket() }

// begin forgets the scene before.
func (s *Set) begin() {
	s.used, s.started, s.root, s.named = nil, nil, 0, make(map[string]<-chan struct{})
}

// end removes the containers of the scene.
func (s *Set) end(ctx context.Context) error {
	var errs []error
	for _, id := range slices.Backward(s.started) {
		errs = append(errs, s.remove(context.WithoutCancel(ctx), id))
	}
	return errors.Join(errs...)
}

// use makes a container part of the recording; call it before the container does
// what is to be seen.
func (s *Set) use(id string) {
	if !slices.Contains(s.used, id) {
		s.used = append(s.used, id)
	}
	s.watch(id)
}

// watch waits for the first event of a container that has its name.
func (s *Set) watch(id string) {
	if s.capture != nil && s.named[id] == nil {
		s.named[id] = s.capture.Watch(func(e *event.Event) bool { return e.Container != nil && e.Container.ID == id })
	}
}

// awaitNames returns when every container's events have come out with its name.
func (s *Set) awaitNames(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, waitNames)
	defer cancel()
	for id, seen := range s.named {
		select {
		case <-seen:
		case <-ctx.Done():
			return fmt.Errorf("wait for events of container %s: %w", id, context.Cause(ctx))
		}
	}
	return nil
}

// shopStep does a step of the demo, by name, with the shop as part of the recording.
func (s *Set) shopStep(ctx context.Context, name string) error {
	s.use(s.stage.ContainerID())
	for _, step := range append(intrusion.Honest(s.stage), intrusion.Steps(s.stage, s.actor)...) {
		if step.Name == name {
			return step.Do(ctx)
		}
	}
	return fmt.Errorf("the demo has no step %q", name)
}

// newID is 64 hex digits, as the runtimes of Kubernetes name containers.
func newID() string {
	var random [32]byte
	rand.Read(random[:]) // never fails
	return hex.EncodeToString(random[:])
}
