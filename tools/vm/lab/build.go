package lab

import (
	"context"
	"os"
	"os/exec"
)

// Build compiles a package's program for the guest: static, for x86-64.
func Build(ctx context.Context, program, pkg string) error {
	return goTool(ctx, "build", "-trimpath", "-ldflags=-w", "-o", program, pkg)
}

// BuildTest compiles a package's tests into a program for the guest.
func BuildTest(ctx context.Context, program, pkg string) error {
	return goTool(ctx, "test", "-trimpath", "-ldflags=-w", "-c", "-o", program, pkg)
}

func goTool(ctx context.Context, args ...string) error {
	c := exec.CommandContext(ctx, "go", args...)
	c.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64")
	_, err := output(c)
	return err
}
