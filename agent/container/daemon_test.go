package container_test

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/cio"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/containerd/v2/pkg/oci"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/seawall-security/seawall/internal/testpriv"
)

const imageName = "registry.test/seawall/tiny:1"

// testDaemon is a containerd of the test's own: other root, state and socket.
type testDaemon struct {
	t       *testing.T
	program string
	dir     string
	address string
	process *exec.Cmd
}

func newDaemon(t *testing.T) *testDaemon {
	t.Helper()
	testpriv.Root(t)
	testpriv.Program(t, "runc")
	testpriv.Program(t, "containerd-shim-runc-v2")
	dir, err := os.MkdirTemp("", "cd") // t.TempDir is too long for a socket's name
	if err != nil {
		t.Fatal(err)
	}
	d := &testDaemon{t: t, program: testpriv.Program(t, "containerd"), dir: dir, address: filepath.Join(dir, "c.sock")}
	config := fmt.Sprintf(`version = 2
root = %q
state = %q
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.aufs"]
[grpc]
address = %q
[ttrpc]
address = %q
`, dir+"/root", dir+"/state", d.address, d.address+".ttrpc")
	if err := os.WriteFile(dir+"/config.toml", []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.clean)
	return d
}

func (d *testDaemon) start() {
	d.t.Helper()
	log, err := os.OpenFile(d.dir+"/log", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		d.t.Fatal(err)
	}
	defer log.Close()
	d.process = exec.Command(d.program, "--config", d.dir+"/config.toml")
	d.process.Stdout, d.process.Stderr = log, log
	if err := d.process.Start(); err != nil {
		d.t.Fatal(err)
	}
}

// end sends a signal and waits for the end.
func (d *testDaemon) end(signal syscall.Signal) {
	d.t.Helper()
	if d.process == nil {
		return
	}
	if err := d.process.Process.Signal(signal); err != nil {
		d.t.Error(err)
	}
	_ = d.process.Wait() // it says by which signal it ended
	d.process = nil
}

// client waits until the daemon serves.
func (d *testDaemon) client(t *testing.T, namespace string) (*containerd.Client, context.Context) {
	t.Helper()
	c, err := containerd.New(d.address, containerd.WithTimeout(30*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	t.Cleanup(cancel)
	if ok, err := c.IsServing(ctx); err != nil || !ok {
		t.Fatalf("containerd does not serve: %v\n%s", err, d.log())
	}
	return c, namespaces.WithNamespace(ctx, namespace)
}

func (d *testDaemon) log() string {
	text, _ := os.ReadFile(d.dir + "/log")
	return string(text[max(0, len(text)-4000):])
}

// clean ends what the test left behind: the shims of this daemon are known by its socket.
func (d *testDaemon) clean() {
	d.end(syscall.SIGTERM)
	processes, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, name := range processes {
		cmdline, err := os.ReadFile(name)
		if err != nil || !bytes.Contains(cmdline, []byte("containerd-shim")) || !bytes.Contains(cmdline, []byte(d.address+"\x00")) {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(name)))
		if err == nil {
			d.t.Errorf("shim %d was left", pid)
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
		d.t.Error(err)
	}
}

// tinyImage is an image of one layer with busybox in it, as an OCI layout.
func tinyImage(t *testing.T) []byte {
	t.Helper()
	busybox, err := os.ReadFile(testpriv.Program(t, "busybox"))
	if err != nil {
		t.Fatal(err)
	}
	var layer bytes.Buffer
	w := tar.NewWriter(&layer)
	addFile(t, w, "bin/busybox", 0o755, busybox)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	var image bytes.Buffer
	w = tar.NewWriter(&image)
	blob := func(mediaType string, data []byte) ocispec.Descriptor {
		sum := sha256.Sum256(data)
		addFile(t, w, fmt.Sprintf("blobs/sha256/%x", sum), 0o644, data)
		return ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}
	}
	layers := []ocispec.Descriptor{blob(ocispec.MediaTypeImageLayer, layer.Bytes())}
	config := blob(ocispec.MediaTypeImageConfig, encode(t, ocispec.Image{
		Platform: ocispec.Platform{Architecture: runtime.GOARCH, OS: "linux"},
		RootFS:   ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{layers[0].Digest}},
	}))
	manifest := ocispec.Manifest{MediaType: ocispec.MediaTypeImageManifest, Config: config, Layers: layers}
	manifest.SchemaVersion = 2
	described := blob(ocispec.MediaTypeImageManifest, encode(t, manifest))
	described.Annotations = map[string]string{"io.containerd.image.name": imageName}
	index := ocispec.Index{Manifests: []ocispec.Descriptor{described}}
	index.SchemaVersion = 2
	addFile(t, w, "index.json", 0o644, encode(t, index))
	addFile(t, w, "oci-layout", 0o644, []byte(`{"imageLayoutVersion":"1.0.0"}`))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return image.Bytes()
}

func addFile(t *testing.T, w *tar.Writer, name string, mode int64, data []byte) {
	t.Helper()
	if err := w.WriteHeader(&tar.Header{Name: name, Mode: mode, Size: int64(len(data)), Typeflag: tar.TypeReg}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
}

func encode(t *testing.T, v any) []byte {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// importImage makes the tiny image available and returns it unpacked.
func (d *testDaemon) importImage(t *testing.T, ctx context.Context, c *containerd.Client) containerd.Image {
	t.Helper()
	if _, err := c.Import(ctx, bytes.NewReader(tinyImage(t))); err != nil {
		t.Fatal(err)
	}
	image, err := c.GetImage(ctx, imageName)
	if err != nil {
		t.Fatal(err)
	}
	if err := image.Unpack(ctx, "overlayfs"); err != nil {
		t.Fatal(err)
	}
	return image
}

// create makes a container that runs a busybox applet.
func (d *testDaemon) create(t *testing.T, ctx context.Context, c *containerd.Client, image containerd.Image, id string, args []string, opts ...oci.SpecOpts) containerd.Container {
	t.Helper()
	opts = append([]oci.SpecOpts{oci.WithImageConfig(image), oci.WithProcessArgs(append([]string{"/bin/busybox"}, args...)...)}, opts...)
	created, err := c.NewContainer(ctx, id,
		containerd.WithSnapshotter("overlayfs"), containerd.WithImage(image), containerd.WithNewSnapshot(id, image),
		containerd.WithNewSpec(opts...),
		containerd.WithAdditionalContainerLabels(map[string]string{"team": "tiny", "nerdctl/name": "name-of-" + id}))
	if err != nil {
		t.Fatal(err)
	}
	return created
}

// run starts a container; the function it returns waits for its end, or kills
// it, and removes it.
func (d *testDaemon) run(t *testing.T, ctx context.Context, created containerd.Container) (remove func(kill bool)) {
	t.Helper()
	task, err := created.NewTask(ctx, cio.NullIO)
	if err != nil {
		t.Fatalf("%v\n%s", err, d.log())
	}
	ended, err := task.Wait(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := task.Start(ctx); err != nil {
		t.Fatal(err)
	}
	return func(kill bool) {
		t.Helper()
		if kill {
			if err := task.Kill(ctx, syscall.SIGKILL); err != nil {
				t.Error(err)
			}
		}
		<-ended
		if _, err := task.Delete(ctx); err != nil {
			t.Error(err)
		}
		if err := created.Delete(ctx, containerd.WithSnapshotCleanup); err != nil {
			t.Error(err)
		}
	}
}
