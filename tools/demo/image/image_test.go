package image_test

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"path"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/seawall-security/seawall/internal/testpriv"
	"github.com/seawall-security/seawall/tools/demo/image"
)

// TestBuild builds twice, from the network and from the cache where that is cold,
// and expects the same archive, in which every blob has the name of its content.
func TestBuild(t *testing.T) {
	testpriv.Program(t, "apt-get")
	testpriv.Program(t, "dpkg-deb")
	cache, err := image.DefaultCache()
	if err != nil {
		t.Fatal(err)
	}
	first := blobs(t, cache)
	if len(first) != 6 {
		t.Errorf("archive has %d entries, want layout, index, manifest, config and two layers", len(first))
	}
	if diff := cmp.Diff(first, blobs(t, cache)); diff != "" {
		t.Errorf("a second build differs (-first +second):\n%s", diff)
	}
}

// blobs builds the image and returns the SHA-256 of each file of its archive.
func blobs(t *testing.T, cache string) map[string]string {
	t.Helper()
	built, err := image.Build(t.Context(), cache)
	if err != nil {
		t.Fatal(err)
	}
	reader := built.Reader()
	defer reader.Close()
	sums := map[string]string{}
	for archive := tar.NewReader(reader); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return sums
		}
		if err != nil {
			t.Fatal(err)
		}
		hash := sha256.New()
		if _, err := io.Copy(hash, archive); err != nil {
			t.Fatal(err)
		}
		sum := hex.EncodeToString(hash.Sum(nil))
		sums[header.Name] = sum
		if path.Dir(header.Name) == "blobs/sha256" && path.Base(header.Name) != sum {
			t.Errorf("%s has content of %s", header.Name, sum)
		}
	}
}
