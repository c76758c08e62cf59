// Package testpriv decides what becomes of a test whose machine lacks what the
// test needs: root, a program, or a kernel feature.
//
// On a developer's machine such a test is skipped, with the reason and what to
// do about it. Where the environment says CI=true nothing is skipped: what a
// test needs is set up there (make setup), so that its absence is a failure.
// Tests go through this package and never call Skip themselves.
//
// Like Skip and Fatal, the functions here must be called from the goroutine
// that runs the test.
package testpriv

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
)

// Root goes on only if the test runs as root.
func Root(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		lacking(t, "needs root: run it with sudo -E, or run make test")
	}
}

// Program goes on only if the program can be found, and returns its absolute
// path. Beside PATH it looks into the system's sbin folders, which many users'
// PATH leaves out although Debian installs runc and debootstrap there.
func Program(t testing.TB, name string) string {
	t.Helper()
	path, ok := find(name, "/usr/local/sbin", "/usr/sbin", "/sbin")
	if !ok {
		lacking(t, "needs the program %s, which is not installed: run make setup", name)
	}
	return path
}

// Built goes on only if a program is there that a target of the Makefile builds, and
// returns its path.
func Built(t testing.TB, path, target string) string {
	t.Helper()
	if _, err := os.Stat(path); err != nil {
		lacking(t, "needs %s: run %s", filepath.Base(path), target)
	}
	return path
}

// Feature goes on only if err is nil. Another err is why a feature of the
// kernel, which the test cannot do without, could not be had:
//
//	link, err := link.AttachLSM(options)
//	testpriv.Feature(t, "BPF LSM programs", err)
//
// It is for what the machine may rightly refuse. An error that means a defect
// of the code under test belongs in t.Fatal.
func Feature(t testing.TB, name string, err error) {
	t.Helper()
	if err != nil {
		lacking(t, "needs %s, which this kernel refuses: %v (make test-kernels runs it in VMs whose kernels have it)", name, err)
	}
}

// lacking ends the test: as a failure under CI, skipped elsewhere.
func lacking(t testing.TB, format string, args ...any) {
	t.Helper()
	if demanded() {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}

// demanded reports whether this run is expected to have everything.
func demanded() bool {
	ci, err := strconv.ParseBool(os.Getenv("CI"))
	return err == nil && ci
}

// find looks a program up in PATH, then in folders.
func find(name string, folders ...string) (string, bool) {
	if path, err := exec.LookPath(name); err == nil {
		if path, err = filepath.Abs(path); err == nil {
			return path, true
		}
	}
	for _, folder := range folders {
		if path, err := exec.LookPath(filepath.Join(folder, name)); err == nil {
			return path, true
		}
	}
	return "", false
}
