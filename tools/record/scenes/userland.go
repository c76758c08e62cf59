package scenes

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

// userlandName is the image's name.
const userlandName = "registry.example/base/userland:12"

// packages are what scenes run, real programs of the host's distribution; apt adds
// what they depend on.
var packages = []string{
	"base-files", "base-passwd", "bash", "busybox-static", "coreutils", "curl", "dash", "diffutils", "dpkg", "grep",
	"libc-bin", "libpam-modules", "libpam-runtime", "login", "luajit", "openbsd-inetd", "passwd", "tar", "util-linux", "wget",
}

// settings are files that maintainer scripts would have made; no script runs.
var settings = map[string]string{
	"etc/shadow":                "root:*:20000:0:99999:7:::\nnobody:*:20000:0:99999:7:::\n",
	"etc/pam.d/common-auth":     "auth required pam_unix.so\n",
	"etc/pam.d/common-account":  "account required pam_unix.so\n",
	"etc/pam.d/common-password": "password required pam_unix.so\n",
	"etc/pam.d/common-session":  "session required pam_unix.so\n",
	"etc/environment":           "",
	"etc/default/locale":        "",
	"var/lib/dpkg/status":       "",
	// Each runs a shell for whoever connects, as inetd does with its services.
	"etc/inetd.conf": "2323 stream tcp nowait root /bin/bash bash\n",
}

// buildUserland makes the image's archive, in the form of docker save, and returns
// its path. Packages are kept in the cache folder.
func buildUserland(ctx context.Context, cache, actor string) (string, error) {
	archives := filepath.Join(cache, "archives")
	root := filepath.Join(workDir, "userland")
	for _, dir := range []string{filepath.Join(archives, "partial"), root} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return "", fmt.Errorf("make the userland's folder: %w", err)
		}
	}
	debs, err := download(ctx, archives)
	if err != nil {
		return "", err
	}
	if err := unpack(ctx, debs, root); err != nil {
		return "", err
	}
	for name, text := range settings {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return "", fmt.Errorf("write %s: %w", name, err)
		}
		mode := os.FileMode(0o644)
		if name == "etc/shadow" {
			mode = 0o600
		}
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			return "", fmt.Errorf("write %s: %w", name, err)
		}
	}
	if err := copyFile(actor, filepath.Join(root, "usr/local/bin/attack")); err != nil {
		return "", err
	}
	for _, name := range []string{"passwd", "group"} {
		master, err := os.ReadFile(filepath.Join(root, "usr/share/base-passwd", name+".master"))
		if err != nil {
			return "", fmt.Errorf("make user database: %w", err)
		}
		// As shadowconfig does it: the password is in the shadow file.
		shadowed := bytes.ReplaceAll(master, []byte(":*:"), []byte(":x:"))
		if err := os.WriteFile(filepath.Join(root, "etc", name), shadowed, 0o644); err != nil {
			return "", fmt.Errorf("make user database: %w", err)
		}
	}
	return pack(ctx, root)
}

// download fetches the packages as if nothing were installed, without touching the
// host's own state, and returns those files that belong to this set.
func download(ctx context.Context, archives string) ([]string, error) {
	status := filepath.Join(workDir, "status")
	if err := os.WriteFile(status, nil, 0o644); err != nil {
		return nil, fmt.Errorf("write an empty package status: %w", err)
	}
	apt := func(how string) ([]byte, error) {
		args := append([]string{
			"-qq", "-y", "--no-install-recommends", "-o", "Dir::State::status=" + status,
			"-o", "Dir::Cache::archives=" + archives, "-o", "Dir::Cache::pkgcache=", "-o", "Dir::Cache::srcpkgcache=",
			"-o", "Debug::NoLocking=1", "-o", "APT::Sandbox::User=root", how, "install",
		}, packages...)
		command := exec.CommandContext(ctx, "apt-get", args...)
		command.Env = append(os.Environ(), "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive")
		out, err := command.Output()
		if err != nil {
			return nil, fmt.Errorf("ask apt-get for packages (apt-get update may help): %w", err)
		}
		return out, nil
	}
	if _, err := apt("--download-only"); err != nil {
		return nil, err
	}
	plan, err := apt("--simulate")
	if err != nil {
		return nil, err
	}
	var debs []string
	for line := range strings.Lines(string(plan)) {
		fields := strings.Fields(line) // Inst NAME (VERSION …
		if len(fields) < 3 || fields[0] != "Inst" {
			continue
		}
		version := strings.ReplaceAll(strings.Trim(fields[2], "("), ":", "%3a")
		found, err := filepath.Glob(filepath.Join(archives, fields[1]+"_"+version+"_*.deb"))
		if err != nil || len(found) != 1 {
			return nil, fmt.Errorf("find the package %s %s: %d files", fields[1], version, len(found))
		}
		debs = append(debs, found[0])
	}
	return debs, nil
}

// unpack lays the packages' files over each other.
func unpack(ctx context.Context, debs []string, root string) error {
	for _, name := range []string{"bin", "lib", "lib64", "sbin"} {
		if err := os.MkdirAll(filepath.Join(root, "usr", name), 0o755); err != nil {
			return fmt.Errorf("make /usr: %w", err)
		}
		if err := os.Symlink("usr/"+name, filepath.Join(root, name)); err != nil {
			return fmt.Errorf("merge /usr: %w", err)
		}
	}
	for _, deb := range debs {
		files := exec.CommandContext(ctx, "dpkg-deb", "--fsys-tarfile", deb)
		extract := exec.CommandContext(ctx, "tar", "--extract", "--keep-directory-symlink", "--preserve-permissions",
			"--exclude=./usr/share/doc", "--exclude=./usr/share/man", "--exclude=./usr/share/locale", "--directory", root)
		var err error
		if extract.Stdin, err = files.StdoutPipe(); err != nil {
			return fmt.Errorf("unpack %s: %w", filepath.Base(deb), err)
		}
		if err := files.Start(); err != nil {
			return fmt.Errorf("unpack %s: %w", filepath.Base(deb), err)
		}
		out, err := extract.CombinedOutput()
		if err != nil {
			return fmt.Errorf("unpack %s: %w: %s", filepath.Base(deb), err, out)
		}
		if err := files.Wait(); err != nil {
			return fmt.Errorf("unpack %s: %w", filepath.Base(deb), err)
		}
	}
	return nil
}

func copyFile(from, to string) error {
	content, err := os.ReadFile(from)
	if err != nil {
		return fmt.Errorf("copy %s: %w", filepath.Base(from), err)
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return fmt.Errorf("copy %s: %w", filepath.Base(from), err)
	}
	if err := os.WriteFile(to, content, 0o755); err != nil {
		return fmt.Errorf("copy %s: %w", filepath.Base(from), err)
	}
	return nil
}

// pack writes the folder as an image with one layer.
func pack(ctx context.Context, root string) (string, error) {
	layer := filepath.Join(workDir, "layer.tar")
	out, err := exec.CommandContext(ctx, "tar", "--create", "--numeric-owner", "--owner=0", "--group=0", "--file", layer, "--directory", root, ".").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("pack the userland: %w: %s", err, out)
	}
	content, err := os.ReadFile(layer)
	if err != nil {
		return "", fmt.Errorf("pack the userland: %w", err)
	}
	config, err := json.Marshal(map[string]any{
		"architecture": runtime.GOARCH, "os": "linux",
		"config": map[string]any{
			"Env":        []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
			"WorkingDir": "/",
		},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{fmt.Sprintf("sha256:%x", sha256.Sum256(content))}},
	})
	if err != nil {
		return "", fmt.Errorf("pack the userland: %w", err)
	}
	manifest, err := json.Marshal([]map[string]any{{
		"Config": "config.json", "RepoTags": []string{userlandName}, "Layers": []string{"layer.tar"},
	}})
	if err != nil {
		return "", fmt.Errorf("pack the userland: %w", err)
	}
	return archive(map[string][]byte{"config.json": config, "layer.tar": content, "manifest.json": manifest})
}

func archive(files map[string][]byte) (path string, err error) {
	var image bytes.Buffer
	w := tar.NewWriter(&image)
	for _, name := range []string{"config.json", "layer.tar", "manifest.json"} {
		header := &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(files[name]))}
		if err := w.WriteHeader(header); err != nil {
			return "", fmt.Errorf("write the image: %w", err)
		}
		if _, err := io.Copy(w, bytes.NewReader(files[name])); err != nil {
			return "", fmt.Errorf("write the image: %w", err)
		}
	}
	if err := w.Close(); err != nil {
		return "", fmt.Errorf("write the image: %w", err)
	}
	path = filepath.Join(workDir, "userland.tar")
	if err := os.WriteFile(path, image.Bytes(), 0o644); err != nil {
		return "", fmt.Errorf("write the image: %w", err)
	}
	return path, nil
}
