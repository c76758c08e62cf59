package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

const keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"

// apt is apt-get with its own sources, lists and cache, so that the suites of
// other Debian releases never touch those of the host. Packages are believed by
// apt's own means: the signatures of the suites, with Debian's keyring.
type apt struct {
	line   line
	dir    string
	config string
	log    io.Writer
}

// openApt writes a private apt state into dir and reads the package lists of the
// line's suites into it.
func openApt(ctx context.Context, l line, dir string, log io.Writer) (*apt, error) {
	if _, err := os.Stat(keyring); err != nil {
		return nil, errors.New("find Debian's archive keys: install the package debian-archive-keyring")
	}
	a := &apt{line: l, dir: dir, config: filepath.Join(dir, "apt.conf"), log: log}
	main, security, err := a.mirror(ctx)
	if err != nil {
		return nil, err
	}
	for _, d := range []string{"lists/partial", "cache/archives/partial"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return nil, err
		}
	}
	var sources strings.Builder
	for _, suite := range l.suites {
		uri := main
		if strings.HasSuffix(suite, "-security") {
			uri = security
		}
		fmt.Fprintf(&sources, "deb [arch=amd64 signed-by=%s] %s %s main\n", keyring, uri, suite)
	}
	config := fmt.Sprintf("Dir::Etc::sourcelist %q;\nDir::Etc::sourceparts \"/dev/null\";\n"+
		"Dir::State::Lists %q;\nDir::Cache %q;\nAcquire::Languages \"none\";\nAcquire::Retries \"3\";\nAPT::Sandbox::User \"root\";\n",
		filepath.Join(dir, "sources.list"), filepath.Join(dir, "lists"), filepath.Join(dir, "cache"))
	if err := errors.Join(
		os.WriteFile(filepath.Join(dir, "sources.list"), []byte(sources.String()), 0o644),
		os.WriteFile(a.config, []byte(config), 0o644),
	); err != nil {
		return nil, err
	}
	return a, nil
}

// mirror returns the base addresses of Debian's main and security archives that
// the host uses itself.
func (a *apt) mirror(ctx context.Context) (main, security string, err error) {
	if uri := os.Getenv("SEAWALL_DEBIAN_MIRROR"); uri != "" {
		uri = strings.TrimRight(uri, "/")
		return uri, uri + "-security", nil
	}
	out, err := a.output(ctx, "", "apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages")
	if err != nil {
		return "", "", fmt.Errorf("find the host's mirror: %w", err)
	}
	for uri := range strings.FieldsSeq(out) {
		uri = strings.TrimRight(uri, "/")
		switch {
		case main == "" && strings.HasSuffix(uri, "/debian"):
			main = uri
		case security == "" && strings.HasSuffix(uri, "/debian-security"):
			security = uri
		}
	}
	if main == "" {
		return "", "", errors.New("find the host's mirror: apt has no source that ends in /debian; set SEAWALL_DEBIAN_MIRROR to one")
	}
	if security == "" {
		security = main + "-security"
	}
	return main, security, nil
}

// update reads the package lists. One of the suites may be missing from the
// mirror as long as the rest carries the kernel: the caller decides.
func (a *apt) update(ctx context.Context) error {
	_, err := a.output(ctx, "", "apt-get", "-qq", "-o", "APT::Update::Error-Mode=any", "update")
	return err
}

// newest returns the release of the line's newest cloud kernel: 6.1.0-56-cloud-amd64.
func (a *apt) newest(ctx context.Context) (string, error) {
	out, err := a.output(ctx, "", "apt-cache", "search", "--names-only", "^linux-image-[0-9].*-cloud-amd64$")
	if err != nil {
		return "", err
	}
	best := ""
	for row := range strings.Lines(out) {
		name, _, _ := strings.Cut(row, " ")
		release, found := strings.CutPrefix(name, "linux-image-")
		if found && strings.HasPrefix(release, a.line.version) && (best == "" || newer(release, best)) {
			best = release
		}
	}
	return best, nil
}

// newer compares releases by the numbers in them, first to last.
func newer(a, b string) bool {
	x, y := numbers(a), numbers(b)
	for i := range min(len(x), len(y)) {
		if x[i] != y[i] {
			return x[i] > y[i]
		}
	}
	return len(x) > len(y)
}

func numbers(release string) []int {
	var all []int
	for field := range strings.FieldsFuncSeq(release, func(r rune) bool { return r < '0' || r > '9' }) {
		n, err := strconv.Atoi(field)
		if err == nil {
			all = append(all, n)
		}
	}
	return all
}

// download puts the packages of a kernel release into dir. Since 7.x the image
// package is split in several.
func (a *apt) download(ctx context.Context, release, dir string) error {
	packages := []string{"linux-image-" + release}
	for _, prefix := range []string{"linux-binary-", "linux-modules-", "linux-base-"} {
		out, err := a.output(ctx, "", "apt-cache", "search", "--names-only", "^"+strings.ReplaceAll(prefix+release, "+", "[+]")+"$")
		if err != nil {
			return err
		}
		if out != "" {
			packages = append(packages, prefix+release)
		}
	}
	fmt.Fprintf(a.log, "downloading %s\n", strings.Join(packages, " "))
	_, err := a.output(ctx, dir, "apt-get", append([]string{"-qq", "download"}, packages...)...)
	return err
}

// output runs a program of apt with the private state, in dir, and returns its
// stdout; its stderr becomes part of the error.
func (a *apt) output(ctx context.Context, dir, name string, args ...string) (string, error) {
	c := exec.CommandContext(ctx, name, args...)
	c.Dir = dir
	c.Env = append(os.Environ(), "LC_ALL=C")
	if _, err := os.Stat(a.config); err == nil {
		c.Env = append(c.Env, "APT_CONFIG="+a.config)
	}
	return output(c)
}

// output runs a program and returns its stdout; its stderr becomes part of the error.
func output(c *exec.Cmd) (string, error) {
	var stdout, stderr bytes.Buffer
	c.Stdout, c.Stderr = &stdout, &stderr
	if err := c.Run(); err != nil {
		return "", fmt.Errorf("%s: %w: %s", filepath.Base(c.Path), err, bytes.TrimSpace(stderr.Bytes()))
	}
	return stdout.String(), nil
}
