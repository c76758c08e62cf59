// Command siemclient is the shortest useful reader of alerts: it prints each revision as
// a line of JSON and acknowledges it once it is written.
//
//	siemclient -collector HOST:PORT -name SUBSCRIPTION -cert FILE -key FILE -ca FILE
//
// It goes on where it was when it is started again. docs/siem.md explains it.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"

	alertv1 "github.com/seawall-security/seawall/proto/alert/v1"
)

func main() {
	address := flag.String("collector", "localhost:9443", "address of the collector")
	name := flag.String("name", "siemclient", "name of the subscription")
	cert := flag.String("cert", "client.crt", "the client's certificate")
	key := flag.String("key", "client.key", "and its key")
	ca := flag.String("ca", "ca.crt", "the collector's CA")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	config, err := material(*cert, *key, *ca)
	if err == nil {
		err = follow(ctx, *address, config, *name, os.Stdout)
	}
	if err != nil && status.Code(err) != codes.Canceled {
		fmt.Fprintln(os.Stderr, "siemclient:", err)
		os.Exit(1)
	}
}

// follow prints revisions until ctx ends or the stream does.
func follow(ctx context.Context, address string, config *tls.Config, name string, out io.Writer) error {
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(credentials.NewTLS(config)),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 40 * time.Second})) // else a lost connection looks like silence
	if err != nil {
		return err
	}
	defer conn.Close()
	alerts := alertv1.NewAlertStreamClient(conn)
	stream, err := alerts.Subscribe(ctx, &alertv1.SubscribeRequest{Subscription: name})
	if err != nil {
		return err
	}
	for {
		message, err := stream.Recv()
		if err != nil {
			return err
		}
		if n := message.GetMissed(); n > 0 {
			fmt.Fprintf(os.Stderr, "siemclient: %d revisions were forgotten before they were read\n", n)
		}
		if alert := message.GetAlert(); alert != nil { // else an idle message: only the position
			line, err := protojson.Marshal(alert)
			if err != nil {
				return err
			}
			if _, err := fmt.Fprintf(out, "%s\n", line); err != nil {
				return err
			}
		}
		if _, err := alerts.Acknowledge(ctx, &alertv1.AcknowledgeRequest{Subscription: name, Position: message.GetPosition()}); err != nil {
			return err
		}
	}
}

// material is TLS 1.3 with a certificate on both sides. The collector is known by its CA,
// which signs nothing else, and by what its certificate says it is, not by a host name.
func material(cert, key, ca string) (*tls.Config, error) {
	own, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(ca)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(text) {
		return nil, errors.New("no CA in " + ca)
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{own},
		InsecureSkipVerify: true, // only turns off the check by host name
		VerifyConnection: func(state tls.ConnectionState) error {
			leaf := state.PeerCertificates[0]
			if len(leaf.URIs) != 1 || leaf.URIs[0].Scheme != "seawall" || leaf.URIs[0].Path != "/collector" {
				return errors.New("the other end is no collector")
			}
			_, err := leaf.Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
			return err
		},
	}, nil
}
