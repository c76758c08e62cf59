package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Kernel is a kernel in the cache: a folder with vmlinuz, config, release and
// the package's modules. It is read only and may be used by many.
type Kernel struct {
	Line    string // one of [Lines]
	Release string // uname -r
	Dir     string
}

// Image is the path of the bootable kernel.
func (k Kernel) Image() string { return filepath.Join(k.Dir, "vmlinuz") }

// CacheDir is where kernels are kept: SEAWALL_KERNEL_CACHE, else
// seawall/kernels in the user's cache folder.
func CacheDir() (string, error) {
	if dir := os.Getenv("SEAWALL_KERNEL_CACHE"); dir != "" {
		return filepath.Abs(dir)
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find a folder for kernels: %w; set SEAWALL_KERNEL_CACHE", err)
	}
	return filepath.Join(dir, "seawall", "kernels"), nil
}

// Fetch returns the kernel of a line, from the cache or, at its first use, from
// Debian's packages on the host's own mirror. Many processes may fetch at once:
// one downloads, the others wait. A kernel stays as it is until its folder is
// removed. Progress goes to log.
func Fetch(ctx context.Context, name string, log io.Writer) (Kernel, error) {
	l, err := lineOf(name)
	if err != nil {
		return Kernel{}, err
	}
	cache, err := CacheDir()
	if err != nil {
		return Kernel{}, err
	}
	k := Kernel{Line: name, Dir: filepath.Join(cache, name)}
	if k, err := k.cached(); err == nil {
		return k, nil
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return Kernel{}, err
	}
	unlock, err := lock(ctx, k.Dir+".lock")
	if err != nil {
		return Kernel{}, fmt.Errorf("wait for kernel %s: %w", name, err)
	}
	defer unlock()
	if k, err := k.cached(); err == nil {
		return k, nil
	}
	if err := k.install(ctx, l, log); err != nil {
		return Kernel{}, fmt.Errorf("fetch kernel %s: %w", name, err)
	}
	return k.cached()
}

func (k Kernel) cached() (Kernel, error) {
	release, err := os.ReadFile(filepath.Join(k.Dir, "release"))
	k.Release = strings.TrimSpace(string(release))
	return k, err
}

// install downloads and unpacks beside the final place, then renames: whoever
// finds the folder finds all of it.
func (k Kernel) install(ctx context.Context, l line, log io.Writer) (err error) {
	work, err := os.MkdirTemp(filepath.Dir(k.Dir), "."+l.name+"-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()

	a, err := openApt(ctx, l, work, log)
	if err != nil {
		return err
	}
	fmt.Fprintf(log, "reading the package lists of %s\n", strings.Join(l.suites, ", "))
	missing := a.update(ctx)
	release, err := a.newest(ctx)
	if err != nil {
		return errors.Join(missing, err)
	}
	if release == "" {
		absent := fmt.Errorf("no cloud kernel of this line in %s on the host's mirror: if the suites were archived, set SEAWALL_DEBIAN_MIRROR to a mirror that has them",
			strings.Join(l.suites, ", "))
		return errors.Join(absent, missing)
	}
	packages, tree := filepath.Join(work, "packages"), filepath.Join(work, "tree")
	if err := os.Mkdir(packages, 0o755); err != nil {
		return err
	}
	if err := a.download(ctx, release, packages); err != nil {
		return err
	}
	files, err := filepath.Glob(filepath.Join(packages, "*.deb"))
	if err != nil {
		return err
	}
	for _, file := range files {
		if _, err := output(exec.CommandContext(ctx, "dpkg-deb", "-x", file, tree)); err != nil {
			return err
		}
	}
	done := filepath.Join(work, "kernel")
	if err := arrange(tree, done, release); err != nil {
		return err
	}
	return os.Rename(done, k.Dir)
}

// arrange makes a kernel folder out of an unpacked package. Older packages keep
// the kernel in /boot and the modules in /lib, newer ones keep all in /usr/lib.
func arrange(tree, dest, release string) error {
	modules := filepath.Join(dest, "modules")
	if err := os.MkdirAll(modules, 0o755); err != nil {
		return err
	}
	for _, lib := range []string{"lib/modules", "usr/lib/modules"} {
		from := filepath.Join(tree, lib, release)
		entries, err := os.ReadDir(from)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		for _, e := range entries {
			if err := os.Rename(filepath.Join(from, e.Name()), filepath.Join(modules, e.Name())); err != nil {
				return err
			}
		}
	}
	for _, name := range []string{"vmlinuz", "config"} {
		err := os.Rename(filepath.Join(tree, "boot", name+"-"+release), filepath.Join(dest, name))
		if errors.Is(err, fs.ErrNotExist) {
			err = os.Rename(filepath.Join(modules, name), filepath.Join(dest, name))
		}
		if err != nil {
			return fmt.Errorf("find %s of %s: %w", name, release, err)
		}
	}
	return os.WriteFile(filepath.Join(dest, "release"), []byte(release+"\n"), 0o644)
}

// lock takes an exclusive lock on a file, made if need be. The kernel gives it
// back when the holder dies.
func lock(ctx context.Context, path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { _ = f.Close() }, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			return nil, errors.Join(err, f.Close())
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(context.Cause(ctx), f.Close())
		case <-time.After(200 * time.Millisecond): // a download takes a minute: polling costs nothing
		}
	}
}
