package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seawall-security/seawall/internal/testpriv"
	"github.com/seawall-security/seawall/tools/vm/lab"
)

// TestInGuest performs every action in an initramfs that holds nothing else.
func TestInGuest(t *testing.T) {
	for _, name := range []string{"qemu-system-x86_64", "busybox", "apt-get", "dpkg-deb"} {
		testpriv.Program(t, name)
	}
	kernel, err := lab.Fetch(t.Context(), "6.1", os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	guestProgram := filepath.Join(dir, "attack")
	if err := lab.Build(t.Context(), guestProgram, "."); err != nil {
		t.Fatal(err)
	}
	steps := [][]string{
		{"exec", "-n", "2"}, {"exec", "-child", "tiny"}, {"burst-args"}, {"storm", "-opens", "1000", "-execs", "20", "-child", "tiny"},
		{"memfd-exec"}, {"deleted-exec"},
		{"create"}, {"open-write"}, {"read", "/etc/passwd"}, {"rename"}, {"unlink"}, {"chmod"},
		{"knob", "/proc/sys/kernel/core_pattern"}, {"knob", "/proc/sys/kernel/modprobe"}, {"bad-path"},
		{"compat-open", "/etc/passwd"}, {"wide-open", "/etc/passwd"}, {"io_uring-open", "/etc/passwd"},
		{"deep-rename"}, {"crowd"}, {"mprotect", "-behind"}, {"mprotect", "-busy", "4"}, {"read-implies-exec"},
		{"accept"}, {"mprotect"}, {"mmap-wx"}, {"mmap-memfd-exec"},
		{"setns", "/proc/1/ns/net", "/proc/1/ns/mnt", "/proc/1/ns/uts"},
	}
	text, err := json.Marshal(steps)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "sequence.json")
	if err := os.WriteFile(file, text, 0o644); err != nil {
		t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	m := lab.Machine{
		Kernel: kernel, Stdout: &stdout, Stderr: &stderr,
		Files: []lab.File{{Source: guestProgram, Target: "/bin/attack"}, {Source: file, Target: "/srv/sequence.json"}},
	}
	result, err := m.Run(t.Context(), "attack", "-dir", "/root", "sequence", "-keep-going", "/srv/sequence.json")
	if err != nil {
		t.Fatal(err)
	}
	if result.Status != 0 || strings.Count(stdout.String(), `"result":"ok"`) != len(steps)+1 {
		t.Errorf("status %d\n%s%s", result.Status, &stdout, &stderr)
	}
	t.Logf("%s: boot %v, %d actions %v", kernel.Release, result.Boot, len(steps), result.Took)
}
