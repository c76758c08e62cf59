package intrusion

import (
	"context"
	"fmt"
	"io"
	"net"
	"time"
)

// converse takes one connection, says its lines and returns what it hears until
// the other side hangs up.
func converse(ctx context.Context, listener *net.TCPListener, lines string) (string, error) {
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = time.Now().Add(backTimeout)
	}
	if err := listener.SetDeadline(deadline); err != nil {
		return "", fmt.Errorf("bound the wait: %w", err)
	}
	conn, err := listener.Accept()
	if err != nil {
		return "", fmt.Errorf("wait for the shell: %w", err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(deadline); err != nil {
		return "", fmt.Errorf("bound the talk: %w", err)
	}
	if _, err := io.WriteString(conn, lines); err != nil {
		return "", fmt.Errorf("talk to the shell: %w", err)
	}
	heard, err := io.ReadAll(io.LimitReader(conn, 1<<16))
	if err != nil {
		return "", fmt.Errorf("listen to the shell: %w", err)
	}
	return string(heard), nil
}
