package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/seawall-security/seawall/internal/event"
	collectorv1 "github.com/seawall-security/seawall/proto/collector/v1"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

// maxBundleFile is above what a collector takes: it says what is too large.
const maxBundleFile = 3 << 20

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
	answer, err := collectorv1.NewManagementClient(conn).PushBundle(ctx, &collectorv1.PushBundleRequest{Bundle: signed})
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

// readBundle reads a file that bundle sign wrote: an encoded SignedBundle.
func readBundle(path string) (*sensorv1.SignedBundle, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read bundle: %w", err)
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, maxBundleFile+1))
	if err != nil {
		return nil, fmt.Errorf("read bundle: %w", err)
	}
	signed := &sensorv1.SignedBundle{}
	switch {
	case len(data) > maxBundleFile:
		return nil, fmt.Errorf("read bundle: %s is larger than %d bytes", path, maxBundleFile)
	case proto.Unmarshal(data, signed) != nil || len(signed.GetBundle()) == 0:
		return nil, fmt.Errorf("read bundle: %s is no signed bundle", path)
	}
	return signed, nil
}

// showBundle prints what agents are sent.
func showBundle(ctx context.Context, args []string, out io.Writer) error {
	r := newRemote("bundle show")
	rest, err := r.read(args, out)
	if err != nil {
		return err
	}
	if len(rest) > 0 {
		return fmt.Errorf("unexpected argument %q", rest[0])
	}
	conn, err := r.dial()
	if err != nil {
		return err
	}
	defer conn.Close()
	answer, err := collectorv1.NewManagementClient(conn).GetBundle(ctx, &collectorv1.GetBundleRequest{}, grpc.MaxCallRecvMsgSize(maxBundleFile))
	if err != nil {
		return explain(err)
	}
	if r.format == "json" {
		return writeJSON(out, answer)
	}
	b := &sensorv1.Bundle{}
	if err := proto.Unmarshal(answer.GetBundle().GetBundle(), b); err != nil {
		return fmt.Errorf("what the collector keeps is no bundle: %w", err)
	}
	var text bytes.Buffer
	fmt.Fprintf(&text, "serial    %d\nversion   %s\nsigned    %s\nkey       %x\npushed    %s by %s\n", b.GetSerial(), event.Printable(b.GetVersion()),
		clock(b.GetSigned().AsTime()), answer.GetBundle().GetKeyId(), clock(answer.GetPushed().AsTime()), event.Printable(answer.GetPushedBy()))
	for _, f := range b.GetFiles() {
		fmt.Fprintf(&text, "file      %s (%s)\n", event.Printable(f.GetName()), sizeOf(uint64(len(f.GetData()))))
	}
	_, err = out.Write(text.Bytes())
	return err
}
