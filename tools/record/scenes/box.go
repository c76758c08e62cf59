package scenes

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// What the containers beside the shop are called.
const (
	boxPod       = "worker-6c9f"
	boxNamespace = "store"
	boxUID       = "0b7e3d52-9a41-4c0d-8f36-2f1c5d9e7a10"
)

// box is a container to be.
type box struct {
	image   string   // empty: the userland
	name    string   // empty: worker
	flags   []string // of ctr run
	network bool     // the shop's
	mounts  []string // as ctr has them
	args    []string
}

// sh runs a script as the container's first program.
func sh(script string) []string { return []string{"/bin/sh", "-c", script} }

// flagsOf is the command line of ctr for a box.
func (s *Set) flagsOf(b box, id string) []string {
	args := []string{
		"--fifo-dir", filepath.Join(workDir, "fifo"), "--runc-root", filepath.Join(workDir, "runc"),
		"--cgroup", filepath.Join("/", s.cgroup, "pod"+boxUID, id),
		"--label", "io.cri-containerd.kind=container", "--label", "io.kubernetes.container.name=" + orElse(b.name, "worker"),
		"--label", "io.kubernetes.pod.name=" + boxPod, "--label", "io.kubernetes.pod.namespace=" + boxNamespace,
		"--label", "io.kubernetes.pod.uid=" + boxUID,
	}
	if b.network {
		args = append(args, "--with-ns", "network:/proc/"+s.pid+"/ns/net")
	}
	for _, mount := range b.mounts {
		args = append(args, "--mount", mount)
	}
	args = append(args, b.flags...)
	args = append(args, orElse(b.image, userlandName), id)
	return append(args, b.args...)
}

func orElse(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}

// run runs a box to its end and returns its output. How it ended is the scene's
// to judge, by the output.
func (s *Set) run(ctx context.Context, b box) (string, error) {
	id := newID()
	s.use(id)
	s.started = append(s.started, id)
	args := append([]string{"run"}, s.flagsOf(b, id)...)
	out, err := s.command(ctx, args...).CombinedOutput()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		err = nil
	}
	if err != nil {
		return "", fmt.Errorf("run ctr: %w: %s", err, out)
	}
	return string(out), nil
}

// play runs a box and expects a word in its output.
func play(b box, word string) func(context.Context, *Set) error {
	return func(ctx context.Context, s *Set) error {
		out, err := s.run(ctx, b)
		if err != nil {
			return err
		}
		return expect(out, word)
	}
}

// terminal runs a box at a terminal, at which lines are typed.
func (s *Set) terminal(ctx context.Context, b box, lines string) (string, error) {
	id := newID()
	s.use(id)
	s.started = append(s.started, id)
	b.flags = append(slices.Clone(b.flags), "--tty")
	return s.typed(ctx, lines, append([]string{"run"}, s.flagsOf(b, id)...)...)
}

// typed runs ctr at a terminal of its own.
func (s *Set) typed(ctx context.Context, lines string, args ...string) (string, error) {
	command := exec.CommandContext(ctx, "script", "--quiet", "--command", shellWords(s.command(ctx, args...).Args), os.DevNull)
	command.Stdin = strings.NewReader(lines)
	out, err := command.CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("run ctr at a terminal: %w: %s", err, out)
	}
	return string(out), nil
}

// shellWords quotes a command for a shell.
func shellWords(args []string) string {
	var words []string
	for _, arg := range args {
		words = append(words, "'"+strings.ReplaceAll(arg, "'", `'\''`)+"'")
	}
	return strings.Join(words, " ")
}

// start starts a box that stays and returns its id.
func (s *Set) start(ctx context.Context, b box) (string, error) {
	id := newID()
	args := append([]string{"run", "--detach", "--null-io"}, s.flagsOf(b, id)...)
	s.started = append(s.started, id)
	_, err := s.ctr(ctx, args...)
	return id, err
}

// exec runs a program in a box that was started, as kubectl exec does.
func (s *Set) exec(ctx context.Context, id string, args ...string) (string, error) {
	s.use(id)
	return s.ctr(ctx, append([]string{"tasks", "exec", "--fifo-dir", filepath.Join(workDir, "fifo"), "--exec-id", newID()[:16], id}, args...)...)
}

// execFed is exec with its standard input from a pipe.
func (s *Set) execFed(ctx context.Context, id, input string, args ...string) (string, error) {
	s.use(id)
	command := s.command(ctx, append([]string{"tasks", "exec", "--fifo-dir", filepath.Join(workDir, "fifo"), "--exec-id", newID()[:16], id}, args...)...)
	command.Stdin = strings.NewReader(input)
	out, err := command.CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("run ctr with input: %w: %s", err, out)
	}
	return string(out), nil
}

// execTyped is exec at a terminal.
func (s *Set) execTyped(ctx context.Context, id, lines string, args ...string) (string, error) {
	s.use(id)
	return s.typed(ctx, lines, append([]string{"tasks", "exec", "--tty", "--fifo-dir", filepath.Join(workDir, "fifo"), "--exec-id", newID()[:16], id}, args...)...)
}

// remove ends a box and removes what containerd knows of it.
func (s *Set) remove(ctx context.Context, id string) error {
	// Either may be gone already: what counts is that nothing is left.
	_, task := s.ctr(ctx, "tasks", "delete", "--force", id)
	_, err := s.ctr(ctx, "containers", "delete", id)
	left, list := s.ctr(ctx, "containers", "list", "--quiet")
	if strings.Contains(left, id) {
		return errors.Join(fmt.Errorf("container %s is left", id), task, err)
	}
	for _, pattern := range []string{"/sys/fs/cgroup/", "/sys/fs/cgroup/*/"} {
		folders, glob := filepath.Glob(pattern + s.cgroup + "/pod" + boxUID)
		list = errors.Join(list, glob)
		for _, folder := range folders {
			if remove := os.Remove(folder); remove != nil && !errors.Is(remove, os.ErrNotExist) {
				list = errors.Join(list, fmt.Errorf("remove cgroup: %w", remove))
			}
		}
	}
	return list
}

func (s *Set) command(ctx context.Context, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, "ctr", append([]string{"--address", s.socket(), "--namespace", "k8s.io"}, args...)...)
}

// ctr runs containerd's own client.
func (s *Set) ctr(ctx context.Context, args ...string) (string, error) {
	var complaint strings.Builder
	command := s.command(ctx, args...)
	command.Stderr = &complaint
	out, err := command.Output()
	if err != nil {
		return string(out), fmt.Errorf("run ctr %s: %w: %s", strings.Join(args[:min(2, len(args))], " "), err, complaint.String())
	}
	return string(out), nil
}

// file puts a file into the folder to work in and returns its path.
func file(name, content string) (string, error) {
	path := filepath.Join(workDir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return "", fmt.Errorf("write %s: %w", name, err)
	}
	if err := os.WriteFile(path, []byte(content), 0o755); err != nil {
		return "", fmt.Errorf("write %s: %w", name, err)
	}
	return path, nil
}

// expect returns an error unless the text holds the word.
func expect(text, word string) error {
	if !strings.Contains(text, word) {
		return fmt.Errorf("expected %q in: %.800s", word, text)
	}
	return nil
}

// readAll reads what a peer says until it hangs up.
func readAll(r io.Reader) (string, error) {
	text, err := io.ReadAll(io.LimitReader(r, 1<<16))
	return string(text), err
}
