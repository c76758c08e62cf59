package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"text/tabwriter"
	"time"

	"github.com/seawall-security/seawall/collector/config"
	"github.com/seawall-security/seawall/collector/enrol"
	"github.com/seawall-security/seawall/collector/store"
	"github.com/seawall-security/seawall/internal/tlsconf"
)

// admit changes or shows who may enrol, in the store itself: SQLite lets two processes
// share the file, and a collector that runs asks it at every enrolment. So there is no
// way in over the network that could make tokens.
func admit(ctx context.Context, c config.Config, command config.Command, out io.Writer) (err error) {
	authority, _, err := enrol.OpenAuthority(c.DataDir, c.Cluster, time.Now)
	if err != nil {
		return err
	}
	s, err := store.Open(ctx, storePath(c))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	rows := enrol.NewRows(s)
	tokens := enrol.NewTokens(rows, authority)
	switch command.Verb {
	case config.TokenCreate:
		token, err := tokens.Make(ctx, command.TTL, command.Uses)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(out, token.Reveal())
		return err
	case config.TokenRevoke:
		return tokens.Revoke(ctx, command.Object)
	case config.AgentRevoke:
		return rows.Revoke(ctx, command.Object, time.Now())
	case config.ClientRevoke:
		return rows.RevokeClient(ctx, command.Object, time.Now())
	}
	all, err := tokens.List(ctx)
	if err != nil {
		return err
	}
	return showTokens(all, time.Now(), out)
}

func showTokens(tokens []enrol.Token, now time.Time, out io.Writer) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "ID\tCREATED\tEXPIRES\tUSES LEFT")
	for _, t := range tokens {
		expires := t.Expires.UTC().Format(time.RFC3339)
		if !now.Before(t.Expires) {
			expires += " (expired)"
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%d\n", t.ID, t.Created.UTC().Format(time.RFC3339), expires, t.UsesLeft)
	}
	return table.Flush()
}

// createClient writes what a SIEM reader or an operator shows and trusts. The CA alone
// makes it: the store keeps no clients but those that were revoked, and a collector that
// runs knows them by the CA.
func createClient(ctx context.Context, c config.Config, command config.Command, out io.Writer) (err error) {
	authority, _, err := enrol.OpenAuthority(c.DataDir, c.Cluster, time.Now)
	if err != nil {
		return err
	}
	s, err := store.Open(ctx, storePath(c))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	revoked, err := enrol.NewRows(s).Revocations(ctx)
	if err != nil {
		return err
	}
	files, err := authority.IssueClient(command.Object, command.Role, enrol.ClientLifetime)
	if err != nil {
		return err
	}
	if revoked.HasClient(command.Object, files.Made) {
		return fmt.Errorf("%s was revoked this very second: try again", command.Object)
	}
	if err := os.MkdirAll(command.Out, 0o700); err != nil {
		return fmt.Errorf("write client's files: %w", err)
	}
	for _, file := range []struct {
		name string
		data []byte
	}{{"client.crt", files.Certificate}, {"client.key", files.Key}, {"ca.crt", files.Roots}} {
		path := filepath.Join(command.Out, file.name)
		if err := tlsconf.WriteSecret(path, file.data); err != nil {
			return fmt.Errorf("write client's files: %w", err)
		}
		fmt.Fprintln(out, path)
	}
	_, err = fmt.Fprintf(out, "%s of %s may connect until %s\n", command.Role, command.Object, files.NotAfter.UTC().Format(time.RFC3339))
	return err
}
