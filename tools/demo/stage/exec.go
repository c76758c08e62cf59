package stage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/cio"
)

// Exec runs a program in the container, as a probe or a scheduler does through
// the runtime: without a terminal. It returns what the program wrote, and an
// error unless it ended with 0.
func (s *Stage) Exec(ctx context.Context, args ...string) (string, error) {
	return s.exec(ctx, nil, args)
}

// ExecTerminal runs a program in the container with a terminal, on which input is
// typed: kubectl exec -it.
func (s *Stage) ExecTerminal(ctx context.Context, input string, args ...string) (string, error) {
	return s.exec(ctx, strings.NewReader(input), args)
}

func (s *Stage) exec(ctx context.Context, terminal io.Reader, args []string) (string, error) {
	spec, err := s.pod.container.Spec(ctx)
	if err != nil {
		return "", fmt.Errorf("read the container's spec: %w", err)
	}
	process := spec.Process
	process.Args = args
	process.Terminal = terminal != nil
	out := newOutput()
	streams := []cio.Opt{cio.WithFIFODir(s.path("fifo")), cio.WithStreams(nil, out, out)}
	if terminal != nil {
		streams = append(streams, cio.WithStreams(terminal, out, nil), cio.WithTerminal)
	}
	id := fmt.Sprintf("exec-%d", s.pod.execs.Add(1))
	entered, err := s.pod.task.Exec(ctx, id, process, cio.NewCreator(streams...))
	if err != nil {
		return "", fmt.Errorf("enter the container: %w", err)
	}
	err = finish(ctx, entered)
	if _, delete := entered.Delete(context.WithoutCancel(ctx), client.WithProcessKill); delete != nil {
		err = errors.Join(err, fmt.Errorf("delete process: %w", delete))
	}
	if err != nil {
		return out.String(), fmt.Errorf("run %s in the container: %w: %s", args[0], err, out)
	}
	return out.String(), nil
}

// finish starts the process and waits for its end and the end of its output.
func finish(ctx context.Context, process client.Process) error {
	ended, err := process.Wait(ctx)
	if err != nil {
		return err
	}
	if err := process.Start(ctx); err != nil {
		return err
	}
	status := <-ended
	code, _, err := status.Result()
	if err != nil {
		return err
	}
	process.IO().Wait()
	if code != 0 {
		return fmt.Errorf("it ended with %d", code)
	}
	return nil
}
