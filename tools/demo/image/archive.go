package image

import (
	"archive/tar"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// WriteTo writes the image as an archive of an OCI image layout, as containerd
// and others import it. Layers are not compressed: they never travel.
func (i *Image) WriteTo(w io.Writer) (int64, error) {
	base, err := os.Open(i.basePath)
	if err != nil {
		return 0, fmt.Errorf("open the base layer: %w", err)
	}
	defer base.Close()

	app := describe(i.app)
	config, err := json.Marshal(i.config(app))
	if err != nil {
		return 0, fmt.Errorf("encode the image config: %w", err)
	}
	manifest, err := json.Marshal(v1.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2},
		MediaType: v1.MediaTypeImageManifest,
		Config:    descriptor(v1.MediaTypeImageConfig, describe(config)),
		Layers:    []v1.Descriptor{descriptor(v1.MediaTypeImageLayer, i.base), descriptor(v1.MediaTypeImageLayer, app)},
	})
	if err != nil {
		return 0, fmt.Errorf("encode the manifest: %w", err)
	}
	top := descriptor(v1.MediaTypeImageManifest, describe(manifest))
	top.Platform = &v1.Platform{OS: "linux", Architecture: runtime.GOARCH}
	top.Annotations = map[string]string{v1.AnnotationRefName: Reference}
	index, err := json.Marshal(v1.Index{
		Versioned: specs.Versioned{SchemaVersion: 2},
		MediaType: v1.MediaTypeImageIndex,
		Manifests: []v1.Descriptor{top},
	})
	if err != nil {
		return 0, fmt.Errorf("encode the index: %w", err)
	}
	layout, err := json.Marshal(v1.ImageLayout{Version: v1.ImageLayoutVersion})
	if err != nil {
		return 0, fmt.Errorf("encode the layout: %w", err)
	}

	counted := &counter{to: w}
	archive := newLayer(counted)
	archive.file(v1.ImageLayoutFile, 0o644, 0, layout)
	archive.entry(&tar.Header{
		Typeflag: tar.TypeReg, Name: blobPath(i.base), Mode: 0o644, Size: i.base.size,
	}, base)
	for _, content := range [][]byte{i.app, config, manifest} {
		archive.file(blobPath(describe(content)), 0o644, 0, content)
	}
	archive.file(v1.ImageIndexFile, 0o644, 0, index)
	err = archive.close()
	return counted.written, err
}

// Reader streams the archive that WriteTo writes. Close it, also before its end.
func (i *Image) Reader() io.ReadCloser {
	reader, writer := io.Pipe()
	// Ends when the archive is written or the reader is closed.
	go func() {
		_, err := i.WriteTo(writer)
		writer.CloseWithError(err)
	}()
	return reader
}

func (i *Image) config(app blob) v1.Image {
	created := time.Unix(0, 0).UTC()
	return v1.Image{
		Created:  &created,
		Platform: v1.Platform{OS: "linux", Architecture: runtime.GOARCH},
		Config: v1.ImageConfig{
			User:         strconv.Itoa(User),
			ExposedPorts: map[string]struct{}{strconv.Itoa(Port) + "/tcp": {}},
			Env:          []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
			Cmd:          []string{"/usr/sbin/lighttpd", "-D", "-f", "/etc/lighttpd/lighttpd.conf"},
			WorkingDir:   "/var/www/html",
		},
		RootFS: v1.RootFS{Type: "layers", DiffIDs: []digest.Digest{digestOf(i.base), digestOf(app)}},
	}
}

func digestOf(b blob) digest.Digest { return digest.NewDigestFromEncoded(digest.SHA256, b.digest) }

func descriptor(media string, b blob) v1.Descriptor {
	return v1.Descriptor{MediaType: media, Digest: digestOf(b), Size: b.size}
}

func blobPath(b blob) string { return v1.ImageBlobsDir + "/sha256/" + b.digest }

type counter struct {
	to      io.Writer
	written int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.to.Write(p)
	c.written += int64(n)
	return n, err
}
