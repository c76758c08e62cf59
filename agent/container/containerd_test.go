package container_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	apievents "github.com/containerd/containerd/api/events"
	"github.com/containerd/containerd/v2/pkg/cio"
	"github.com/containerd/containerd/v2/pkg/oci"
	"go.uber.org/zap/zaptest"
	"golang.org/x/sys/unix"

	"github.com/seawall-security/seawall/agent/container"
	"github.com/seawall-security/seawall/internal/event"
	"github.com/seawall-security/seawall/internal/testcontainerd"
	"github.com/seawall-security/seawall/internal/testpriv"
)

// runcProcess is what agent/process would say of runc.
var runcProcess = &event.Process{Name: "runc", HostMount: true, Key: event.Key{TGID: 2}}

// world is a table with its goroutines, and the kernel's part played by inotify.
type world struct {
	t         *testing.T
	tree      *container.Hierarchy
	table     *container.Table
	runtime   *container.Containerd
	namespace string
	changed   chan struct{}

	mu   sync.Mutex
	born map[string]uint64 // by path: the newest
	late bool              // keep the events in held
	held []func()
}

// newWorld starts with no daemon needed; namespace is the test's own.
func newWorld(t *testing.T, address string, wait time.Duration) *world {
	t.Helper()
	testpriv.Root(t)
	tree, err := container.FindHierarchy("/")
	if err != nil {
		t.Fatal(err)
	}
	w := &world{
		t: t, tree: tree, namespace: testcontainerd.Namespace(t),
		changed: make(chan struct{}, 1), born: make(map[string]uint64),
	}
	w.table = container.NewTable(container.Options{Hierarchy: tree, Wait: wait, Notify: w.notify})
	w.runtime = container.NewContainerd(address, w.table, zaptest.NewLogger(t))
	w.mkdir(t, "/"+w.namespace, nil)
	stop := w.watch(t, "/"+w.namespace)
	if err := w.table.Seed(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	for _, run := range []func(context.Context) error{w.table.Run, w.runtime.Run} {
		running.Go(func() {
			if err := run(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(func() {
		cancel()
		running.Wait()
		stop()
	})
	return w
}

func (w *world) notify() {
	select {
	case w.changed <- struct{}{}:
	default:
	}
}

// mkdir makes a cgroup by hand; by nil: unseen.
func (w *world) mkdir(t *testing.T, path string, by *event.Process) uint64 {
	t.Helper()
	dir := filepath.Join(w.tree.Mount, path)
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.Remove(dir); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Error(err)
		}
	})
	id, err := w.tree.Lookup(path)
	if err != nil {
		t.Fatal(err)
	}
	if by != nil {
		w.table.Born(id, path, by)
	}
	return id
}

// watch plays the kernel's events for the cgroups made and removed in one cgroup.
func (w *world) watch(t *testing.T, path string) (stop func()) {
	t.Helper()
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := unix.InotifyAddWatch(fd, filepath.Join(w.tree.Mount, path), unix.IN_CREATE|unix.IN_DELETE|unix.IN_ONLYDIR); err != nil {
		t.Fatal(err)
	}
	file := os.NewFile(uintptr(fd), "inotify")
	var reader sync.WaitGroup
	reader.Go(func() {
		buffer := make([]byte, 64<<10)
		for {
			n, err := file.Read(buffer)
			if err != nil {
				return // closed
			}
			for record := buffer[:n]; len(record) >= unix.SizeofInotifyEvent; {
				mask := le32(record[4:])
				length := int(le32(record[12:]))
				name := strings.TrimRight(string(record[unix.SizeofInotifyEvent:][:length]), "\x00")
				w.dispatch(mask, path+"/"+name)
				record = record[unix.SizeofInotifyEvent+length:]
			}
		}
	})
	return func() {
		file.Close()
		reader.Wait()
	}
}

func le32(b []byte) uint32 {
	return uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16 | uint32(b[3])<<24
}

func (w *world) dispatch(mask uint32, path string) {
	if mask&unix.IN_ISDIR == 0 {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if mask&unix.IN_CREATE != 0 {
		id, err := w.tree.Lookup(path)
		if err != nil {
			w.t.Errorf("cgroup %s ended before its id could be read: %v", path, err)
			return
		}
		w.born[path] = id
		w.deliver(func() { w.table.Born(id, path, runcProcess) })
	} else if id, ok := w.born[path]; ok {
		w.deliver(func() { w.table.Gone(id) })
	}
	w.notify()
}

func (w *world) deliver(event func()) {
	if w.late {
		w.held = append(w.held, event)
		return
	}
	event()
}

// hold keeps the kernel's events back until release: a reader that lags.
func (w *world) hold() (release func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.late = true
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		for _, event := range w.held {
			event()
		}
		w.late, w.held = false, nil
	}
}

func (w *world) id(path string) uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.born[path]
}

// until waits for a condition that only changes with news of the table.
func (w *world) until(t *testing.T, what string, done func() bool) {
	t.Helper()
	limit := time.NewTimer(30 * time.Second)
	defer limit.Stop()
	poll := time.NewTicker(20 * time.Millisecond) // connection state has no signal of its own
	defer poll.Stop()
	for !done() {
		select {
		case <-w.changed:
		case <-poll.C:
		case <-limit.C:
			t.Fatalf("waited in vain: %s; %+v; %+v", what, w.table.Counts(), w.runtime.Connection())
		}
	}
}

// named waits until the cgroup at path is a container with a name, and returns it.
func (w *world) named(t *testing.T, path string) *event.Container {
	t.Helper()
	var c *event.Container
	w.until(t, path+" is named", func() bool {
		var state container.State
		c, state = w.table.Lookup(w.id(path))
		return state == container.Known && c.Runtime == container.RuntimeContainerd
	})
	return c
}

func (w *world) state(id uint64) container.State {
	_, state := w.table.Lookup(id)
	return state
}

func (w *world) connected(t *testing.T) {
	t.Helper()
	w.until(t, "connected", func() bool { return w.runtime.Connection().Connected })
}

func TestContainerdNames(t *testing.T) {
	d := testcontainerd.New(t)
	d.Start(t)
	w := newWorld(t, d.Address, 20*time.Second)
	client, ctx := d.Client(t, w.namespace)
	image := testcontainerd.Import(t, ctx, client)
	w.connected(t)

	t.Run("facts", func(t *testing.T) {
		created := testcontainerd.Create(t, ctx, client, image, "web1", []string{"sleep", "600"})
		remove := testcontainerd.Run(t, ctx, created)
		defer remove(true)
		path := "/" + w.namespace + "/web1"
		got := w.named(t, path)
		info, err := created.Info(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if got.ID != "web1" || got.Name != testcontainerd.Name("web1") || got.RuntimeNamespace != w.namespace ||
			got.Image != testcontainerd.ImageName || got.ImageDigest != image.Target().Digest.String() || got.Labels["team"] != "tiny" ||
			!got.Created.Equal(info.CreatedAt) || got.CgroupPath != path || got.CgroupID != w.id(path) {
			t.Errorf("container is %+v", got)
		}
		below := w.mkdir(t, path+"/init.scope", runcProcess)
		if c, state := w.table.Lookup(below); state != container.Known || c != got {
			t.Errorf("a cgroup below is %v of %+v", state, c)
		}
		if _, err := created.SetLabels(ctx, map[string]string{"team": "other"}); err != nil {
			t.Fatal(err)
		}
		w.until(t, "the label is news", func() bool { c := w.named(t, path); return c.Labels["team"] == "other" })
		if got.Labels["team"] != "tiny" {
			t.Error("a published container changed")
		}
	})

	t.Run("burst", func(t *testing.T) {
		var wait sync.WaitGroup
		for i := range 20 {
			created := testcontainerd.Create(t, ctx, client, image, fmt.Sprintf("burst%d", i), []string{"true"})
			wait.Go(func() {
				running, err := testcontainerd.Launch(ctx, created, cio.NullIO)
				if err == nil {
					err = running.Remove(ctx, false)
				}
				if err != nil {
					t.Error(err)
				}
			})
		}
		wait.Wait()
		for i := range 20 {
			if c := w.named(t, fmt.Sprintf("/%s/burst%d", w.namespace, i)); c.ID != fmt.Sprintf("burst%d", i) {
				t.Errorf("%d is %+v", i, c)
			}
		}
	})

	t.Run("same name again", func(t *testing.T) {
		path := "/" + w.namespace + "/again"
		testcontainerd.Run(t, ctx, testcontainerd.Create(t, ctx, client, image, "again", []string{"true"}))(false)
		first, firstID := w.named(t, path), w.id(path)
		remove := testcontainerd.Run(t, ctx, testcontainerd.Create(t, ctx, client, image, "again", []string{"sleep", "600"}))
		defer remove(true)
		w.until(t, "second cgroup", func() bool { return w.id(path) != firstID })
		second := w.named(t, path)
		if !second.Created.After(first.Created) {
			t.Errorf("the second has the first one's metadata: %+v, %+v", first, second)
		}
		if c, _ := w.table.Lookup(firstID); c == nil || !c.Created.Equal(first.Created) {
			t.Errorf("the first is now %+v", c)
		}
	})

	t.Run("gone before its birth is read", func(t *testing.T) {
		release := w.hold()
		testcontainerd.Run(t, ctx, testcontainerd.Create(t, ctx, client, image, "short", []string{"true"}))(false)
		path := "/" + w.namespace + "/short"
		w.until(t, "both events are there", func() bool {
			w.mu.Lock()
			defer w.mu.Unlock()
			return len(w.held) == 2
		})
		release()
		if c := w.named(t, path); c.ID != "short" || c.ImageDigest != image.Target().Digest.String() {
			t.Errorf("container is %+v", c)
		}
	})

	t.Run("metadata gone before they could be read", func(t *testing.T) {
		event := &apievents.ContainerCreate{ID: "ghost", Image: testcontainerd.ImageName}
		if err := client.EventService().Publish(ctx, "/containers/create", event); err != nil {
			t.Fatal(err)
		}
		w.mkdir(t, "/"+w.namespace+"/ghost", nil)
		if c := w.named(t, "/"+w.namespace+"/ghost"); c.ID != "ghost" || c.Image != testcontainerd.ImageName || c.ImageDigest != "" {
			t.Errorf("container is %+v", c)
		}
	})

	t.Run("path relative to the runtime's own", func(t *testing.T) {
		created := testcontainerd.Create(t, ctx, client, image, "relative", []string{"sleep", "600"}, oci.WithCgroup(w.namespace+"-relative"))
		remove := testcontainerd.Run(t, ctx, created)
		defer remove(true)
		task, err := created.Task(ctx, nil)
		if err != nil {
			t.Fatal(err)
		}
		path, err := w.tree.CgroupOf(task.Pid())
		if err != nil {
			t.Fatal(err)
		}
		id, err := w.tree.Lookup(path)
		if err != nil {
			t.Fatal(err)
		}
		w.until(t, "named by its task", func() bool {
			c, _ := w.table.Lookup(id)
			return c != nil && c.ID == "relative" && c.CgroupPath == path
		})
	})

	t.Run("path without a container's shape", func(t *testing.T) {
		path := "/" + w.namespace + "/some/where/else"
		w.mkdir(t, "/"+w.namespace+"/some", runcProcess)
		w.mkdir(t, "/"+w.namespace+"/some/where", runcProcess)
		stop := w.watch(t, "/"+w.namespace+"/some/where")
		defer stop()
		remove := testcontainerd.Run(t, ctx, testcontainerd.Create(t, ctx, client, image, "odd", []string{"sleep", "600"}, oci.WithCgroup(path)))
		defer remove(true)
		if c := w.named(t, path); c.ID != "odd" {
			t.Errorf("container is %+v", c)
		}
	})

}

func TestForgedBecomesHost(t *testing.T) {
	d := testcontainerd.New(t)
	d.Start(t)
	w := newWorld(t, d.Address, 300*time.Millisecond)
	client, ctx := d.Client(t, w.namespace)
	image := testcontainerd.Import(t, ctx, client)
	w.connected(t)
	id := strings.Repeat("0badc0de", 8)
	remove := testcontainerd.Run(t, ctx, testcontainerd.Create(t, ctx, client, image, id, []string{"sleep", "600"}))
	defer remove(true)
	w.named(t, "/"+w.namespace+"/"+id)
	w.mkdir(t, "/kubepods-"+w.namespace, nil)
	// Groups that others left on this machine may look like containers too.
	w.until(t, "cgroups are told apart", func() bool { return w.table.Counts().Unresolved == 0 })
	before := w.table.Counts().Forged
	forged := w.mkdir(t, "/kubepods-"+w.namespace+"/"+id, &event.Process{Name: "sh", HostMount: true})
	if s := w.state(forged); s != container.Pending {
		t.Errorf("at first it is %v", s)
	}
	w.until(t, "forged is the host's", func() bool { return w.state(forged) == container.Host })
	if n := w.table.Counts().Forged - before; n != 1 {
		t.Errorf("%d forged", n)
	}
}

func TestContainerdComesLateAndRestarts(t *testing.T) {
	d := testcontainerd.New(t)
	w := newWorld(t, d.Address, 300*time.Millisecond)
	w.until(t, "tried", func() bool { return errors.Is(w.runtime.Connection().Err, syscall.ENOENT) })

	orphan := w.mkdir(t, "/"+w.namespace+"/orphan", runcProcess)
	w.until(t, "known without a runtime", func() bool { return w.state(orphan) == container.Known })
	if c, _ := w.table.Lookup(orphan); c.ID != "orphan" || c.Runtime != container.RuntimeUnknown {
		t.Errorf("container is %+v", c)
	}

	d.Start(t)
	client, ctx := d.Client(t, w.namespace)
	w.connected(t)
	image := testcontainerd.Import(t, ctx, client)
	before := testcontainerd.Create(t, ctx, client, image, "before", []string{"sleep", "600"})
	testcontainerd.Run(t, ctx, before)
	w.named(t, "/"+w.namespace+"/before")

	d.End(t, syscall.SIGKILL)
	w.until(t, "disconnected", func() bool { return !w.runtime.Connection().Connected })
	if c, state := w.table.Lookup(w.id("/" + w.namespace + "/before")); state != container.Known || c.Image != testcontainerd.ImageName {
		t.Errorf("without the daemon it is %v %+v", state, c)
	}
	d.Start(t)
	w.until(t, "connected again", func() bool { return w.runtime.Connection().Connects == 2 })
	client, ctx = d.Client(t, w.namespace)
	image, err := client.GetImage(ctx, testcontainerd.ImageName)
	if err != nil {
		t.Fatal(err)
	}
	testcontainerd.Run(t, ctx, testcontainerd.Create(t, ctx, client, image, "after", []string{"true"}))(false)
	if c := w.named(t, "/"+w.namespace+"/after"); c.ImageDigest != image.Target().Digest.String() {
		t.Errorf("container is %+v", c)
	}
	testcontainerd.RemoveByID(t, ctx, client, "before")
}

// TestContainersBeforeTheAgent starts the agent's part after the container, so
// that nobody saw its cgroup made; without a daemon the shim's word is enough.
func TestContainersBeforeTheAgent(t *testing.T) {
	d := testcontainerd.New(t)
	d.Start(t)
	namespace := testcontainerd.Namespace(t)
	client, ctx := d.Client(t, namespace)
	image := testcontainerd.Import(t, ctx, client)
	id := strings.Repeat("5eaf00d5", 8)
	remove := testcontainerd.Run(t, ctx, testcontainerd.Create(t, ctx, client, image, id, []string{"sleep", "600"}))
	defer func() { remove(true) }()
	path := "/" + namespace + "/" + id

	nobody := newWorld(t, d.Address+".absent", 100*time.Millisecond)
	cgroup, err := nobody.tree.Lookup(path)
	if err != nil {
		t.Fatal(err)
	}
	nobody.until(t, "known by its shim", func() bool { return nobody.state(cgroup) == container.Known })
	if c, _ := nobody.table.Lookup(cgroup); c.Runtime != container.RuntimeUnknown || c.ID != id {
		t.Errorf("container is %+v", c)
	}

	w := newWorld(t, d.Address, 20*time.Second)
	w.born[path] = cgroup
	if c := w.named(t, path); c.Image != testcontainerd.ImageName || c.Created.IsZero() {
		t.Errorf("container is %+v", c)
	}
}
