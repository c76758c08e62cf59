package local

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/seawall-security/seawall/internal/tlsconf"
)

// readyTimeout bounds a collector's start: it reads what it has.
const readyTimeout = time.Minute

// Collector is seawall-collector and where its data is.
type Collector struct {
	// Path is the binary's, Flags (--data-dir, --config) are of all its commands.
	Path  string
	Flags []string
}

// Start runs it until it listens, and returns the address. take gets its log line by
// line; nil: nobody does.
func (c Collector) Start(ctx context.Context, take func(line []byte) error, flags ...string) (p *Process, address string, err error) {
	p, err = Start(ctx, Program{
		Name: "collector", Command: exec.Command(c.Path, slices.Concat(c.Flags, flags)...), Ready: "ready: ", Within: readyTimeout, Err: take,
	})
	if err != nil {
		return nil, "", err
	}
	_, address, _ = strings.Cut(p.Ready(), " listens on ")
	return p, address, nil
}

// Ask runs one of its commands, whether the collector runs or not, and returns what that
// prints.
func (c Collector) Ask(ctx context.Context, words string, more ...string) (string, error) {
	var complaints bytes.Buffer
	command := exec.CommandContext(ctx, c.Path, slices.Concat(strings.Fields(words), c.Flags, more)...)
	command.Stderr = &complaints
	out, err := command.Output()
	if err != nil {
		return "", fmt.Errorf("seawall-collector %s: %w: %s", words, err, strings.TrimSpace(complaints.String()))
	}
	return strings.TrimSpace(string(out)), nil
}

// Client makes a client's credentials in a folder.
func (c Collector) Client(ctx context.Context, name, role, folder string) error {
	_, err := c.Ask(ctx, "client create "+name, "--role", role, "--out", folder)
	return err
}

// Dial connects with a client's credentials.
func Dial(address, folder string) (*grpc.ClientConn, error) {
	material, err := tlsconf.Files{
		Certificate: filepath.Join(folder, "client.crt"), Key: filepath.Join(folder, "client.key"), Roots: filepath.Join(folder, "ca.crt"),
	}.Load()
	if err != nil {
		return nil, err
	}
	config := tlsconf.ClientConfig(tlsconf.NewSource(material), tlsconf.Peers{Roles: []tlsconf.Role{tlsconf.Collector}}, time.Now)
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(credentials.NewTLS(config)))
	if err != nil {
		return nil, fmt.Errorf("connect to the collector: %w", err)
	}
	return conn, nil
}
