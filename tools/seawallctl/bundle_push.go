package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"google.golang.org/grpc"

	"github.com/seawall-security/seawall/internal/bundle"
	"github.com/seawall-security/seawall/internal/event"
	collectorv1 "github.com/seawall-security/seawall/proto/collector/v1"
)

// maxBundleAnswer is above gRPC's own bound for what a client takes.
const maxBundleAnswer = bundle.MaxBytes + 1<<20

// pushBundle hands a signed bundle to the collector.
func pushBundle(ctx context.Context, args []string, out io.Writer) error {
	r := newRemote("bundle push")
	rest, err := r.read(args, out)
	if err != nil {
		return err
	}
	if len(rest) != 1 {
		return errors.New("needs one FILE with a signed bundle")
	}
	signed, err := readBundle(rest[0])
	if err != nil {
		return err
	}
	conn, err := r.dial()
	if err != nil {
		return err
	}
	defer conn.Close()
	answer, err := collectorv1.NewManagementClient(conn).PushBundle(ctx, &collectorv1.PushBundleRequest{Bundle: signed.Proto()})
	if err != nil {
		return explain(err)
	}
	if r.format == "json" {
		return writeJSON(out, answer)
	}
	_, err = fmt.Fprintf(out, "bundle %d (%s) is kept and sent to %d connected agents; agents list shows what becomes of it\n",
		answer.GetSerial(), event.Printable(answer.GetVersion()), answer.GetSentTo())
	return err
}

// showBundle prints what agents are sent.
func showBundle(ctx context.Context, args []string, out io.Writer) error {
	r := newRemote("bundle show")
	conn, err := r.open(args, out)
	if err != nil {
		return err
	}
	defer conn.Close()
	answer, err := collectorv1.NewManagementClient(conn).GetBundle(ctx, &collectorv1.GetBundleRequest{}, grpc.MaxCallRecvMsgSize(maxBundleAnswer))
	if err != nil {
		return explain(err)
	}
	if r.format == "json" {
		return writeJSON(out, answer)
	}
	signed := bundle.FromProto(answer.GetBundle())
	b, err := signed.Unverified()
	if err != nil {
		return fmt.Errorf("what the collector keeps is no bundle: %w", err)
	}
	if err := describeBundle(b, signed, out); err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "pushed %s by %s; its signature is for agents to check\n", clock(answer.GetPushed().AsTime()), event.Printable(answer.GetPushedBy()))
	return err
}
