package main

import (
	"context"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/seawall-security/seawall/internal/testpriv"
)

var update = flag.Bool("update", false, "write testdata/detections.json instead of comparing with it")

// TestDemo is the demo as users run it: real containers, kernel hooks and HTTP.
// The honest day must be silent and the break-in must raise what the golden file says.
func TestDemo(t *testing.T) {
	needs(t)
	agent := build(t, "github.com/seawall-security/seawall/agent")
	collector := build(t, "github.com/seawall-security/seawall/collector")
	args := []string{
		"-agent", agent, "-golden", filepath.Join("testdata", "detections.json"),
		"-collector", collector, "-golden-alerts", filepath.Join("testdata", "alerts.json"),
	}
	if *update {
		args = append(args, "-update")
	}
	show(t, args...)
}

// TestScene plays without an agent: it fails where the scene itself is broken.
func TestScene(t *testing.T) {
	needs(t)
	show(t, "-agent", noAgent)
}

func show(t *testing.T, args ...string) {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	actor := build(t, "github.com/seawall-security/seawall/tools/attack")
	if err := run(ctx, append(args, "-actor", actor), t.Output()); err != nil {
		t.Fatal(err)
	}
}

func needs(t *testing.T) {
	testpriv.Root(t)
	for _, program := range []string{"go", "containerd", "containerd-shim-runc-v2", "runc", "ip", "apt-get", "dpkg-deb"} {
		testpriv.Program(t, program)
	}
}

// build makes a static binary of a package.
func build(t *testing.T, pkg string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), filepath.Base(pkg))
	command := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-o", path, pkg)
	command.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := command.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", pkg, err, out)
	}
	return path
}
