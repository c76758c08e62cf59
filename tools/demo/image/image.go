// Package image makes the demo's container image: a web shop on lighttpd and PHP,
// put together from the host's Debian packages without a registry, a container
// builder or root.
//
// The image has two layers. The base layer is the packages the shop needs and all
// they depend on, as the host's apt sources offer them; it is made once and kept
// in a cache folder, under a key of the packages' names, versions and checksums.
// The application layer is the shop itself and is made anew each time. Equal
// inputs give equal bytes.
//
// An [Image] may be used from several goroutines. Processes that build at the same
// time into one cache do the work twice and agree on the result.
package image

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// Reference is the image's name.
const Reference = "registry.example/store/shop:1.0"

// Port is where the web server listens, on all addresses.
const Port = 8080

// User is the numeric user and group of the web server: www-data.
const User = 33

// Image is an image on disk and in memory.
type Image struct {
	basePath string
	base     blob
	app      []byte
}

// DefaultCache is where base layers are kept: seawall/demo in the user's cache folder.
func DefaultCache() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find the cache folder: %w", err)
	}
	return filepath.Join(cache, "seawall", "demo"), nil
}

// Build makes the image, reusing the base layer in the cache if the host's apt
// lists still name the same packages.
func Build(ctx context.Context, cache string) (*Image, error) {
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return nil, fmt.Errorf("make the cache folder: %w", err)
	}
	work, err := os.MkdirTemp(cache, "building-")
	if err != nil {
		return nil, fmt.Errorf("make a work folder: %w", err)
	}
	defer os.RemoveAll(work)

	apt, err := newApt(work)
	if err != nil {
		return nil, err
	}
	key, err := apt.key(ctx)
	if err != nil {
		return nil, err
	}
	path := filepath.Join(cache, "base-"+key+".tar")
	if _, err := os.Stat(path); err != nil {
		if err := buildBase(ctx, apt, filepath.Join(work, "base.tar"), path); err != nil {
			return nil, err
		}
		if err := forget(cache, path); err != nil {
			return nil, err
		}
	}
	base, err := describeFile(path)
	if err != nil {
		return nil, err
	}
	app, err := appLayer()
	if err != nil {
		return nil, err
	}
	return &Image{basePath: path, base: base, app: app}, nil
}

// buildBase downloads the packages and merges them into a layer, which appears at
// path only once it is whole.
func buildBase(ctx context.Context, apt *apt, temporary, path string) error {
	packages, err := apt.download(ctx)
	if err != nil {
		return err
	}
	file, err := os.Create(temporary)
	if err != nil {
		return fmt.Errorf("create the base layer: %w", err)
	}
	defer file.Close()
	if err := mergePackages(ctx, packages, file); err != nil {
		return err
	}
	if err := file.Close(); err != nil {
		return fmt.Errorf("write the base layer: %w", err)
	}
	if err := os.Rename(temporary, path); err != nil {
		return fmt.Errorf("keep the base layer: %w", err)
	}
	return nil
}

// forget removes base layers of older packages: one is enough, they are big.
func forget(cache, keep string) error {
	old, err := filepath.Glob(filepath.Join(cache, "base-*.tar"))
	if err != nil {
		return fmt.Errorf("list the cache: %w", err)
	}
	for _, path := range old {
		if path == keep {
			continue
		}
		if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
			return fmt.Errorf("forget an old base layer: %w", err)
		}
	}
	return nil
}

// blob is what a descriptor says of content.
type blob struct {
	digest string // hex of SHA-256
	size   int64
}

func describe(content []byte) blob {
	sum := sha256.Sum256(content)
	return blob{digest: hex.EncodeToString(sum[:]), size: int64(len(content))}
}

func describeFile(path string) (blob, error) {
	file, err := os.Open(path)
	if err != nil {
		return blob{}, fmt.Errorf("open the base layer: %w", err)
	}
	defer file.Close()
	hash := sha256.New()
	size, err := io.Copy(hash, file)
	if err != nil {
		return blob{}, fmt.Errorf("read the base layer: %w", err)
	}
	return blob{digest: hex.EncodeToString(hash.Sum(nil)), size: size}, nil
}
