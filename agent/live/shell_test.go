package live

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/pkg/cio"
	"github.com/containerd/containerd/v2/pkg/oci"

	"github.com/seawall-security/seawall/internal/testcontainerd"
)

// shell is a busybox shell that does what it is asked, line by line.
type shell struct {
	in    io.WriteCloser
	lines *bufio.Scanner
	// out ends with the shell: who asks one that has ended must not wait for ever.
	out *io.PipeWriter
}

// loop is what it runs: every line, then an answer.
const loop = `while read -r line; do eval "$line"; echo done; done`

// inside is a running container whose first program is a shell.
type inside struct {
	shell
	n       *node
	running *testcontainerd.Running
	execs   int
}

// shell starts a container.
func (n *node) shell(t *testing.T, id string, opts ...oci.SpecOpts) *inside {
	t.Helper()
	c := testcontainerd.Create(t, n.ctx, n.client, n.image, id, []string{"sh", "-c", loop}, opts...)
	s, streams := newShell(n)
	running, err := testcontainerd.Launch(n.ctx, c, streams)
	if err != nil {
		t.Fatalf("%v\n%s", err, n.daemon.Log())
	}
	ended, err := running.Task.Wait(n.ctx)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		if status := <-ended; status.Error() == nil { // else containerd has gone, not the shell
			s.out.CloseWithError(errors.New("its container has ended"))
		}
	}()
	return &inside{shell: s, n: n, running: running}
}

func newShell(n *node) (shell, cio.Creator) {
	in, ours := io.Pipe()
	out, theirs := io.Pipe()
	streams := cio.NewCreator(cio.WithStreams(in, theirs, theirs), cio.WithFIFODir(n.daemon.FIFOs()))
	return shell{in: ours, lines: bufio.NewScanner(out), out: theirs}, streams
}

// ask has the shell do something and waits until it has.
func (s *shell) ask(t *testing.T, line string) {
	t.Helper()
	if _, err := io.WriteString(s.in, line+"\n"); err != nil {
		t.Fatal(err)
	}
	for s.lines.Scan() {
		if s.lines.Text() == "done" {
			return
		}
		t.Logf("shell: %s", s.lines.Text())
	}
	t.Fatalf("the shell ended: %v", s.lines.Err())
}

// remove ends a container, also through a client newer than the one that started it.
func (i *inside) remove(t *testing.T) {
	t.Helper()
	if err := i.running.Remove(i.n.ctx, true); err != nil {
		t.Error(err)
	}
}

// entered is a shell that came into a container from outside.
type entered struct {
	shell
	wait func() error // for its end
}

// enter starts one, without a terminal.
func (i *inside) enter(t *testing.T, n *node) *entered {
	t.Helper()
	s, streams := newShell(n)
	return &entered{shell: s, wait: i.start(t, n, false, []string{"/bin/busybox", "sh", "-c", loop, "entered"}, streams)}
}

// leave has the shell end by the end of its input.
func (e *entered) leave(t *testing.T) {
	t.Helper()
	if _, err := io.WriteString(e.in, "exit 0\n"); err != nil {
		t.Error(err)
	}
	if err := e.wait(); err != nil {
		t.Error(err)
	}
}

// exec runs a program in the container to its end.
func (i *inside) exec(t *testing.T, n *node, tty bool, args []string) {
	t.Helper()
	streams := cio.NullIO
	if tty {
		streams = cio.NewCreator(cio.WithFIFODir(n.daemon.FIFOs()), cio.WithStreams(strings.NewReader(""), io.Discard, nil), cio.WithTerminal)
	}
	if err := i.start(t, n, tty, args, streams)(); err != nil {
		t.Fatal(err)
	}
}

// start starts a program in the container; wait returns when it has ended.
func (i *inside) start(t *testing.T, n *node, tty bool, args []string, streams cio.Creator) (wait func() error) {
	t.Helper()
	spec, err := i.running.Container.Spec(n.ctx)
	if err != nil {
		t.Fatal(err)
	}
	process := *spec.Process
	process.Args, process.Terminal = args, tty
	i.execs++
	task, err := i.running.Task.Exec(n.ctx, fmt.Sprintf("exec-%d", i.execs), &process, streams)
	if err != nil {
		t.Fatal(err)
	}
	ended, err := task.Wait(n.ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := task.Start(n.ctx); err != nil {
		t.Fatalf("%v\n%s", err, n.daemon.Log())
	}
	return func() error {
		var status error
		select {
		case s := <-ended:
			if s.ExitCode() != 0 {
				status = fmt.Errorf("%q ended with %d: %w", args, s.ExitCode(), s.Error())
			}
		case <-n.ctx.Done():
			return n.ctx.Err()
		}
		_, err := task.Delete(n.ctx)
		return errors.Join(status, err)
	}
}
