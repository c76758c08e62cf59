package image

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// packages are what the image asks for; apt adds what they depend on. The two at
// the end are the lightest choices for dependencies that would otherwise bring an
// init system.
var packages = []string{
	"lighttpd", "php-cgi", "curl",
	"base-files", "base-passwd", "coreutils", "dash", "findutils", "gzip",
	"sysvinit-utils", "usr-is-merged",
}

// apt asks the host's apt as if nothing were installed, without touching the
// host's own state.
type apt struct {
	options  []string
	archives string
}

func newApt(work string) (*apt, error) {
	status := filepath.Join(work, "status")
	if err := os.WriteFile(status, nil, 0o644); err != nil {
		return nil, fmt.Errorf("write an empty package status: %w", err)
	}
	archives := filepath.Join(work, "archives")
	if err := os.MkdirAll(filepath.Join(archives, "partial"), 0o755); err != nil {
		return nil, fmt.Errorf("make the download folder: %w", err)
	}
	return &apt{archives: archives, options: []string{
		"-qq", "-y", "--no-install-recommends",
		"-o", "Dir::State::status=" + status,
		"-o", "Dir::Cache::archives=" + archives,
		"-o", "Dir::Cache::pkgcache=", "-o", "Dir::Cache::srcpkgcache=",
		"-o", "Debug::NoLocking=1", "-o", "APT::Sandbox::User=root",
	}}, nil
}

// key names the set of packages by their names, versions and checksums.
func (a *apt) key(ctx context.Context) (string, error) {
	list, err := a.install(ctx, "--print-uris")
	if err != nil {
		return "", fmt.Errorf("resolve packages (apt-get update may help): %w", err)
	}
	// A line is: 'URI' file size checksum. The mirror does not matter.
	var named []string
	for line := range strings.Lines(string(list)) {
		if fields := strings.Fields(line); len(fields) >= 3 {
			named = append(named, strings.Join(fields[1:], " "))
		}
	}
	if len(named) == 0 {
		return "", errors.New("resolve packages: apt-get named none")
	}
	slices.Sort(named)
	sum := sha256.Sum256([]byte(layout + strings.Join(named, "\n")))
	return hex.EncodeToString(sum[:8]), nil
}

// download fetches the packages and returns their files in order of their names.
func (a *apt) download(ctx context.Context) ([]string, error) {
	if _, err := a.install(ctx, "--download-only"); err != nil {
		return nil, fmt.Errorf("download packages: %w", err)
	}
	return filepath.Glob(filepath.Join(a.archives, "*.deb"))
}

func (a *apt) install(ctx context.Context, how string) ([]byte, error) {
	args := append(slices.Clone(a.options), how, "install")
	return output(ctx, "apt-get", append(args, packages...)...)
}

func output(ctx context.Context, name string, args ...string) ([]byte, error) {
	var errs bytes.Buffer
	command := exec.CommandContext(ctx, name, args...)
	command.Env = append(os.Environ(), "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive")
	command.Stderr = &errs
	out, err := command.Output()
	if err != nil {
		return nil, fmt.Errorf("run %s: %w: %s", name, err, strings.TrimSpace(errs.String()))
	}
	return out, nil
}

// layout is part of the base layer's key: it changes when mergePackages does.
const layout = "1\n"

// unwanted is what no container needs.
var unwanted = regexp.MustCompile(`^usr/share/(doc|man|locale|info|lintian|bug|menu|zoneinfo)/.`)

// merged are the folders of the root that are links into usr.
var merged = []string{"bin", "lib", "lib32", "lib64", "libx32", "sbin"}

var interpreter = regexp.MustCompile(`^usr/bin/php-cgi[0-9.]+$`)

// mergePackages writes the packages' files as one layer. No maintainer script
// runs; what the image needs of their work (user database, package status, the
// links in /var, the php-cgi alternative) is done here.
func mergePackages(ctx context.Context, packages []string, w io.Writer) error {
	layer := newLayer(w)
	for _, name := range merged {
		layer.link(name, "usr/"+name)
	}
	layer.link("var/run", "/run")
	layer.link("var/lock", "/run/lock")
	var status bytes.Buffer
	for _, file := range packages {
		control, err := output(ctx, "dpkg-deb", "--field", file)
		if err != nil {
			return err
		}
		name, rest, _ := bytes.Cut(control, []byte("\n"))
		fmt.Fprintf(&status, "%s\nStatus: install ok installed\n%s\n", name, rest)
		if err := mergePackage(ctx, file, layer); err != nil {
			return fmt.Errorf("merge %s: %w", filepath.Base(file), err)
		}
	}
	layer.file("var/lib/dpkg/status", 0o644, 0, status.Bytes())
	return layer.close()
}

func mergePackage(ctx context.Context, file string, layer *layer) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	command := exec.CommandContext(ctx, "dpkg-deb", "--fsys-tarfile", file)
	pipe, err := command.StdoutPipe()
	if err != nil {
		return fmt.Errorf("open a pipe: %w", err)
	}
	if err := command.Start(); err != nil {
		return fmt.Errorf("run dpkg-deb: %w", err)
	}
	err = copyFiles(tar.NewReader(pipe), layer)
	if err == nil {
		// Padding behind the archive's end has to be read, or dpkg-deb dies of a broken pipe.
		_, err = io.Copy(io.Discard, pipe)
	}
	if err != nil {
		cancel()
	}
	return errors.Join(err, command.Wait())
}

func copyFiles(from *tar.Reader, layer *layer) error {
	for {
		header, err := from.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read package: %w", err)
		}
		name := mergedName(header.Name)
		if name == "." || slices.Contains(merged, name) || unwanted.MatchString(name) {
			continue
		}
		switch {
		case name == "usr/share/base-passwd/passwd.master", name == "usr/share/base-passwd/group.master":
			content, err := io.ReadAll(from)
			if err != nil {
				return fmt.Errorf("read %s: %w", name, err)
			}
			layer.file("etc/"+strings.TrimSuffix(path.Base(name), ".master"), 0o644, 0, content)
			continue
		case interpreter.MatchString(name):
			layer.link("usr/bin/php-cgi", "/etc/alternatives/php-cgi")
			layer.link("etc/alternatives/php-cgi", "/"+name)
		}
		kept := &tar.Header{
			Typeflag: header.Typeflag, Name: name, Linkname: header.Linkname, Size: header.Size,
			Mode: header.Mode, Uid: header.Uid, Gid: header.Gid, ModTime: header.ModTime.Truncate(time.Second),
		}
		if header.Typeflag == tar.TypeLink {
			kept.Linkname = mergedName(header.Linkname)
		}
		layer.entry(kept, from)
	}
}

// mergedName is where a package's file is once /bin and its like are links into /usr.
func mergedName(name string) string {
	name = strings.TrimPrefix(path.Clean("/"+name), "/")
	if name == "" {
		return "."
	}
	if first, _, below := strings.Cut(name, "/"); below && slices.Contains(merged, first) {
		return "usr/" + name
	}
	return name
}
