package testcontainerd

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"testing"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/seawall-security/seawall/internal/testpriv"
)

// ImageName is the reference of the image that Import brings.
const ImageName = "registry.test/seawall/tiny:1"

// Files of the image besides /bin/busybox: one that no rule is about, one that
// every intruder reads.
const (
	OrdinaryFile = "/etc/ordinary"
	SecretFile   = "/etc/shadow"
)

// Import makes the tiny image available and returns it unpacked.
func Import(t testing.TB, ctx context.Context, c *containerd.Client) containerd.Image {
	t.Helper()
	return ImportAs(t, ctx, c, ImageName, nil)
}

// ImportAs is Import under another name; command is what a container of it runs by itself.
func ImportAs(t testing.TB, ctx context.Context, c *containerd.Client, name string, command []string) containerd.Image {
	t.Helper()
	if _, err := c.Import(ctx, bytes.NewReader(tinyImage(t, name, command))); err != nil {
		t.Fatal(err)
	}
	image, err := c.GetImage(ctx, name)
	if err != nil {
		t.Fatal(err)
	}
	if err := image.Unpack(ctx, "overlayfs"); err != nil {
		t.Fatal(err)
	}
	return image
}

// tinyImage is an image of one layer with busybox in it, as an OCI layout.
func tinyImage(t testing.TB, name string, command []string) []byte {
	t.Helper()
	busybox, err := os.ReadFile(testpriv.Program(t, "busybox"))
	if err != nil {
		t.Fatal(err)
	}
	var layer bytes.Buffer
	w := tar.NewWriter(&layer)
	addFile(t, w, "bin/busybox", 0o755, busybox)
	addFile(t, w, OrdinaryFile[1:], 0o644, []byte("nothing of interest\n"))
	addFile(t, w, SecretFile[1:], 0o600, []byte("root:*:1::::::\n"))
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
		Config:   ocispec.ImageConfig{Cmd: command},
	}))
	manifest := ocispec.Manifest{MediaType: ocispec.MediaTypeImageManifest, Config: config, Layers: layers}
	manifest.SchemaVersion = 2
	described := blob(ocispec.MediaTypeImageManifest, encode(t, manifest))
	described.Annotations = map[string]string{"io.containerd.image.name": name}
	index := ocispec.Index{Manifests: []ocispec.Descriptor{described}}
	index.SchemaVersion = 2
	addFile(t, w, "index.json", 0o644, encode(t, index))
	addFile(t, w, "oci-layout", 0o644, []byte(`{"imageLayoutVersion":"1.0.0"}`))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return image.Bytes()
}

func addFile(t testing.TB, w *tar.Writer, name string, mode int64, data []byte) {
	t.Helper()
	if err := w.WriteHeader(&tar.Header{Name: name, Mode: mode, Size: int64(len(data)), Typeflag: tar.TypeReg}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
}

func encode(t testing.TB, v any) []byte {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
