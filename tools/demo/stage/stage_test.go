package stage_test

import (
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/seawall-security/seawall/internal/testpriv"
	"github.com/seawall-security/seawall/tools/demo/image"
	"github.com/seawall-security/seawall/tools/demo/stage"
)

// TestStage serves a page, enters the container both ways and expects that
// closing leaves nothing: no mounts, no cgroups, no folders, no processes.
func TestStage(t *testing.T) {
	testpriv.Root(t)
	for _, program := range []string{"containerd", "containerd-shim-runc-v2", "runc", "ip", "apt-get", "dpkg-deb"} {
		testpriv.Program(t, program)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	cache, err := image.DefaultCache()
	if err != nil {
		t.Fatal(err)
	}
	shop, err := image.Build(ctx, cache)
	if err != nil {
		t.Fatal(err)
	}
	set, err := stage.Open(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := set.Run(ctx, shop); err != nil {
		t.Errorf("run: %v", err)
	} else {
		visit(ctx, t, set)
	}
	dir := filepath.Dir(set.Socket())
	if err := set.Close(ctx); err != nil {
		t.Errorf("close: %v", err)
	}
	expectNothing(t, dir, set.ContainerID())
}

func visit(ctx context.Context, t *testing.T, set *stage.Stage) {
	response, err := set.HTTP(stage.Visitor).Get(set.URL() + "/")
	if err != nil {
		t.Error(err)
		return
	}
	defer response.Body.Close()
	page, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK || !strings.Contains(string(page), "Harbour Supplies") {
		t.Errorf("GET /: %s, %v, %s", response.Status, err, page)
	}
	access, err := set.Exec(ctx, "/bin/sh", "-c", "id; tty; cat /var/log/lighttpd/access.log")
	for _, want := range []string{"uid=33(www-data)", "not a tty", stage.Visitor.String()} {
		if err != nil || !strings.Contains(access, want) {
			t.Errorf("exec: want %q in its output: %v: %s", want, err, access)
		}
	}
	typed, err := set.ExecTerminal(ctx, "tty\nexit 0\n", "/bin/sh")
	if err != nil || !strings.Contains(typed, "/dev/pts/0") {
		t.Errorf("exec with a terminal: %v: %s", err, typed)
	}
	if _, err := set.Exec(ctx, "/bin/false"); err == nil {
		t.Error("exec of false: no error")
	}
}

func expectNothing(t *testing.T, dir, id string) {
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("the stage's folder is still there: %v", err)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil || strings.Contains(string(mounts), dir) {
		t.Errorf("mounts below %s are left (%v)", dir, err)
	}
	for _, pattern := range []string{"/sys/fs/cgroup/seawall-demo-" + id[:12], "/sys/fs/cgroup/*/seawall-demo-" + id[:12]} {
		if left, _ := filepath.Glob(pattern); len(left) > 0 {
			t.Errorf("cgroups are left: %v", left)
		}
	}
	commands, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range commands {
		// Processes may end while we look.
		if command, err := os.ReadFile(path); err == nil && (strings.Contains(string(command), id) || strings.Contains(string(command), dir)) {
			t.Errorf("%s is left: %q", path, command)
		}
	}
}
