package main

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/seawall-security/seawall/internal/tlsconf"
)

// Where a collector of this host and a client's credentials are looked for, if
// neither a flag nor the environment says otherwise.
const (
	defaultCollector   = "127.0.0.1:9443"
	defaultCredentials = "/etc/seawall/client"
)

// remote is what commands that ask a collector have in common.
type remote struct {
	*flag.FlagSet
	collector, credentials, format string
}

// newRemote makes the flags of such a command.
func newRemote(words string) *remote {
	r := &remote{FlagSet: flag.NewFlagSet("seawallctl "+words, flag.ContinueOnError)}
	r.SetOutput(io.Discard) // errors are returned, not printed twice
	r.StringVar(&r.collector, "collector", cmp.Or(os.Getenv("SEAWALL_COLLECTOR"), defaultCollector), "`host:port` of the collector (or SEAWALL_COLLECTOR)")
	r.StringVar(&r.credentials, "credentials", cmp.Or(os.Getenv("SEAWALL_CREDENTIALS"), defaultCredentials), "`folder` with client.crt, client.key and ca.crt (or SEAWALL_CREDENTIALS)")
	r.StringVar(&r.format, "o", "text", "print as `text|json`")
	return r
}

// parseFlags takes flags, which may stand before or behind arguments, and returns the
// arguments. Asked for help it writes that to out.
func parseFlags(flags *flag.FlagSet, args []string, out io.Writer) (rest []string, err error) {
	for {
		if err := flags.Parse(args); err != nil {
			if errors.Is(err, flag.ErrHelp) {
				flags.SetOutput(out)
				flags.PrintDefaults()
			}
			return nil, err
		}
		if flags.NArg() == 0 {
			return rest, nil
		}
		rest, args = append(rest, flags.Arg(0)), flags.Args()[1:]
	}
}

// read takes the flags and returns the arguments.
func (r *remote) read(args []string, out io.Writer) ([]string, error) {
	rest, err := parseFlags(r.FlagSet, args, out)
	if err != nil {
		return nil, err
	}
	if r.format != "text" && r.format != "json" {
		return nil, fmt.Errorf("-o %s: text or json", r.format)
	}
	return rest, nil
}

// open reads the arguments of a command that has but flags, and prepares its connection.
func (r *remote) open(args []string, out io.Writer) (*grpc.ClientConn, error) {
	rest, err := r.read(args, out)
	if err != nil {
		return nil, err
	}
	if len(rest) > 0 {
		return nil, fmt.Errorf("unexpected argument %q", rest[0])
	}
	return r.dial()
}

// dial prepares a connection; it is made with the first call.
func (r *remote) dial() (*grpc.ClientConn, error) {
	files := tlsconf.Files{
		Certificate: filepath.Join(r.credentials, "client.crt"), Key: filepath.Join(r.credentials, "client.key"),
		Roots: filepath.Join(r.credentials, "ca.crt"),
	}
	material, err := files.Load()
	if err != nil {
		return nil, fmt.Errorf("%w (seawall-collector client create makes credentials)", err)
	}
	config := tlsconf.ClientConfig(tlsconf.NewSource(material), tlsconf.Peers{Roles: []tlsconf.Role{tlsconf.Collector}}, time.Now)
	conn, err := grpc.NewClient(r.collector, grpc.WithTransportCredentials(credentials.NewTLS(config)))
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", r.collector, err)
	}
	return conn, nil
}
