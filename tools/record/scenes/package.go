package scenes

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// buildPackage makes tool.deb: a program and a script that dpkg runs after it has
// unpacked it.
func buildPackage(ctx context.Context, script string) error {
	root := filepath.Join(workDir, "tool")
	if err := os.RemoveAll(root); err != nil {
		return fmt.Errorf("build a package: %w", err)
	}
	control := "Package: tool\nVersion: 1.0\nArchitecture: all\nMaintainer: Nobody <nobody@example.org>\nDescription: a tool\n"
	for name, text := range map[string]string{"tool/DEBIAN/control": control, "tool/DEBIAN/postinst": script} {
		if _, err := file(name, text); err != nil {
			return err
		}
	}
	program := filepath.Join(root, "usr/bin/packaged-tool")
	if err := os.MkdirAll(filepath.Dir(program), 0o755); err != nil {
		return fmt.Errorf("build a package: %w", err)
	}
	if err := copyFile(filepath.Join(workDir, "attack"), program); err != nil {
		return err
	}
	deb, err := file("pkg/tool.deb", "")
	if err != nil {
		return err
	}
	if out, err := exec.CommandContext(ctx, "dpkg-deb", "--root-owner-group", "--build", root, deb).CombinedOutput(); err != nil {
		return fmt.Errorf("build a package: %w: %s", err, out)
	}
	return nil
}

// installBox is a container in which a script installs the package.
func installBox(script string) box {
	return box{
		network: true, args: sh(script),
		mounts: []string{"type=bind,src=" + filepath.Join(workDir, "pkg") + ",dst=/pkg,options=rbind:ro"},
	}
}
